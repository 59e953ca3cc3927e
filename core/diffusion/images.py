"""Latents to pictures, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from core.contract.errors import NumericsFailure
from core.diffusion.model import DiffusionModel


@torch.inference_mode()
def decode_pixels(model: DiffusionModel, latents: Tensor) -> Tensor:
    """Decode latents (pictures, channels, h, w) to pixels (pictures, 3, height, width).

    Pixels are about -1 to 1, in float32. Pictures are decoded one at a time, which bounds
    memory. A VAE that overflows in float16 (SDXL's) is widened for the length of the call.
    """
    vae = model.vae
    widen = vae.dtype == torch.float16 and vae.config.force_upcast
    dtype = torch.float32 if widen else vae.dtype
    latents = latents.to(dtype) / vae.config.scaling_factor
    if widen:
        vae.to(torch.float32)
    try:
        decoded = [vae.decode(picture[None]).sample.float() for picture in latents]
    finally:
        if widen:
            vae.to(torch.float16)
    return torch.cat(decoded)


def decode_images(model: DiffusionModel, latents: Tensor) -> list[Image.Image]:
    """Decode latents to RGB pictures.

    Raises NumericsFailure where the model produced values that are no numbers.
    """
    pixels = decode_pixels(model, latents)
    if not bool(torch.isfinite(pixels).all()):
        raise NumericsFailure("The model produced values that are not numbers.")
    levels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(picture.permute(1, 2, 0).cpu().numpy()) for picture in levels]


def grid(images: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """All pictures, of one size, in rows on white, as near to a square as it goes."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    sheet = Image.new(
        "RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (255, 255, 255)
    )
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(image, (column * (width + gap), row * (height + gap)))
    return sheet
