"""The renderers: a style turns the layers of a scene into a picture.

All draw on a canvas `OVERSAMPLING` times the picture and reduce it, which is the antialiasing.
Lengths are in units of 1/64 of the picture, so that a style looks the same at every size; no
pattern is finer than about three of them, or the VAE could not carry it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from training.canvas import BLACK, WHITE, Canvas, Layer, bands, fill, mix, noise, outline, to_image
from training.world import Rgb


def _pattern(canvas: Canvas, layers: Sequence[Layer], mask: Image.Image) -> Image.Image:
    """Solid fills, and inside the mask the same layers in a paler colour."""

    def pale(layer: Layer) -> Rgb:
        if layer.detail:
            return layer.colour
        return mix(layer.colour, WHITE, 0.3 if layer.thing is None else 0.85)

    image = fill(canvas, layers, lambda layer: layer.colour)
    image.paste(fill(canvas, layers, pale), mask=mask)
    return canvas.reduce(image)


def flat(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    return canvas.reduce(fill(canvas, layers, lambda layer: layer.colour))


def striped(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    return _pattern(canvas, layers, bands(canvas, 8, 0.5, rng.random(), -math.pi / 4))


def dotted(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    mask = Image.new("L", (canvas.side, canvas.side))
    draw = ImageDraw.Draw(mask)
    period, radius = canvas.length(8), canvas.length(2.3)
    dx, dy = rng.randrange(period), rng.randrange(period)
    for row in range(-1, canvas.side // period + 2):
        for column in range(-1, canvas.side // period + 2):
            x, y = column * period + dx + (row % 2) * period // 2, row * period + dy
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _pattern(canvas, layers, mask)


def sketch(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Dark pencil lines on paper; coloured hatching inside the things."""
    paper, pencil = (247, 245, 238), (50, 50, 56)

    def hatch(layer: Layer) -> Rgb:
        if layer.thing is None:
            return mix(layer.colour, paper, 0.9)
        return mix(layer.colour, paper, 0.0 if layer.detail else 0.15)

    image = fill(canvas, layers, lambda layer: layer.colour if layer.detail else paper)
    image.paste(fill(canvas, layers, hatch), mask=bands(canvas, 5, 0.45, rng.random(), math.pi / 4))
    mask = Image.new("L", (canvas.side, canvas.side))
    draw = ImageDraw.Draw(mask)
    for layer in layers:
        points = canvas.polygon(layer)
        # Filling with 0 first hides the lines of what is behind.
        draw.polygon(points, fill=0)
        outline(draw, points, 110 if layer.thing is None else 255, canvas.length(1.5))
    image.paste(canvas.blank(pencil), mask=mask)
    return canvas.reduce(image)


def papercut(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Muted sheets of grainy paper, each with a pale rim and a shadow on what lies below."""
    image = canvas.blank(BLACK)
    draw = ImageDraw.Draw(image, "RGBA")
    for layer in layers:
        colour = mix(mix(layer.colour, (128, 118, 105), 0.4), BLACK, 0.08)
        if not layer.detail:
            draw.polygon(canvas.polygon(layer, shift=2.2), fill=(20, 15, 10, 120))
        draw.polygon(canvas.polygon(layer), fill=colour)
        if layer.thing is not None and not layer.detail:
            outline(
                draw, canvas.polygon(layer), mix(colour, (255, 250, 235), 0.65), canvas.length(1.3)
            )
    grain = noise(canvas, 32, rng) * 12
    return to_image(np.asarray(canvas.reduce(image), np.float32) + grain)


def pixel(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Saturated blocks of two pixels at 64, with a black outline around the things."""
    image = canvas.blank(BLACK)
    draw = ImageDraw.Draw(image)
    things = [layer for layer in layers if layer.thing is not None]
    for layer in layers:
        if layer.thing is None:
            draw.polygon(canvas.polygon(layer), fill=_posterised(layer.colour))
    for layer in things:
        outline(draw, canvas.polygon(layer), BLACK, canvas.length(5))
    for layer in things:
        draw.polygon(canvas.polygon(layer), fill=_posterised(layer.colour))
    blocks = image.resize((32, 32), Image.Resampling.NEAREST)
    return blocks.resize((canvas.size, canvas.size), Image.Resampling.NEAREST)


def _posterised(colour: Rgb) -> Rgb:
    r, g, b = (min(255, round(value / 64) * 64) for value in colour)
    return r, g, b


def neon(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Glowing tubes in the dark."""
    image = canvas.blank((8, 4, 20))
    draw = ImageDraw.Draw(image)
    for layer in layers:
        bright = _luminous(layer.colour)
        points = canvas.polygon(layer)
        if layer.thing is None:
            draw.polygon(points, fill=(8, 4, 20))
            outline(draw, points, mix(bright, BLACK, 0.55), canvas.length(1.2))
        else:
            draw.polygon(points, fill=mix(bright, (8, 4, 20), 0.8))
            outline(draw, points, bright, canvas.length(1.8))
    lines = canvas.reduce(image)
    glow = lines.filter(ImageFilter.GaussianBlur(canvas.size / 64 * 2.2))
    return ImageChops.add(lines, glow)


def _luminous(colour: Rgb) -> Rgb:
    """The hue at full brightness; greys and blacks become a dim white."""
    high = max(colour)
    if high - min(colour) < 50:
        return (200, 205, 225)
    r, g, b = (min(255, round(value * 255 / high)) for value in colour)
    return r, g, b


def watercolor(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Thin washes on white paper: pale, soft at the edges, pooled in blotches."""

    def wash(layer: Layer) -> Rgb:
        return mix(layer.colour, WHITE, 0.62 if layer.thing is None else 0.22)

    image = canvas.reduce(fill(canvas, layers, wash))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(canvas.size / 64 * 1.1)), np.float32)
    pigment = (255 - soft) * (1 + 0.35 * noise(canvas, 7, rng))
    y, x = np.mgrid[: canvas.size, : canvas.size] / (canvas.size - 1) * 2 - 1
    # The wash ends before the paper does.
    edge = np.clip((1.02 - np.maximum(abs(x), abs(y)))[..., None] * 7, 0, 1)
    return to_image(252 - pigment * edge.astype(np.float32))


