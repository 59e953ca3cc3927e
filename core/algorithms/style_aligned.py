"""StyleAligned: pictures of several prompts in one style, by shared self-attention.

Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024,
arXiv 2312.02133.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageOps
from safetensors.torch import load, save
from torch import Tensor

from core.attention.control import AttentionPlan, attention_control
from core.attention.layers import AttentionLayer, self_attention_layers, spread
from core.attention.rows import all_rows_shared, first_row_shared
from core.attention.sharing import SharedAttention, shared_group_norm
from core.contract.images import Upload
from core.contract.jobs import Progress
from core.contract.pictures import Picture, Report, Surroundings
from core.contract.requests import ImageReference, Prompt, Sharing, StyleAlignedRequest, settled
from core.diffusion.denoise import AfterStep, Guidance, denoise, starting_noise
from core.diffusion.images import decode_image, encode_image, grid
from core.diffusion.inversion import ddim_inversion
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts

INVERSION_GUIDANCE = 2.0
"""The authors' guidance while a given picture is inverted; drawing takes more."""


@dataclass(frozen=True)
class Leader:
    """A batch's row 0, the reference: what is read for it, where it starts, what holds it.

    start: latents (1, channels, h, w). hold: called after each step.
    strength: factor of its keys' weight in the targets' attention.
    """

    prompt: Prompt
    start: Tensor
    hold: AfterStep = lambda step, latents: latents
    strength: float = 1.0


def style_aligned(
    model: DiffusionModel, request: StyleAlignedRequest, around: Surroundings
) -> Iterator[Picture]:
    """Draw the effective `request`, a chunk of prompts at a time, and yield each picture.

    Every chunk denoises the reference again in its row 0; the reference reads nobody, so it
    comes out the same. Artifacts: `reference`, `image-000` …, and `grid` if asked for.
    """
    apart = request.reference is not None
    targets = request.prompts if apart else request.prompts[1:]
    room = model.spec.max_batch - 1
    chunks = [targets[start : start + room] for start in range(0, len(targets), room)] or [[]]
    leader = _leader(model, request, around)
    finished: list[Image.Image] = []
    for index, chunk in enumerate(chunks):
        progress = _ChunkProgress(
            around.report, index, len(chunks), settled(request.sampling.steps)
        )
        first, *images = _draw(model, request, leader, chunk, progress)
        if index == 0:
            shown = first
            yield _picture(request, "reference", "reference", leader.prompt, shown)
            images = images if apart else [shown, *images]
        for image in images:
            number = len(finished)
            finished.append(image)
            yield _picture(request, f"image-{number:03d}", "image", request.prompts[number], image)
    if request.output.grid:
        sheet = [shown, *finished] if apart else finished
        yield Picture("grid", "grid", grid(sheet), {"pictures": len(sheet)})


def _leader(model: DiffusionModel, request: StyleAlignedRequest, around: Surroundings) -> Leader:
    if isinstance(request.reference, ImageReference):
        return _given_leader(model, request, request.reference, around)
    prompt = request.reference.prompt if request.reference else request.prompts[0]
    return Leader(prompt, _noise_of(model, request, prompt))


def _given_leader(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    reference: ImageReference,
    around: Surroundings,
) -> Leader:
    """The leader that draws a given picture again, by its inversion; kept for later jobs."""
    sampling = request.sampling
    size, steps = (settled(sampling.width), settled(sampling.height)), settled(sampling.steps)
    prompt = Prompt.model_construct(text=reference.prompt, negative="")
    text = request.text_of(prompt)
    image = reference.image
    assert isinstance(image, Upload)

    def invert() -> bytes:
        def report(step: int, latents: Tensor) -> Tensor:
            done = Progress(stage="inverting", step=step + 1, steps=steps, fraction=0.0)
            around.report(done)
            return latents

        fitted = ImageOps.fit(around.image(image), size, Image.Resampling.LANCZOS)
        texts = (encode_prompts(model, [text]), encode_prompts(model, [""]))
        guidance = Guidance(*texts, scale=INVERSION_GUIDANCE)
        trajectory = ddim_inversion(model, encode_image(model, fitted), guidance, steps, report)
        return save({"trajectory": trajectory.cpu()})

    key = f"{image.upload} {size} {steps} {text}"
    note = {"image": image.upload, "prompt": text, "size": size, "steps": steps}
    trajectory = load(around.cached(key, invert, note))["trajectory"].to(model.device)
    return Leader(prompt, *follow(trajectory, settled(reference.skip)), reference.strength)


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

    def denoised(self, step: int) -> None:
        self._tell("denoising", step + 1)

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


def _noise_of(model: DiffusionModel, request: StyleAlignedRequest, prompt: Prompt) -> Tensor:
    width, height = settled(request.sampling.width), settled(request.sampling.height)
    return starting_noise(model, settled(prompt.seed), width, height)


def _draw(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    leader: Leader,
    targets: list[Prompt],
    progress: _ChunkProgress,
) -> list[Image.Image]:
    """Denoise the leader and `targets` together and decode them, in this order."""
    progress.begin()
    prompts = [leader.prompt, *targets]
    guidance = Guidance(
        positive=encode_prompts(model, [request.text_of(prompt) for prompt in prompts]),
        negative=encode_prompts(model, [prompt.negative for prompt in prompts]),
        scale=settled(request.sampling.guidance_scale),
    )
    shift = request.sharing.score_shift + math.log(leader.strength)
    sharing = request.sharing.model_copy(update={"score_shift": shift})
    plan = sharing_plan(model.unet, len(prompts), sharing, guided=guidance.active)

    def after_step(step: int, latents: Tensor) -> Tensor:
        progress.denoised(step)
        return leader.hold(step, latents)

    noise = [leader.start.cpu().float(), *(_noise_of(model, request, p) for p in targets)]
    steps = settled(request.sampling.steps)
    with attention_control(model.unet, plan):
        latents = denoise(model, torch.cat(noise), guidance, steps, after_step)
    images = []
    for picture in latents:
        progress.decoding()
        images.append(decode_image(model, picture[None]))
    return images


def _picture(
    request: StyleAlignedRequest, stem: str, kind: str, prompt: Prompt, image: Image.Image
) -> Picture:
    about = {"prompt": request.text_of(prompt)}
    seed = {} if prompt.seed is None else {"seed": prompt.seed}
    return Picture(stem, kind, image, about | seed)
