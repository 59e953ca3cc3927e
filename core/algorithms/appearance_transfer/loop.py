"""The loop of cross-image appearance transfer: three pictures denoised together.

Source: Alaluf et al., "Cross-Image Attention for Zero-Shot Appearance Transfer", SIGGRAPH
2024, arXiv 2311.03335, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.attention.control import AtStep, as_planned, attention_control
from core.attention.cross_image import CrossImageAttention, SwapSchedule, swap_plan
from core.contract.errors import NumericsFailure
from core.diffusion.adain import adain, masked_adain
from core.diffusion.checkpoints import UNBROKEN, Stretch
from core.diffusion.ddpm_inversion import ddpm_step
from core.diffusion.denoise import AfterStep, Expected, Guidance, predict, scheduler_for
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning

OUT, APPEARANCE, STRUCTURE, SWAPPED = range(4)
"""Rows of the UNet batch. SWAPPED is OUT again with the swap, there only while that is on."""

Masks = tuple[Tensor, Tensor]
"""Where the subject is, bool (h, w) in latents: in the structure and in the appearance."""


@dataclass(frozen=True)
class Transfer:
    """What the loop does in which of the steps it runs, counted from 0.

    swap_guidance: how far the noise goes from the plain one towards the swapped one and beyond,
    at the first step; it falls evenly to half of that, but not below 1, at the last.
    adain: the steps after which the latents take the appearance's statistics.
    masks: asked after each of these steps; None stands for AdaIN of whole latents.
    watch: may add to what is installed on the UNet in a step. stretch: where it may go on.
    """

    schedule: SwapSchedule
    contrast: float
    swap_guidance: float
    adain: range
    masks: Callable[[], Masks | None] = lambda: None
    watch: AtStep = as_planned
    stretch: Stretch = UNBROKEN


@torch.inference_mode()
def transfer(
    model: DiffusionModel,
    start: Tensor,
    noise: Tensor,
    text: Conditioning,
    steps: int,
    settings: Transfer,
    after_step: AfterStep = lambda step, latents: latents,
    expected: Expected = lambda latents: None,
) -> Tensor:
    """Denoise three pictures together: the output, the appearance and the structure.

    start: (3, channels, h, w) in float32, the output's the same as the structure's.
    noise: (3, n, channels, h, w), the noise maps of the last n of the schedule's `steps`.
    text: what each of the three pictures shows, three rows. expected: told of the output.
    Returns the clean latents (3, channels, h, w). Raises NumericsFailure as soon as one of them
    is no number, before masks are made of it.

    The swap changes nothing but the output's row, so one UNet call with that row twice does
    what the paper's code does in two calls of three rows.
    """
    scheduler = scheduler_for(model, steps)
    timesteps = scheduler.timesteps[len(scheduler.timesteps) - noise.shape[1] :]
    strengths = torch.linspace(
        settings.swap_guidance, max(settings.swap_guidance / 2, 1.0), len(timesteps)
    ).tolist()
    done, [latents] = settings.stretch.resume([start.to(model.device)])
    noise = noise.to(model.device)
    for step, timestep in enumerate(timesteps[done:], start=done):
        settings.stretch.reached(step, [latents])
        predicted = _noise_in(model, latents, timestep, text, step, strengths[step], settings)
        expected(scheduler.step(predicted, timestep, latents).pred_original_sample[[OUT]])
        latents = ddpm_step(scheduler, predicted, timestep, latents, noise[:, step])
        if not bool(torch.isfinite(latents).all()):
            raise NumericsFailure("The model produced values that are not numbers.")
        if step in settings.adain:
            latents = _with_appearance(latents, settings.masks())
        latents = after_step(step, latents)
    return latents


def _noise_in(
    model: DiffusionModel,
    latents: Tensor,
    timestep: Tensor,
    text: Conditioning,
    step: int,
    strength: float,
    settings: Transfer,
) -> Tensor:
    """The noise predicted for the three rows, guided towards the swap where it is on."""
    size = (latents.shape[-2], latents.shape[-1])
    grids = settings.schedule.grids(step)
    # Towards the swap and no farther is the swap itself: the plain row is not needed.
    apart = bool(grids) and strength != 1
    reader = SWAPPED if apart else OUT
    source = STRUCTURE if settings.schedule.from_structure(step) else APPEARANCE
    processor = CrossImageAttention(reader, source, settings.contrast)
    plan = settings.watch(step, swap_plan(model.unet, size, grids, processor))
    rows = torch.cat([latents, latents[:1]]) if apart else latents
    shown = text.followed_by(text.rows([OUT])) if apart else text
    with attention_control(model.unet, plan):
        guidance = Guidance(shown, shown, scale=1.0)
        predicted = predict(model, rows.to(model.dtype), timestep, guidance).float()
    if not apart:
        return predicted
    plain, swapped = predicted[:1], predicted[SWAPPED:]
    return torch.cat([plain + strength * (swapped - plain), predicted[1:SWAPPED]])


def _with_appearance(latents: Tensor, masks: Masks | None) -> Tensor:
    """The output's latents with the appearance's statistics, the other rows as they are."""
    out, appearance = latents[OUT], latents[APPEARANCE]
    if masks is None:
        moved = adain(out, appearance)
    else:
        moved = masked_adain(out, appearance, *(mask.to(out.device) for mask in masks))
    return torch.cat([moved[None], latents[1:]])
