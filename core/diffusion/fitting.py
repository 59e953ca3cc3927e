"""Pictures of any shape at a model's size, without squeezing them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

Fit = Literal["crop", "pad"]


@dataclass(frozen=True)
class Fitted:
    """A picture at a model's size.

    box: where the given picture is in it, (left, top, right, bottom) in pixels.
    """

    image: Image.Image
    box: tuple[int, int, int, int]

    def unframed(self, image: Image.Image) -> Image.Image:
        """The part of a picture of the model's size that is not border."""
        return image.crop(self.box)


def fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> Fitted:
    """`image` in RGB at `size` (width, height).

    crop: what is too much is cut off around the middle. pad: all of it, in the middle of a plain
    border of the mean colour of its own edges.
    """
    if fit == "crop":
        return Fitted(ImageOps.fit(image, size, Image.Resampling.LANCZOS), (0, 0, *size))
    inner = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
    left, top = ((whole - part) // 2 for whole, part in zip(size, inner.size, strict=True))
    framed = Image.new("RGB", size, _edge_colour(inner))
    framed.paste(inner, (left, top))
    return Fitted(framed, (left, top, left + inner.width, top + inner.height))


def side_by_side(images: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """Pictures of one size in a row on white."""
    width, height = images[0].size
    sheet = Image.new("RGB", (len(images) * (width + gap) - gap, height), (255, 255, 255))
    for index, image in enumerate(images):
        sheet.paste(image, (index * (width + gap), 0))
    return sheet


def _edge_colour(image: Image.Image) -> tuple[int, int, int]:
    pixels = np.asarray(image)
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (round(float(level)) for level in edges.mean(axis=0))
    return red, green, blue
