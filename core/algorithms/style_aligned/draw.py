"""The denoising of some pictures beside their references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from core.algorithms.style_aligned.controls import control_on
from core.algorithms.style_aligned.leaders import Leader, Leading, masks_of
from core.algorithms.style_aligned.panorama import (
    following_windows,
    region_masks,
    window_texts,
)
from core.algorithms.style_aligned.plans import (
    Layers,
    pooled_plan,
    shared_layers,
)
from core.attention.control import AtStep, as_planned, attention_control
from core.attention.watcher import Watcher
from core.contract.panorama import Panorama
from core.contract.pictures import Checkpoints
from core.contract.requests import Prompt, settled
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.adapters import Adapters
from core.diffusion.checkpoints import UNBROKEN, Stateful, Stretch, stretch
from core.diffusion.control import Control
from core.diffusion.denoise import (
    Expected,
    Guidance,
    Predictor,
    denoise,
    predict,
    starting_noise,
)
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts
from core.diffusion.windows import windows_over
from core.inspection.inspector import Inspector, Seen

Told = Callable[[int, Tensor], None]
"""Called after each step with its index and all latents."""


@dataclass(frozen=True)
class Drawing:
    """What stays the same through all chunks of a job."""

    model: DiffusionModel
    request: StyleAlignedRequest
    leaders: Sequence[Leader]
    adapters: Adapters
    inspector: Inspector
    expected: Expected
    checkpoints: Checkpoints


@dataclass(frozen=True)
class Watched:
    """The watchers of one batch: of the first leader's pass, and of the pictures' pass."""

    leader: Watcher
    pictures: Watcher

    def seen(self) -> list[Seen]:
        """What was seen of each picture, that of a leader that is one first."""
        watchers = (self.leader, self.pictures)
        return [Seen(w, place) for w in watchers for place in range(len(w.recorder.rows))]


def watched(drawing: Drawing, halves: int, pictures: int, *, leader_too: bool) -> Watched:
    """Who watches a batch of `pictures`, and the leader if it is one.

    halves: of the batch, the last of which reads the texts.
    """
    watcher, first = drawing.inspector.watcher, (halves - 1) * pictures
    if drawing.request.sharing.full:  # one batch, the leader first in each half
        first += halves - 1
        return Watched(watcher([]), watcher(range(first + (not leader_too), first + pictures + 1)))
    return Watched(
        watcher([halves - 1] if leader_too else []), watcher(range(first, first + pictures))
    )


def draw(
    drawing: Drawing,
    prompts: Sequence[Prompt],
    maps: Sequence[Image.Image],
    told: Told,
    *,
    name: str,
    leader_too: bool = False,
) -> tuple[list[Tensor], Tensor, list[Seen]]:
    """Final latents of the references, (1, channels, h, w) each, and of the pictures.

    Last, what was seen of each picture, if that is wanted.
    prompts: what is drawn in one go, one of them for a panorama. maps: for each of them what
    the ControlNet sees, or nothing. name: of this batch among those of the job. leader_too: the
    first leader counts as a picture.
    """
    model, request, leaders = drawing.model, drawing.request, drawing.leaders
    steps, sharing = settled(request.sampling.steps), request.sharing
    layers = shared_layers(model.unet, sharing)
    noise = _noise(model, request, prompts)
    guidance = _guidance(model, request, prompts)
    watch = watched(drawing, guidance.halves, len(noise), leader_too=leader_too)
    seen: dict[str, Stateful] = {"leader": watch.leader, "pictures": watch.pictures}
    if sharing.full:
        latents = draw_pooled(
            model,
            leaders[0],
            guidance,
            sharing,
            layers,
            noise,
            steps,
            told,
            watch.pictures.added,
            drawing.expected,
            stretch(model, drawing.checkpoints, name, seen),
        )
        return [latents[:1]], latents[1:], watch.seen()
    leading = Leading(model, leaders, sharing, layers, steps, drawing.adapters, watch.leader.added)
    if request.panorama:
        predictor = _panorama(model, request.panorama, leading, guidance, request)
    else:
        size = (noise.shape[-2], noise.shape[-1])
        control = control_on(model, request, maps)
        predictor = following(model, leading, guidance, size, control, watch.pictures.added)

    def after_step(step: int, latents: Tensor) -> Tensor:
        told(step, latents)
        return latents

    going = stretch(model, drawing.checkpoints, name, seen | {"leading": leading})
    latents = denoise(model, noise, predictor, steps, after_step, drawing.expected, going)
    return leading.latents, latents, watch.seen()


def following(
    model: DiffusionModel,
    leading: Leading,
    guidance: Guidance,
    size: tuple[int, int],
    control: Control | None = None,
    watch: AtStep = as_planned,
) -> Predictor:
    """Predict targets that follow the references, which advance first in every step.

    guidance: a row for each target; for none, the references go alone. size: the targets'
    height and width in latents. watch: may add to what is installed for the targets.
    """
    plan = leading.followed(masks_of(leading.leaders, *size), guidance.halves)

    def predictor(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        leading.advance(step, timestep)
        if not len(latents):
            return latents
        acting = control if control is not None and step in control.active else None
        with attention_control(model.unet, watch(step, plan)):
            return predict(model, latents, timestep, guidance, acting)

    return predictor


def _panorama(
    model: DiffusionModel,
    panorama: Panorama,
    leading: Leading,
    guidance: Guidance,
    request: StyleAlignedRequest,
) -> Predictor:
    factor = model.latent_factor
    windows = windows_over(
        (settled(panorama.height) // factor, panorama.width // factor),
        (settled(request.sampling.height) // factor, settled(request.sampling.width) // factor),
        settled(panorama.stride) // factor,
        circular=panorama.circular,
    )
    return following_windows(
        model,
        leading,
        guidance,
        windows,
        min(settled(panorama.views_per_batch), model.spec.max_batch - 1),
        masks=region_masks(panorama, leading.leaders, factor),
        texts=window_texts(panorama, windows, factor) if panorama.regions else None,
    )


def draw_pooled(
    model: DiffusionModel,
    leader: Leader,
    guidance: Guidance,
    sharing: Sharing,
    layers: Layers,
    noise: Tensor,
    steps: int,
    told: Told,
    watch: AtStep = as_planned,
    expected: Expected = lambda latents: None,
    going: Stretch = UNBROKEN,
) -> Tensor:
    """Full sharing: the leader and then the targets in one batch, all attending to all."""
    everyone = Guidance(
        leader.guidance.positive.followed_by(guidance.positive),
        leader.guidance.negative.followed_by(guidance.negative),
        guidance.scale,
    )

    def after_step(step: int, latents: Tensor) -> Tensor:
        held = torch.cat([leader.hold(step, latents[:1]), latents[1:]])
        told(step, held)
        return held

    plan = pooled_plan(layers, sharing, halves=everyone.halves)

    def predictor(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        with attention_control(model.unet, watch(step, plan)):
            return predict(model, latents, timestep, everyone)

    start = torch.cat([leader.start.to(noise), noise])
    return denoise(model, start, predictor, steps, after_step, expected, going)


def _noise(
    model: DiffusionModel, request: StyleAlignedRequest, prompts: Sequence[Prompt]
) -> Tensor:
    size = request.picture_size
    noise = [starting_noise(model, settled(prompt.seed), *size) for prompt in prompts]
    return torch.cat(noise) if noise else starting_noise(model, 0, *size)[:0]


def _guidance(
    model: DiffusionModel, request: StyleAlignedRequest, prompts: Sequence[Prompt]
) -> Guidance:
    """A row for each prompt; for a panorama with regions, a row for each region."""
    texts = [request.text_of(prompt) for prompt in prompts]
    negatives = [prompt.negative for prompt in prompts]
    if request.panorama and request.panorama.regions:
        regions = request.panorama.regions
        texts = [request.styled(region.prompt or prompts[0].text) for region in regions]
        negatives = negatives * len(regions)
    # A batch of no pictures still has a text, which nothing reads.
    return Guidance(
        positive=encode_prompts(model, texts or [""]),
        negative=encode_prompts(model, negatives or [""]),
        scale=settled(request.sampling.guidance_scale),
    )
