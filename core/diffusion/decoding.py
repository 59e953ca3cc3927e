"""Decode a picture and make sure that it is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from core.contract.errors import NumericsFailure
from core.diffusion.images import decode_pixels
from core.diffusion.model import DiffusionModel

_BLACK = 1.5 / 255
"""Brightest value, of 0 to 1, of a picture that counts as all black."""


def decode_checked(
    model: DiffusionModel, latents: Tensor, *, may_be_black: bool = False
) -> Image.Image:
    """Decode the latents (1, channels, h, w) of one picture to RGB.

    A VAE in half precision can overflow, which shows as values that are no numbers or as a black
    picture; such a picture is decoded again in float32. Raises NumericsFailure if that does not
    help, or if the latents themselves are no numbers.
    """
    if not bool(torch.isfinite(latents).all()):
        raise NumericsFailure("The model produced values that are not numbers.")
    pixels = _levels(decode_pixels(model, latents))
    if _fault(pixels, may_be_black) and model.vae.dtype != torch.float32:
        with _single_precision(model.vae):
            pixels = _levels(decode_pixels(model, latents))
    if fault := _fault(pixels, may_be_black):
        raise NumericsFailure(fault)
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def is_black(image: Image.Image) -> bool:
    """Whether nothing can be seen in an RGB picture."""
    return max(high for _, high in image.getextrema()) <= _BLACK * 255  # type: ignore[misc]


def _levels(pixels: Tensor) -> Tensor:
    """The only picture of `pixels` (1, 3, h, w), -1 to 1, as (3, h, w), 0 to 1."""
    return pixels[0] / 2 + 0.5


def _fault(pixels: Tensor, may_be_black: bool) -> str | None:
    if not bool(torch.isfinite(pixels).all()):
        return "The picture could not be decoded to numbers, in single precision neither."
    if not may_be_black and float(pixels.max()) <= _BLACK:
        return "The picture came out all black, in single precision too."
    return None


@contextmanager
def _single_precision(vae: Any) -> Iterator[None]:
    before = vae.dtype
    try:
        vae.to(torch.float32)
        yield
    finally:
        vae.to(before)
