"""The denoising of some pictures beside their references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from core.algorithms.style_aligned.controls import control_on
from core.algorithms.style_aligned.leaders import Leader, Leading, masks_of, shares_of
from core.algorithms.style_aligned.panorama import (
    following_windows,
    region_masks,
    window_texts,
)
from core.algorithms.style_aligned.plans import (
    Layers,
    following_plan,
    pooled_plan,
    shared_layers,
)
from core.attention.control import attention_control
from core.contract.panorama import Panorama
from core.contract.requests import Prompt, settled
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.adapters import Adapters
from core.diffusion.control import Control
from core.diffusion.denoise import (
    Guidance,
    Predictor,
    denoise,
    guided,
    predict,
    starting_noise,
)
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts
from core.diffusion.windows import windows_over

Told = Callable[[int, Tensor], None]
"""Called after each step with its index and all latents."""


def draw(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    leaders: Sequence[Leader],
    prompts: Sequence[Prompt],
    maps: Sequence[Image.Image],
    adapters: Adapters,
    told: Told,
) -> tuple[list[Tensor], Tensor]:
    """Final latents of the references, (1, channels, h, w) each, and of the pictures.

    prompts: what is drawn in one go, one of them for a panorama. maps: for each of them what
    the ControlNet sees, or nothing.
    """
    steps, sharing = settled(request.sampling.steps), request.sharing
    layers = shared_layers(model.unet, sharing)
    noise = _noise(model, request, prompts)
    guidance = _guidance(model, request, prompts)
    if sharing.full:
        latents = draw_pooled(model, leaders[0], guidance, sharing, layers, noise, steps, told)
        return [latents[:1]], latents[1:]
    leading = Leading(model, leaders, sharing, layers, steps, adapters)
    if request.panorama:
        predictor = _panorama(model, request.panorama, leading, guidance, request, layers)
    else:
        size = (noise.shape[-2], noise.shape[-1])
        control = control_on(model, request, maps)
        predictor = following(model, leading, guidance, sharing, layers, size, control)

    def after_step(step: int, latents: Tensor) -> Tensor:
        told(step, latents)
        return latents

    latents = denoise(model, noise, predictor, steps, after_step)
    return leading.latents, latents


def following(
    model: DiffusionModel,
    leading: Leading,
    guidance: Guidance,
    sharing: Sharing,
    layers: Layers,
    size: tuple[int, int],
    control: Control | None = None,
) -> Predictor:
    """Predict targets that follow the references, which advance first in every step.

    guidance: a row for each target; for none, the references go alone. size: the targets'
    height and width in latents.
    """
    masks = masks_of(leading.leaders, *size)
    plan = following_plan(
        layers,
        sharing,
        leading.memories,
        shares_of(leading.leaders, masks).on(model.device),
        [leader.score_shift for leader in leading.leaders],
        halves=guidance.halves,
    )

    def predictor(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        leading.advance(step, timestep)
        if not len(latents):
            return latents
        acting = control if control is not None and step in control.active else None
        with attention_control(model.unet, plan):
            return predict(model, latents, timestep, guidance, acting)

    return predictor


def _panorama(
    model: DiffusionModel,
    panorama: Panorama,
    leading: Leading,
    guidance: Guidance,
    request: StyleAlignedRequest,
    layers: Layers,
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
        request.sharing,
        layers,
        windows,
        settled(panorama.views_per_batch),
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

    start = torch.cat([leader.start.to(noise), noise])
    with attention_control(model.unet, pooled_plan(layers, sharing, halves=everyone.halves)):
        return denoise(model, start, guided(model, everyone), steps, after_step)


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
