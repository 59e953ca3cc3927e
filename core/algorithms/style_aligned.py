"""StyleAligned: pictures of several prompts in one style, by shared self-attention.

Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024,
arXiv 2312.02133.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core.attention.control import AttentionPlan, attention_control
from core.attention.layers import AttentionLayer, self_attention_layers, spread
from core.attention.rows import all_rows_shared, first_row_shared
from core.attention.sharing import SharedAttention, shared_group_norm
from core.contract.jobs import Progress
from core.contract.pictures import Picture, Report
from core.contract.requests import Prompt, Sharing, StyleAlignedRequest, settled
from core.diffusion.denoise import AfterStep, Guidance, denoise, starting_noise
from core.diffusion.images import decode_image, grid
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts


def style_aligned(
    model: DiffusionModel, request: StyleAlignedRequest, report: Report
) -> Iterator[Picture]:
    """Draw the effective `request`, a chunk of prompts at a time, and yield each picture.

    Every chunk denoises the reference again in its row 0; the reference reads nobody, so it
    comes out the same. Artifacts: `reference`, `image-000` …, and `grid` if asked for.
    """
    apart = request.reference is not None
    reference = request.reference.prompt if request.reference else request.prompts[0]
    targets = request.prompts if apart else request.prompts[1:]
    room = model.spec.max_batch - 1
    chunks = [targets[start : start + room] for start in range(0, len(targets), room)] or [[]]
    finished: list[Image.Image] = []
    for index, chunk in enumerate(chunks):
        progress = _ChunkProgress(report, index, len(chunks), settled(request.sampling.steps))
        first, *images = _draw(model, request, [reference, *chunk], progress)
        if index == 0:
            shown = first
            yield _picture(request, "reference", "reference", reference, shown)
            images = images if apart else [shown, *images]
        for image in images:
            number = len(finished)
            finished.append(image)
            yield _picture(request, f"image-{number:03d}", "image", request.prompts[number], image)
    if request.output.grid:
        sheet = [shown, *finished] if apart else finished
        yield Picture("grid", "grid", grid(sheet), {"pictures": len(sheet)})


def sharing_plan(
    unet: Any,
    rows: int,
    sharing: Sharing,
    *,
    guided: bool,
    layers: Sequence[AttentionLayer] | None = None,
) -> AttentionPlan:
    """What to install for `sharing` on a batch of `rows` pictures, row 0 the reference.

    guided: the batch is [uncond…, cond…], each half with its own reference.
    layers: those that share; by default the fraction `sharing.layers` of all.
    Differs from the paper's code in that layer norm is never shared: over concatenated
    tokens a norm a token changes nothing.
    """
    if layers is None:
        layers = spread(self_attention_layers(unet), sharing.layers)
    by_first_row = first_row_shared(rows, guided=guided)
    if sharing.full:
        processor = SharedAttention(
            all_rows_shared(rows, guided=guided), adain_queries=False, adain_keys=False
        )
    else:
        processor = SharedAttention(
            by_first_row,
            attend=sharing.attention,
            adain_queries=sharing.adain_queries,
            adain_keys=sharing.adain_keys,
            adain_values=sharing.adain_values,
            score_scale=sharing.score_scale,
            score_shift=sharing.score_shift,
        )
    return AttentionPlan(
        processors={layer.name: processor for layer in layers},
        norms=(lambda norm: shared_group_norm(norm, by_first_row)) if sharing.group_norm else None,
    )


class _ChunkProgress:
    """Turns steps of one chunk into progress of the whole job."""

    def __init__(self, report: Report, chunk: int, chunks: int, steps: int) -> None:
        self.report, self.chunk, self.chunks, self.steps = report, chunk, chunks, steps

    def begin(self) -> None:
        self._tell("denoising", 0)

    def denoised(self, step: int, latents: Tensor) -> Tensor:
        self._tell("denoising", step + 1)
        return latents

    def decoding(self) -> None:
        self._tell("decoding", self.steps)

    def _tell(self, stage: str, done: int) -> None:
        begun, total = self.chunk * self.steps, self.chunks * self.steps
        fraction = (begun + done) / (total + 1)  # the 1 is for storing
        self.report(Progress(stage=stage, step=begun + done, steps=total, fraction=fraction))


def follow(trajectory: Tensor, skip: int) -> tuple[Tensor, AfterStep]:
    """How a batch's row 0 is kept on an inverted picture's trajectory.

    trajectory: (steps + 1, channels, h, w), noise first, as `ddim_inversion` gives it.
    skip: the row starts this many steps along, nearer to the picture than its noise is, and
    waits there; it is never farther from the picture than that.
    Returns row 0's first latents (1, channels, h, w), and what to do after each step.
    """

    def hold(step: int, latents: Tensor) -> Tensor:
        reached = trajectory[max(skip, step) + 1]
        return torch.cat([reached[None].to(latents), latents[1:]])

    return trajectory[skip][None], hold


def _draw(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    prompts: list[Prompt],
    progress: _ChunkProgress,
) -> list[Image.Image]:
    """Denoise `prompts` together, the reference first, and decode them."""
    sampling = request.sampling
    progress.begin()
    width, height = settled(sampling.width), settled(sampling.height)
    noise = torch.cat([starting_noise(model, settled(p.seed), width, height) for p in prompts])
    guidance = Guidance(
        positive=encode_prompts(model, [request.text_of(prompt) for prompt in prompts]),
        negative=encode_prompts(model, [prompt.negative for prompt in prompts]),
        scale=settled(sampling.guidance_scale),
    )
    plan = sharing_plan(model.unet, len(prompts), request.sharing, guided=guidance.active)
    with attention_control(model.unet, plan):
        latents = denoise(model, noise, guidance, settled(sampling.steps), progress.denoised)
    images = []
    for picture in latents:
        progress.decoding()
        images.append(decode_image(model, picture[None]))
    return images


def _picture(
    request: StyleAlignedRequest, stem: str, kind: str, prompt: Prompt, image: Image.Image
) -> Picture:
    return Picture(stem, kind, image, {"prompt": request.text_of(prompt), "seed": prompt.seed})
