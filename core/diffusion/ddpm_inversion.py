"""Edit-friendly DDPM inversion: a picture as latents and noise maps that draw it again.

Source: Huberman-Spiegelglas et al., "An Edit Friendly DDPM Noise Space: Inversion and
Manipulations", CVPR 2024, arXiv 2304.06140, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.diffusion.checkpoints import UNBROKEN, Stretch
from core.diffusion.denoise import Guidance, predict, scheduler_for
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning

ETA = 1.0
"""DDPM sampling; the noise maps are those of its steps."""


@dataclass(frozen=True)
class NoiseSpace:
    """A picture in the noise space of the last `n` steps of a schedule.

    latents: (n + 1, channels, h, w), from the noisiest x_t to the picture x_0.
    noise: (n, channels, h, w), the noise map z of each step; that of the last is 0.
    """

    latents: Tensor
    noise: Tensor


@torch.inference_mode()
def ddpm_inversion(
    model: DiffusionModel,
    picture: Tensor,
    noise: Tensor,
    guidance: Guidance,
    skip: int = 0,
    batch: int = 8,
    after_batch: Callable[[int], None] = lambda done: None,
    stretch: Stretch = UNBROKEN,
) -> NoiseSpace:
    """Invert `picture` (1, channels, h, w) for the steps from `skip` on.

    Every x_t is drawn from the picture on its own, x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e_t, and
    z_t is what takes a DDPM step from x_t to x_(t-1). No x_t waits for another, so the UNet sees
    `batch` timesteps at once, and steps that are skipped cost nothing.

    noise: e of every step of the schedule, (steps, channels, h, w), noisiest first.
    guidance: of one picture; its text is shown to every timestep.
    after_batch: called with the number of steps done; it may raise to end the run.
    """
    steps = len(noise)
    scheduler = scheduler_for(model, steps)
    timesteps = scheduler.timesteps[skip:]
    kept = scheduler.alphas_cumprod[timesteps.cpu()].view(-1, 1, 1, 1).to(model.device)
    # Near the end z is a small difference of large numbers over a small deviation.
    start = picture.to(model.device, torch.float32)
    noisy = kept.sqrt() * start + (1 - kept).sqrt() * noise[skip:].to(model.device, torch.float32)
    latents = torch.cat([noisy, start])
    done, [maps] = stretch.resume([torch.zeros_like(noisy)])
    for first in range(done, len(timesteps), batch):
        stretch.reached(first, [maps])
        some = slice(first, first + batch)
        chunk = latents[:-1][some].to(model.dtype)
        predicted = predict_each(model, chunk, timesteps[some], guidance).float()
        for index, timestep in enumerate(timesteps[some], start=first):
            mean = ddpm_step(scheduler, predicted[index - first], timestep, latents[index])
            maps[index] = (latents[index + 1] - mean) / deviation(scheduler, timestep)
        after_batch(min(first + batch, len(timesteps)))
    maps[-1] = 0
    return NoiseSpace(latents, maps)


def ddpm_step(
    scheduler: Any,
    predicted: Tensor,
    timestep: Tensor,
    latents: Tensor,
    noise: Tensor | None = None,
) -> Tensor:
    """Latents after one DDPM step (eta 1) with the given noise map, or with none: its mean."""
    stepped: Tensor = scheduler.step(
        predicted,
        timestep,
        latents,
        eta=ETA,
        variance_noise=torch.zeros_like(latents) if noise is None else noise,
    ).prev_sample
    return stepped


def deviation(scheduler: Any, timestep: Tensor) -> Tensor:
    """The standard deviation of the DDPM step from `timestep` (Ho et al., 2020, equation 7)."""
    before = int(timestep) - scheduler.config.num_train_timesteps // len(scheduler.timesteps)
    alphas: Tensor = scheduler.alphas_cumprod
    here = alphas[int(timestep)]
    there: Tensor = alphas[before] if before >= 0 else scheduler.final_alpha_cumprod
    return ((1 - there) / (1 - here) * (1 - here / there)).sqrt()


def predict_each(
    model: DiffusionModel, latents: Tensor, timesteps: Tensor, guidance: Guidance
) -> Tensor:
    """What the UNet predicts for latents (n, channels, h, w), each at its own timestep.

    guidance: of one picture, its text shown to every row. The same shape comes back.
    """
    rows = len(latents)
    shown = replace(
        guidance,
        positive=repeated(guidance.positive, rows),
        negative=repeated(guidance.negative, rows),
    )
    times = timesteps.repeat(2) if guidance.active else timesteps
    return predict(model, latents, times, shown)


def repeated(conditioning: Conditioning, rows: int) -> Conditioning:
    """One row of text shown to `rows` rows of a batch."""
    pooled = conditioning.pooled
    return Conditioning(
        conditioning.text.expand(rows, -1, -1),
        None if pooled is None else pooled.expand(rows, -1),
    )


@torch.inference_mode()
def ddim_ascent(model: DiffusionModel, picture: Tensor, steps: int, guidance: Guidance) -> Tensor:
    """What the same authors' inversion becomes with eta 0: deterministic, without noise maps.

    Unlike `ddim_inversion` it predicts at the timestep that is left, not at the one reached.
    picture: (1, channels, h, w). Returns the noisiest latents, of the same shape.
    """
    scheduler = scheduler_for(model, steps)
    trained = scheduler.config.num_train_timesteps
    latents = picture.to(model.device, model.dtype)
    for timestep in scheduler.timesteps.flip(0):
        predicted = predict(model, latents, timestep, guidance)
        kept = scheduler.alphas_cumprod[int(timestep)]
        clean = (latents - (1 - kept).sqrt() * predicted) / kept.sqrt()
        reached = min(trained - 2, int(timestep) + trained // steps)
        latents = scheduler.add_noise(clean, predicted, torch.tensor([reached]))
    return latents


@torch.inference_mode()
def ddpm_sampling(
    model: DiffusionModel, space: NoiseSpace, guidance: Guidance, steps: int
) -> Tensor:
    """Sample from the noisiest latents of `space` with its noise maps, (1, channels, h, w).

    With the guidance it was inverted with this is the picture again, but for what the last
    step's noise map held. steps: of the whole schedule, those that were skipped included.
    """
    scheduler = scheduler_for(model, steps)
    latents = space.latents[:1]
    for timestep, noise in zip(scheduler.timesteps[-len(space.noise) :], space.noise, strict=True):
        predicted = predict(model, latents.to(model.dtype), timestep, guidance).float()
        latents = ddpm_step(scheduler, predicted, timestep, latents, noise[None])
    return latents
