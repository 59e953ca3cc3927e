"""Noise for latents, and the error of its prediction: what every trainer of a denoiser shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.denoiser import build_scheduler

SNR_LIMIT = 5.0


@dataclass(frozen=True)
class Noised:
    """Latents (n, 4, h, w) with noise in them, each at its own timestep (n,)."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    alphas: Tensor

    def error(self, predicted: Tensor, snr_limit: float = SNR_LIMIT) -> Tensor:
        """Min-SNR weighted mean square error (Hang et al., 2023, arXiv 2303.09556)."""
        snr = self.alphas / (1 - self.alphas)
        weight = snr.clamp_max(snr_limit) / snr
        errors = functional.mse_loss(predicted.float(), self.noise, reduction="none")
        return (weight * errors.mean(dim=(1, 2, 3))).mean()


def noised(latents: Tensor, lowest: int = 0) -> Noised:
    """Timesteps, none below the lowest, and noise by chance."""
    alphas = build_scheduler().alphas_cumprod.to(latents.device)
    timesteps = torch.randint(lowest, len(alphas), (len(latents),), device=latents.device)
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noise = torch.randn_like(latents)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    return Noised(noisy, noise, timesteps, alphas[timesteps])
