"""Scenes: a picture, its caption and the exact mask of each thing, all from one seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.backgrounds import background
from training.canvas import Canvas, Layer, mix
from training.geometry import Points
from training.shapes import SHAPES, Part
from training.styles import RENDERERS
from training.world import COLOURS, Content, Rgb, Word, caption, random_content

FIXED_PAINTS: dict[str, Rgb] = {
    "dark": (40, 38, 46),
    "light": (250, 247, 238),
    "leaf": (52, 140, 60),
    "wood": (128, 84, 50),
    "skin": (244, 206, 168),
    "gold": (250, 190, 40),
}
DETAIL_PAINTS = ("dark", "light", "gold")


@dataclass(frozen=True)
class Scene:
    """A drawn scene.

    picture: uint8 (size, size, 3).
    masks: bool (things, size, size); the pixels of each thing, disjoint.
    words: one wording of the content, each word with the thing it names.
    """

    content: Content
    picture: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    words: tuple[Word, ...]

    @property
    def caption(self) -> str:
        return " ".join(word.text for word in self.words)


Shapes = Mapping[str, Callable[[random.Random], list[Part]]]


def scene(
    seed: int, size: int = 64, content: Content | None = None, shapes: Shapes = SHAPES
) -> Scene:
    """The scene of a seed; with `content`, that seed's pose and wording of the given content.

    `shapes` draw the subjects; others than the world's own let a content name more.
    """
    rng = random.Random(seed)
    drawn = random_content(rng)
    shown = content or drawn
    canvas = Canvas(size)
    layers = background(shown.background, rng)
    for index, figure in enumerate(_placed(shown, rng, shapes)):
        layers += _painted(figure, COLOURS[shown.things[index].colour], index, rng)
    picture = RENDERERS[shown.style](canvas, layers, rng)
    masks = _masks(canvas, layers, len(shown.things))
    return Scene(shown, np.asarray(picture), masks, caption(shown, rng))


def _placed(content: Content, rng: random.Random, shapes: Shapes) -> list[list[Part]]:
    """Each thing's parts in picture coordinates: one in the middle, or two side by side."""
    if len(content.things) == 1:
        x, y = 0.5 + rng.uniform(-0.07, 0.07), 0.52 + rng.uniform(-0.05, 0.05)
        span = rng.uniform(0.66, 0.86)
        boxes = [(x, y, span, span)]
    else:
        boxes = [
            (x, 0.53 + rng.uniform(-0.06, 0.06), rng.uniform(0.42, 0.47), rng.uniform(0.56, 0.7))
            for x in (0.26 + rng.uniform(-0.02, 0.01), 0.74 + rng.uniform(-0.01, 0.02))
        ]
    return [
        _fitted(shapes[thing.subject](rng), place, rng)
        for thing, place in zip(content.things, boxes, strict=True)
    ]


def _fitted(
    parts: list[Part], place: tuple[float, float, float, float], rng: random.Random
) -> list[Part]:
    """The figure mirrored at random, turned a little, and scaled into (centre, width, height)."""
    x, y, width, height = place
    angle, mirror = rng.gauss(0, 0.06), rng.choice((-1.0, 1.0))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = [part.points * (mirror, 1.0) @ turn for part in parts]
    every = np.concatenate(turned)
    low, high = every.min(axis=0), every.max(axis=0)
    extent = high - low
    scale = min(width / extent[0], height / extent[1])
    middle = (low + high) / 2

    def place_points(points: Points) -> Points:
        placed: Points = (points - middle) * scale + (x, y)
        return placed

    return [Part(place_points(p), part.paint) for p, part in zip(turned, parts, strict=True)]


def _painted(parts: Sequence[Part], body: Rgb, thing: int, rng: random.Random) -> list[Layer]:
    """The thing's layers. The accent is another hue half of the time, else a tone of the body."""
    other = rng.choice([colour for colour in COLOURS.values() if colour != body])
    accent = other if rng.random() < 0.5 else mix(body, (60, 30, 40), 0.45)
    paints = {**FIXED_PAINTS, "body": body, "accent": accent}
    return [
        Layer(part.points, paints[part.paint], thing, part.paint in DETAIL_PAINTS) for part in parts
    ]


def _masks(canvas: Canvas, layers: Sequence[Layer], things: int) -> NDArray[np.bool_]:
    """Which thing is on top at each pixel, by majority of the oversampled drawing."""
    masks = np.zeros((things, canvas.size, canvas.size), np.bool_)
    drawings = [Image.new("L", (canvas.side, canvas.side)) for _ in range(things)]
    draws = [ImageDraw.Draw(drawing) for drawing in drawings]
    for layer in layers:
        if layer.thing is not None:
            for index, draw in enumerate(draws):
                if index <= layer.thing:
                    fill = 255 if index == layer.thing else 0
                    draw.polygon(canvas.polygon(layer), fill=fill)
    for index, drawing in enumerate(drawings):
        masks[index] = np.asarray(canvas.reduce(drawing)) > 127
    return masks
