"""The denoising loop: noise to latents, under classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning

AfterStep = Callable[[int, Tensor], None]
"""Called with the step's index and the latents after it. May raise to end the loop."""


@dataclass(frozen=True)
class Guidance:
    """What pulls each row where: its text, what to keep away from, and how hard.

    positive, negative: one row a picture. scale: 1 switches guidance off.
    """

    positive: Conditioning
    negative: Conditioning
    scale: float

    @property
    def active(self) -> bool:
        return self.scale > 1

    def batch(self) -> Conditioning:
        """The rows of the UNet batch: [uncond…, cond…], or cond alone when off."""
        return self.negative.followed_by(self.positive) if self.active else self.positive


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
    guidance: Guidance,
    steps: int,
    after_step: AfterStep = lambda step, latents: None,
) -> Tensor:
    """Run the model's scheduler from `noise` to clean latents.

    noise: (pictures, channels, height, width); the same shape comes back, in the model's
    dtype. Whatever attention is installed on the UNet is used. The loop is DDIM with eta 0
    (Song et al., ICLR 2021), guided as eps_uncond + scale (eps_cond - eps_uncond).
    """
    scheduler = type(model.pipeline.scheduler).from_config(model.pipeline.scheduler.config)
    scheduler.set_timesteps(steps, device=model.device)
    latents: Tensor = noise.to(model.device, model.dtype) * scheduler.init_noise_sigma
    conditioning = guidance.batch()
    extra = _size_conditioning(model, conditioning, latents)
    for step, timestep in enumerate(scheduler.timesteps):
        batch = torch.cat([latents, latents]) if guidance.active else latents
        predicted = model.unet(
            scheduler.scale_model_input(batch, timestep),
            timestep,
            encoder_hidden_states=conditioning.text,
            added_cond_kwargs=extra,
        ).sample
        if guidance.active:
            uncond, cond = predicted.chunk(2)
            predicted = uncond + guidance.scale * (cond - uncond)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
        after_step(step, latents)
    return latents


def _size_conditioning(
    model: DiffusionModel, conditioning: Conditioning, latents: Tensor
) -> dict[str, Any] | None:
    """SDXL's added conditioning: pooled text, and (original, crop, target) sizes in pixels."""
    if conditioning.pooled is None:
        return None
    height, width = (side * model.latent_factor for side in latents.shape[-2:])
    sizes = torch.tensor([height, width, 0, 0, height, width], dtype=conditioning.pooled.dtype)
    return {
        "text_embeds": conditioning.pooled,
        "time_ids": sizes.to(model.device).repeat(len(conditioning), 1),
    }
