"""The denoising loop: noise to latents, under classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.diffusion.checkpoints import UNBROKEN, Stretch
from core.diffusion.control import Control
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning

AfterStep = Callable[[int, Tensor], Tensor]
"""Called with the step's index and the latents after it; gives those to go on with.

It may raise to end the loop.
"""

Predictor = Callable[[int, Tensor, Tensor], Tensor]
"""Called with a step's index, its timestep and the latents; gives the guided prediction."""

Expected = Callable[[Tensor], None]
"""Called at each step with the clean latents that are expected then."""


@dataclass(frozen=True)
class Guidance:
    """What pulls each row where: its text, what to keep away from, and how hard.

    positive, negative: one row a picture. scale: 1 switches guidance off.
    told_size: height and width in pixels that SDXL is told; by default those of the latents.
    """

    positive: Conditioning
    negative: Conditioning
    scale: float
    told_size: tuple[int, int] | None = None

    @property
    def active(self) -> bool:
        return self.scale > 1

    @property
    def halves(self) -> int:
        """Rows of the UNet batch for each picture."""
        return 2 if self.active else 1

    def batch(self) -> Conditioning:
        """The rows of the UNet batch: [uncond…, cond…], or cond alone when off."""
        return self.negative.followed_by(self.positive) if self.active else self.positive

    def rows(self, chosen: slice | Sequence[int]) -> Guidance:
        """That of some of the pictures."""
        return Guidance(
            self.positive.rows(chosen), self.negative.rows(chosen), self.scale, self.told_size
        )


def starting_noise(model: DiffusionModel, seed: int, width: int, height: int) -> Tensor:
    """Latent noise of one picture, (1, channels, height / f, width / f), float32 on the CPU.

    It depends on nothing but the seed and the size, so every device begins alike.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    channels = model.unet.config.in_channels
    factor = model.latent_factor
    return torch.randn((1, channels, height // factor, width // factor), generator=generator)


@torch.inference_mode()
def denoise(
    model: DiffusionModel,
    noise: Tensor,
    predictor: Predictor,
    steps: int,
    after_step: AfterStep = lambda step, latents: latents,
    expected: Expected = lambda latents: None,
    stretch: Stretch = UNBROKEN,
) -> Tensor:
    """Run the model's scheduler from `noise` to clean latents.

    noise: (pictures, channels, height, width); the same shape comes back, in the model's
    dtype. The loop is DDIM with eta 0 (Song et al., ICLR 2021). expected: told at each step
    what the clean latents would be as far as can be said then. stretch: where it may go on.
    """
    scheduler = scheduler_for(model, steps)
    latents: Tensor = noise.to(model.device, model.dtype) * scheduler.init_noise_sigma
    done, [latents] = stretch.resume([latents])
    for step, timestep in enumerate(scheduler.timesteps[done:], start=done):
        stretch.reached(step, [latents])
        predicted = predictor(step, timestep, latents)
        moved = scheduler.step(predicted, timestep, latents)
        expected(moved.pred_original_sample)
        latents = after_step(step, moved.prev_sample)
    return latents


def scheduler_for(model: DiffusionModel, steps: int) -> Any:
    """A scheduler of the model's own kind, set to `steps` timesteps."""
    scheduler = type(model.pipeline.scheduler).from_config(model.pipeline.scheduler.config)
    scheduler.set_timesteps(steps, device=model.device)
    return scheduler


def guided(model: DiffusionModel, guidance: Guidance) -> Predictor:
    """The prediction under `guidance`, the same at every step."""
    return lambda step, timestep, latents: predict(model, latents, timestep, guidance)


def predict(
    model: DiffusionModel,
    latents: Tensor,
    timestep: Tensor,
    guidance: Guidance,
    control: Control | None = None,
) -> Tensor:
    """What the UNet predicts for `latents` (pictures, channels, h, w), guided; the same shape.

    eps_uncond + scale (eps_cond - eps_uncond); Ho and Salimans, arXiv 2207.12598. Whatever
    attention is installed on the UNet is used.
    """
    conditioning = guidance.batch()
    batch = torch.cat([latents, latents]) if guidance.active else latents
    added = _size_conditioning(model, conditioning, guidance, latents)
    residuals = control.residuals(batch, timestep, conditioning.text, added) if control else {}
    predicted: Tensor = model.unet(
        batch,
        timestep,
        encoder_hidden_states=conditioning.text,
        added_cond_kwargs=added,
        **residuals,
    ).sample
    if not guidance.active:
        return predicted
    uncond, cond = predicted.chunk(2)
    return uncond + guidance.scale * (cond - uncond)


def _size_conditioning(
    model: DiffusionModel, conditioning: Conditioning, guidance: Guidance, latents: Tensor
) -> dict[str, Any] | None:
    """SDXL's added conditioning: pooled text, and (original, crop, target) sizes in pixels."""
    if conditioning.pooled is None:
        return None
    own = tuple(side * model.latent_factor for side in latents.shape[-2:])
    height, width = guidance.told_size or own
    sizes = torch.tensor([height, width, 0, 0, height, width], dtype=conditioning.pooled.dtype)
    return {
        "text_embeds": conditioning.pooled,
        "time_ids": sizes.to(model.device).repeat(len(conditioning), 1),
    }
