"""Latents to pictures, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.contract.errors import NumericsFailure
from core.diffusion.model import DiffusionModel


def decode_pixels(model: DiffusionModel, latents: Tensor) -> Tensor:
    """Decode latents (pictures, channels, h, w) to pixels (pictures, 3, height, width).

    Pixels are about -1 to 1, in float32. Pictures are decoded one at a time, which bounds
    memory. A VAE that overflows in float16 (SDXL's) is widened for the length of the call.
    """
    vae = model.vae
    with _wide_enough(model), torch.inference_mode():
        latents = latents.to(vae.dtype) / vae.config.scaling_factor
        return torch.cat([vae.decode(picture[None]).sample.float() for picture in latents])


@torch.inference_mode()
def encode_image(model: DiffusionModel, image: Image.Image) -> Tensor:
    """The latents (1, channels, h / f, w / f) of an RGB picture: the VAE's mean, no sample."""
    vae = model.vae
    levels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1)[None]
    with _wide_enough(model):
        pixels = (levels / 127.5 - 1).to(model.device, vae.dtype)
        mean: Tensor = vae.encode(pixels).latent_dist.mean
    mean = mean * vae.config.scaling_factor
    return mean.to(model.dtype)


@contextmanager
def _wide_enough(model: DiffusionModel) -> Iterator[None]:
    """Run the block with the VAE in a type it does not overflow in; put back what was.

    Which do is told by `force_upcast` for SDXL alone: SD's own say nothing of it, are read as if
    they did, and don't.
    """
    vae = model.vae
    overflows = model.spec.family == "sdxl" and vae.config.force_upcast
    if vae.dtype != torch.float16 or not overflows:
        yield
        return
    try:
        vae.to(torch.float32)
        yield
    finally:
        vae.to(torch.float16)


def decode_image(model: DiffusionModel, latents: Tensor) -> Image.Image:
    """Decode the latents (1, channels, h, w) of one picture to RGB.

    Raises NumericsFailure where the model produced values that are no numbers.
    """
    pixels = decode_pixels(model, latents)
    if not bool(torch.isfinite(pixels).all()):
        raise NumericsFailure("The model produced values that are not numbers.")
    levels = ((pixels[0] / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def grid(images: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """All pictures in rows on white, in cells of the largest, as near to a square as it goes."""
    width = max(image.width for image in images)
    height = max(image.height for image in images)
    columns = min(len(images), math.ceil(math.sqrt(len(images) * height / width)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(
        "RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), (255, 255, 255)
    )
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        left = column * (width + gap) + (width - image.width) // 2
        sheet.paste(image, (left, row * (height + gap) + (height - image.height) // 2))
    return sheet
