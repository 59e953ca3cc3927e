"""What the styles draw with: layers, an oversampled canvas, fills, outlines and noise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.geometry import Points
from training.world import Rgb

OVERSAMPLING = 4
WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)


@dataclass(frozen=True)
class Layer:
    """A polygon (n, 2) in units of the picture's side, its colour, and which thing it belongs to
    (None: the background). `detail` marks eyes, windows and the like, which patterns spare."""

    points: Points
    colour: Rgb
    thing: int | None = None
    detail: bool = False


@dataclass(frozen=True)
class Canvas:
    """The side of the final picture in pixels, and conversions to the oversampled drawing."""

    size: int

    @property
    def side(self) -> int:
        return self.size * OVERSAMPLING

    def length(self, units: float) -> int:
        """Pixels of the drawing for a length in 1/64 of the picture."""
        return max(1, round(units * self.side / 64))

    def blank(self, colour: Rgb) -> Image.Image:
        return Image.new("RGB", (self.side, self.side), colour)

    def polygon(self, layer: Layer, shift: float = 0.0) -> list[tuple[float, float]]:
        scaled = layer.points * self.side + shift * self.side / 64
        return [(x, y) for x, y in scaled.tolist()]

    def reduce(self, image: Image.Image) -> Image.Image:
        return image.reduce(OVERSAMPLING)


Colouring = Callable[[Layer], Rgb]


def mix(colour: Rgb, other: Rgb, share: float) -> Rgb:
    """`colour` with the given share of `other` in it."""
    r, g, b = (round(a + (c - a) * share) for a, c in zip(colour, other, strict=True))
    return r, g, b


def fill(canvas: Canvas, layers: Sequence[Layer], colour: Colouring) -> Image.Image:
    image = canvas.blank(BLACK)
    draw = ImageDraw.Draw(image)
    for layer in layers:
        draw.polygon(canvas.polygon(layer), fill=colour(layer))
    return image


def outline(
    draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], colour: Rgb | int, width: int
) -> None:
    """A closed line; `colour` is a grey level in a mask."""
    draw.line([*points, points[0], points[1]], fill=colour, width=width, joint="curve")


def bands(canvas: Canvas, period: float, share: float, phase: float, angle: float) -> Image.Image:
    """A mask of parallel bands; period in 1/64, `share` of it covered, angle in radians."""
    y, x = np.mgrid[: canvas.side, : canvas.side] * (64 / canvas.side)
    along = (x * math.cos(angle) + y * math.sin(angle)) / period + phase
    return Image.fromarray(((along % 1.0) < share).astype(np.uint8) * 255)


def noise(canvas: Canvas, cells: int, rng: random.Random) -> NDArray[np.float32]:
    """Smooth noise (size, size, 1) in [-1, 1] from a grid of random cells."""
    grid = np.frombuffer(rng.randbytes(cells * cells), np.uint8).reshape(cells, cells)
    image = Image.fromarray(grid.copy()).resize(
        (canvas.size, canvas.size), Image.Resampling.BICUBIC
    )
    return np.asarray(image, np.float32)[..., None] / 127.5 - 1


def to_image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
