"""AdaIN of latents, inside masks.

Source: Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance
Normalization", ICCV 2017, equation 8; masked in Alaluf et al., arXiv 2311.03335, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5
"""Added to variances, inside the root."""


def adain(content: Tensor, style: Tensor) -> Tensor:
    """`content` (channels, …) with each channel's mean and deviation those of `style`."""
    everywhere = torch.ones(content.shape[1:], dtype=torch.bool, device=content.device)
    elsewhere = torch.ones(style.shape[1:], dtype=torch.bool, device=style.device)
    return masked_adain(content, style, everywhere, elsewhere)


def masked_adain(content: Tensor, style: Tensor, inside: Tensor, style_inside: Tensor) -> Tensor:
    """`content` inside its mask with the statistics of `style` inside its own.

    content, style: (channels, …); inside, style_inside: bool of the trailing shape, each with
    two places at least. Outside its mask `content` is unchanged.
    """
    mean, deviation = moments(content, inside)
    style_mean, style_deviation = moments(style, style_inside)
    moved = (content - mean) / deviation * style_deviation + style_mean
    return torch.where(inside, moved, content)


def moments(features: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation a channel of (channels, …) inside a mask; unbiased variance.

    Each is (channels, 1, …), broadcastable to `features`.
    """
    chosen = features[:, inside]
    # Not var_mean, whose mean rounds otherwise: this way the paper's code is met bit by bit.
    variance, mean = chosen.var(dim=1), chosen.mean(dim=1)
    shape = (-1,) + (1,) * (features.ndim - 1)
    return mean.view(shape), (variance + EPSILON).sqrt().view(shape)
