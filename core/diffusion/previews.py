"""What is being drawn, small and at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from core.diffusion.denoise import Expected
from core.diffusion.images import decode_image
from core.diffusion.model import DiffusionModel

_SIDE = 32
"""Latents a side, at most, that are decoded: few enough to cost less than a step."""
_MOST = 4

Offer = Callable[[Callable[[], Image.Image]], None]


def previewed(model: DiffusionModel, offer: Offer) -> Expected:
    """Offers at each step a preview of what is expected then."""

    def expected(latents: Tensor) -> None:
        if len(latents):
            offer(lambda: preview(model, latents))

    return expected


def preview(model: DiffusionModel, latents: Tensor) -> Image.Image:
    """The first few of latents (pictures, channels, height, width), small, side by side."""
    scale = min(1.0, _SIDE / max(latents.shape[-2:]))
    small = latents[:_MOST].float()
    if scale < 1:
        small = torch.nn.functional.interpolate(small, scale_factor=scale, mode="area")
    images = [decode_image(model, one[None].to(latents.dtype)) for one in small]
    width, height = images[0].size
    row = Image.new("RGB", (width * len(images), height))
    for place, image in enumerate(images):
        row.paste(image, (place * width, 0))
    return row