def blueprint(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """White lines on blue paper with a grid."""
    paper = (30, 72, 160)
    image = canvas.blank(paper)
    draw = ImageDraw.Draw(image)
    for layer in layers:
        points = canvas.polygon(layer)
        if layer.thing is None:
            outline(draw, points, mix(paper, WHITE, 0.45), canvas.length(1.0))
    for position in range(0, canvas.side, canvas.length(8)):
        for line in ((position, 0, position, canvas.side), (0, position, canvas.side, position)):
            draw.line(line, fill=mix(paper, WHITE, 0.25), width=canvas.length(0.9))
    for layer in layers:
        if layer.thing is not None:
            points = canvas.polygon(layer)
            draw.polygon(points, fill=mix(paper, BLACK, 0.25))
            outline(draw, points, WHITE, canvas.length(1.6))
    return canvas.reduce(image)


def glass(canvas: Canvas, layers: Sequence[Layer], rng: random.Random) -> Image.Image:
    """Stained glass: deep colours between black leads, the background cut into panes."""
    things = [layer for layer in layers if layer.thing is not None]
    ground = [layer for layer in layers if layer.thing is None]
    image = fill(canvas, ground, lambda layer: _deep(layer.colour))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(4):
        angle, offset = rng.uniform(0, math.pi), rng.uniform(0.25, 0.75)
        across = np.array([math.cos(angle), math.sin(angle)]) * 2
        aside = np.array([-across[1], across[0]])
        ends = np.array([[0.5, offset]]) + np.array(
            [-across, across, across + aside, aside - across]
        )
        pane = [(x, y) for x, y in (ends * canvas.side).tolist()]
        draw.polygon(pane, fill=(*rng.choice((WHITE, BLACK)), 45))
        draw.line(pane[:2], fill=BLACK, width=canvas.length(1.6))
    for layer in ground:
        outline(draw, canvas.polygon(layer), BLACK, canvas.length(1.6))
    for layer in things:
        draw.polygon(canvas.polygon(layer), fill=_deep(layer.colour))
        outline(draw, canvas.polygon(layer), BLACK, canvas.length(1.3 if layer.detail else 2.2))
    return canvas.reduce(image)


def _deep(colour: Rgb) -> Rgb:
    """The colour with its grey taken out and a little darker, as light through glass."""
    grey = sum(colour) / 3
    r, g, b = (max(0, min(255, round((grey + (value - grey) * 1.6) * 0.85))) for value in colour)
    return r, g, b


RENDERERS: dict[str, Callable[[Canvas, Sequence[Layer], random.Random], Image.Image]] = {
    renderer.__name__: renderer
    for renderer in (
        flat,
        sketch,
        striped,
        dotted,
        papercut,
        pixel,
        neon,
        watercolor,
        blueprint,
        glass,
    )
}
