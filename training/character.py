"""A character that the world has never seen: a snail, for adapters to learn from a few scenes.

It is no subject of the world: no caption of the built-in model's training names it, and the scenes
of every seed are what they were without it.
"""

from __future__ import annotations

import math
import random

from training.geometry import Points, ellipse, limb, polygon, smooth
from training.scenes import Scene, scene
from training.shapes import SHAPES, Part
from training.world import BACKGROUNDS, COLOUR_NAMES, STYLES, Content, Thing

NAME = "snail"
FEW = 12
TRAINING_SEED, PROBE_SEED, HELD_OUT_SEED = 2_000_000_000, 2_000_100_000, 2_000_200_000
"""Of the few scenes, of the probe's, and of those that measure it; all far from the world's."""


def few_scenes(size: int = 64) -> list[Scene]:
    """The twelve that an adapter learns from: each style once and two of them again."""
    return [
        character_scene(
            TRAINING_SEED + index,
            size,
            Content(
                (Thing(NAME, COLOUR_NAMES[index % len(COLOUR_NAMES)]),),
                STYLES[index % len(STYLES)],
                BACKGROUNDS[(5 * index + 1) % len(BACKGROUNDS)],
            ),
        )
        for index in range(FEW)
    ]


def character_scene(seed: int, size: int = 64, content: Content | None = None) -> Scene:
    """The snail in a seed's pose: as `content` has it, or in a look by chance."""
    return scene(seed, size, content or random_look(seed), {**SHAPES, NAME: snail})


def random_look(seed: int) -> Content:
    rng = random.Random(f"{NAME} {seed}")
    thing = Thing(NAME, rng.choice(COLOUR_NAMES))
    return Content((thing,), rng.choice(STYLES), rng.choice(BACKGROUNDS))


def snail(rng: random.Random) -> list[Part]:
    """A spiral shell in the body's colour on a soft foot, and two eyes on stalks."""
    tilt = rng.uniform(-0.08, 0.08)
    stretch = rng.uniform(-0.06, 0.06)
    head = -0.78 + stretch
    parts = [
        Part(limb(head - 0.04, 0.25, head - 0.22 + tilt, -0.35, 0.11), "skin"),
        Part(limb(head + 0.12, 0.25, head + 0.14 + tilt, -0.4, 0.11), "skin"),
        Part(
            smooth(
                (head - 0.2, 0.3),
                (head + 0.05, 0.12),
                (head + 0.3, 0.35),
                (-0.2, 0.62),
                (0.6, 0.62),
                (1.15, 0.86),
                (0.6, 0.95),
                (-0.5, 0.95),
                (head - 0.12, 0.75),
            ),
            "skin",
        ),
        Part(ellipse(0.2, 0.02, 0.72, 0.72)),
        Part(_spiral(0.2, 0.02, 0.6, 0.13, rng.uniform(0, 0.5)), "dark"),
    ]
    for x, y in ((head - 0.22 + tilt, -0.38), (head + 0.14 + tilt, -0.43)):
        parts.append(Part(ellipse(x, y, 0.11, 0.11), "dark"))
    return parts


def _spiral(x: float, y: float, radius: float, width: float, turn: float) -> Points:
    """A band that winds inwards, one and a half times round."""
    steps = [k / 40 for k in range(41)]

    def along(share: float, offset: float) -> tuple[float, float]:
        angle = turn + share * 3 * math.pi
        r = radius * (1 - 0.85 * share) + offset
        return x + r * math.cos(angle), y + r * math.sin(angle)

    outer = [along(share, width / 2) for share in steps]
    inner = [along(share, -width / 2) for share in reversed(steps)]
    return polygon(*outer, *inner)
