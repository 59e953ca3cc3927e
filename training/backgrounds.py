"""What is behind the subjects: a sky, a ground and things scattered over them, as layers."""

from __future__ import annotations

import math
import random

import numpy as np

from training.canvas import Layer, mix
from training.geometry import Points, box, ellipse, polygon
from training.world import COLOURS, Rgb

SKY: Rgb = (158, 206, 242)
CLOUD: Rgb = (240, 245, 250)
GROUNDS: dict[str, Rgb] = {
    "grass": (112, 178, 76),
    "sea": (52, 120, 184),
    "sand": (232, 204, 142),
    "snow": (236, 242, 250),
    "night": (38, 62, 66),
}


def background(name: str, rng: random.Random) -> list[Layer]:
    """Layers that cover the whole picture, from the farthest to the nearest."""
    if name == "plain":
        return _plain(rng)
    horizon = rng.uniform(0.55, 0.75)
    ground = _jittered(GROUNDS[name], rng)
    sky = (26, 32, 84) if name == "night" else _sky(name)
    layers = [Layer(box(-0.1, -0.1, 1.1, 1.1), _jittered(sky, rng))]
    layers += _stars(rng) if name == "night" else _clouds(rng, sky)
    layers.append(Layer(_hills(horizon, name, rng), ground))
    return layers + _scatter(name, horizon, ground, rng)


def _sky(name: str) -> Rgb:
    return {"sand": (250, 222, 180), "snow": (176, 190, 214)}.get(name, SKY)


def _plain(rng: random.Random) -> list[Layer]:
    """One paper colour of any hue, and a few large soft discs of a near one."""
    hue = mix(rng.choice(list(COLOURS.values())), (255, 255, 255), rng.uniform(0.4, 0.75))
    disc = mix(hue, (255, 255, 255), 0.3)
    layers = [Layer(box(-0.1, -0.1, 1.1, 1.1), hue)]
    for _ in range(rng.randint(0, 3)):
        x, y, r = rng.random(), rng.random(), rng.uniform(0.1, 0.25)
        layers.append(Layer(ellipse(x, y, r, r), disc))
    return layers


def _jittered(colour: Rgb, rng: random.Random) -> Rgb:
    r, g, b = (max(0, min(255, value + rng.randint(-12, 12))) for value in colour)
    return r, g, b


def _hills(horizon: float, name: str, rng: random.Random) -> Points:
    waves, height = (rng.uniform(3, 5), 0.025) if name == "sea" else (rng.uniform(0.5, 1.2), 0.05)
    phase = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-0.1, 1.1, 25)
    top = np.stack([x, horizon + height * np.sin(2 * math.pi * waves * x + phase)], axis=1)
    return np.concatenate([top, polygon((1.1, 1.1), (-0.1, 1.1))])


def _clouds(rng: random.Random, sky: Rgb) -> list[Layer]:
    layers = []
    for _ in range(rng.randint(0, 3)):
        x, y, width = rng.random(), rng.uniform(0.06, 0.35), rng.uniform(0.1, 0.17)
        layers.append(Layer(ellipse(x, y, width, width * 0.45), mix(sky, CLOUD, 0.8)))
    return layers


def _stars(rng: random.Random) -> list[Layer]:
    moon = ellipse(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.25), 0.1, 0.1)
    layers = [Layer(moon, (250, 240, 190))]
    for _ in range(rng.randint(4, 8)):
        star = ellipse(rng.random(), rng.uniform(0.03, 0.6), 0.02, 0.02)
        layers.append(Layer(star, (250, 240, 190)))
    return layers


def _scatter(name: str, horizon: float, ground: Rgb, rng: random.Random) -> list[Layer]:
    """Tufts, waves, pebbles: marks on the ground in a darker and a livelier tone."""
    layers = []
    lively = rng.choice(list(COLOURS.values()))
    for _ in range(rng.randint(3, 8)):
        x, y = rng.random(), rng.uniform(horizon + 0.06, 0.98)
        if name == "grass":
            mark = polygon(
                (x - 0.04, y),
                (x - 0.03, y - 0.08),
                (x, y - 0.02),
                (x + 0.03, y - 0.08),
                (x + 0.04, y),
            )
            layers.append(Layer(mark, mix(ground, (20, 60, 20), 0.45)))
            if rng.random() < 0.3:
                layers.append(Layer(ellipse(x + 0.08, y - 0.03, 0.03, 0.03), lively))
        elif name == "sea":
            layers.append(
                Layer(ellipse(x, y, rng.uniform(0.08, 0.16), 0.018), mix(ground, CLOUD, 0.6))
            )
        else:
            tone = mix(ground, lively if rng.random() < 0.3 else (90, 80, 90), 0.4)
            layers.append(Layer(ellipse(x, y, 0.045, 0.025), tone))
    return layers
