"""The silhouettes: each subject as a few bold polygons in its own frame.

Coordinates are in [-1, 1], x to the right and y downwards; `scenes` fits the whole figure into a
box. Every function takes the random source of its pose and returns parts in drawing order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from training.geometry import Points, box, ellipse, limb, polygon, smooth


@dataclass(frozen=True)
class Part:
    """A closed polygon (n, 2) and its paint: "body" and "accent" take the scene's colours, the
    others are fixed ("dark", "light", "leaf", "wood", "skin", "gold")."""

    points: Points
    paint: str = "body"


def cat(rng: random.Random) -> list[Part]:
    tail = rng.uniform(-0.15, 0.15)
    parts = [
        Part(
            smooth(
                (0.3, 0.9),
                (0.75, 0.75),
                (0.8, 0.35 + tail),
                (0.7, 0.05 + tail),
                (0.88, 0.0 + tail),
                (1.02, 0.35 + tail),
                (0.95, 0.85),
                (0.4, 1.02),
            )
        ),
        Part(smooth((-0.3, 0.1), (0.3, 0.1), (0.55, 0.75), (0.5, 1.0), (-0.5, 1.0), (-0.55, 0.75))),
        Part(ellipse(0, 0.72, 0.26, 0.28), "light"),
    ]
    for side in (-1, 1):
        ear = [(side * 0.66, -0.2), (side * 0.62, -1.0), (side * 0.1, -0.6)]
        inner = [(side * 0.55, -0.45), (side * 0.54, -0.8), (side * 0.3, -0.6)]
        parts += [Part(polygon(*ear)), Part(polygon(*inner), "accent")]
    parts.append(Part(ellipse(0, -0.22, 0.68, 0.5)))
    for side in (-1, 1):
        parts.append(Part(ellipse(side * 0.27, -0.28, 0.13, 0.15), "dark"))
    parts.append(Part(polygon((-0.12, -0.08), (0.12, -0.08), (0, 0.08)), "accent"))
    return parts


def fish(rng: random.Random) -> list[Part]:
    fin = rng.uniform(-0.08, 0.08)
    return [
        Part(polygon((0.4, 0.0), (1.0, -0.55), (0.86, 0.0), (1.0, 0.55)), "accent"),
        Part(smooth((-0.3, -0.4), (0.1, -0.8 + fin), (0.4, -0.62), (0.3, -0.3)), "accent"),
        Part(smooth((-0.15, 0.35), (0.25, 0.75 - fin), (0.25, 0.35)), "accent"),
        Part(
            smooth(
                (-1.0, 0.02), (-0.55, -0.46), (0.05, -0.46), (0.6, 0.0), (0.05, 0.46), (-0.55, 0.46)
            )
        ),
        Part(
            smooth(
                (-0.1, -0.45), (0.12, -0.43), (0.2, 0.0), (0.12, 0.43), (-0.1, 0.45), (0.0, 0.0)
            ),
            "light",
        ),
        Part(ellipse(-0.6, -0.1, 0.16, 0.16), "light"),
        Part(ellipse(-0.62, -0.1, 0.08, 0.08), "dark"),
    ]


def bird(rng: random.Random) -> list[Part]:
    wing = rng.uniform(-0.25, 0.15)
    return [
        Part(limb(0.0, 0.4, -0.05, 1.0, 0.11), "dark"),
        Part(limb(0.25, 0.4, 0.25, 1.0, 0.11), "dark"),
        Part(polygon((0.4, 0.0), (1.05, -0.2), (1.0, 0.25), (0.4, 0.35)), "accent"),
        Part(polygon((-0.75, -0.62), (-1.15, -0.4), (-0.72, -0.28)), "gold"),
        Part(
            smooth((-0.55, -0.2), (-0.2, -0.3), (0.6, 0.0), (0.45, 0.45), (0.0, 0.6), (-0.5, 0.35))
        ),
        Part(ellipse(-0.48, -0.45, 0.36, 0.36)),
        Part(
            smooth((-0.2, 0.0), (0.2, -0.15), (0.75, -0.1 + wing), (0.35, 0.32), (0.0, 0.32)),
            "accent",
        ),
        Part(ellipse(-0.56, -0.52, 0.1, 0.1), "dark"),
    ]


def giraffe(rng: random.Random) -> list[Part]:
    lean = rng.uniform(-0.08, 0.08)
    parts = [Part(limb(x, 0.3, x, 1.0, 0.15)) for x in (-0.28, -0.08, 0.32, 0.5)]
    parts += [
        Part(limb(0.55, 0.1, 0.78, 0.55, 0.09), "accent"),
        Part(limb(-0.52 + lean, -0.8, -0.5 + lean, -1.1, 0.09), "accent"),
        Part(limb(-0.34 + lean, -0.8, -0.32 + lean, -1.1, 0.09), "accent"),
        Part(polygon((-0.62 + lean, -0.75), (-0.3 + lean, -0.8), (0.05, 0.1), (-0.35, 0.25))),
        Part(
            smooth((-0.4, 0.1), (0.0, -0.05), (0.55, 0.02), (0.62, 0.35), (0.2, 0.5), (-0.35, 0.45))
        ),
        Part(
            smooth(
                (-0.95 + lean, -0.7),
                (-0.6 + lean, -0.95),
                (-0.3 + lean, -0.9),
                (-0.3 + lean, -0.65),
                (-0.9 + lean, -0.52),
            )
        ),
        Part(ellipse(-0.52 + lean, -0.8, 0.07, 0.07), "dark"),
    ]
    spots = [(-0.38, -0.42), (-0.22, -0.12), (-0.15, 0.22), (0.15, 0.15), (0.42, 0.25)]
    return parts + [Part(ellipse(x + lean * (0.2 - y), y, 0.11, 0.11), "accent") for x, y in spots]


def horse(rng: random.Random) -> list[Part]:
    step = rng.uniform(-0.1, 0.1)
    legs = ((-0.45, -step), (-0.22, step), (0.42, -step), (0.62, step))
    return [
        Part(smooth((0.6, -0.2), (0.9, -0.15), (1.05, 0.5), (0.85, 0.6), (0.75, 0.1)), "accent"),
        *(Part(limb(x, 0.3, x + s, 0.95, 0.19)) for x, s in legs),
        *(Part(limb(x + s * 0.9, 0.86, x + s, 1.0, 0.2), "dark") for x, s in legs),
        Part(
            smooth(
                (-0.55, -0.15),
                (0.0, -0.15),
                (0.6, -0.25),
                (0.78, 0.1),
                (0.6, 0.42),
                (0.0, 0.38),
                (-0.5, 0.4),
            )
        ),
        Part(
            smooth((-0.1, -0.1), (-0.2, -0.7), (-0.5, -1.0), (-0.58, -0.7), (-0.3, -0.2)), "accent"
        ),
        Part(polygon((-0.75, -0.75), (-0.4, -0.85), (0.05, 0.0), (-0.55, 0.25))),
        Part(polygon((-0.6, -0.85), (-0.5, -1.1), (-0.4, -0.8))),
        Part(smooth((-1.1, -0.38), (-0.75, -0.85), (-0.4, -0.85), (-0.45, -0.5), (-0.95, -0.18))),
        Part(ellipse(-0.66, -0.62, 0.08, 0.08), "dark"),
    ]


def house(rng: random.Random) -> list[Part]:
    door = rng.choice((-0.35, 0.35))
    return [
        Part(box(0.35, -0.95, 0.6, -0.35), "dark"),
        Part(box(-0.8, -0.2, 0.8, 1.0)),
        Part(polygon((-1.05, -0.15), (0.0, -1.0), (1.05, -0.15)), "accent"),
        Part(box(door - 0.2, 0.25, door + 0.2, 1.0), "dark"),
        Part(box(-door - 0.22, 0.12, -door + 0.22, 0.56), "light"),
    ]


def tree(rng: random.Random) -> list[Part]:
    sway = rng.uniform(-0.1, 0.1)
    crown = [(0.0, -0.55, 0.5), (-0.42, -0.2, 0.42), (0.42, -0.2, 0.42), (0.0, 0.0, 0.42)]
    fruit = [(-0.4, -0.2), (0.1, -0.65), (0.4, -0.1), (0.0, 0.0)]
    return [
        Part(polygon((-0.15, 0.2), (0.15, 0.2), (0.24, 1.0), (-0.24, 1.0)), "wood"),
        *(Part(ellipse(x + sway, y, r, r)) for x, y, r in crown),
        *(Part(ellipse(x + sway, y, 0.11, 0.11), "accent") for x, y in fruit),
    ]


def car(rng: random.Random) -> list[Part]:
    roof = rng.uniform(-0.06, 0.06)
    parts = [
        Part(
            polygon((-0.6, -0.1), (-0.38, -0.6 + roof), (0.35, -0.6 + roof), (0.68, -0.1)), "accent"
        ),
        Part(
            polygon((-0.42, -0.12), (-0.3, -0.45 + roof), (-0.05, -0.45 + roof), (-0.05, -0.12)),
            "light",
        ),
        Part(
            polygon((0.07, -0.12), (0.07, -0.45 + roof), (0.28, -0.45 + roof), (0.48, -0.12)),
            "light",
        ),
        Part(
            smooth(
                (-1.0, 0.35),
                (-1.0, -0.05),
                (-0.6, -0.14),
                (0.7, -0.14),
                (1.0, 0.02),
                (1.0, 0.35),
                (0.0, 0.4),
            )
        ),
        Part(ellipse(-0.95, 0.08, 0.09, 0.1), "gold"),
    ]
    for x in (-0.55, 0.55):
        parts += [
            Part(ellipse(x, 0.38, 0.27, 0.27), "dark"),
            Part(ellipse(x, 0.38, 0.11, 0.11), "light"),
        ]
    return parts


def boat(rng: random.Random) -> list[Part]:
    boom = rng.uniform(0.0, 0.12)
    return [
        Part(box(-0.05, -1.0, 0.06, 0.5), "dark"),
        Part(polygon((0.1, -0.95), (0.85, 0.3 - boom), (0.1, 0.3)), "accent"),
        Part(polygon((-0.1, -0.7), (-0.1, 0.3), (-0.7, 0.3 - boom)), "light"),
        Part(polygon((-1.0, 0.42), (1.0, 0.42), (0.65, 0.95), (-0.65, 0.95))),
    ]


def flower(rng: random.Random) -> list[Part]:
    turn = rng.uniform(0, math.pi / 3)
    angles = [turn + k * math.pi / 3 for k in range(6)]
    return [
        Part(box(-0.07, -0.1, 0.07, 1.0), "leaf"),
        Part(ellipse(-0.32, 0.65, 0.32, 0.15, 0.5), "leaf"),
        Part(ellipse(0.32, 0.6, 0.32, 0.15, -0.5), "leaf"),
        *(
            Part(ellipse(0.36 * math.cos(a), -0.35 + 0.36 * math.sin(a), 0.32, 0.22, a))
            for a in angles
        ),
        Part(ellipse(0, -0.35, 0.22, 0.22), "gold"),
    ]


def mushroom(rng: random.Random) -> list[Part]:
    lean = rng.uniform(-0.08, 0.08)
    spots = [(-0.45, -0.25, 0.15), (0.05, -0.55, 0.17), (0.48, -0.22, 0.14), (0.0, -0.1, 0.12)]
    return [
        Part(
            smooth((-0.28, 0.0), (0.28, 0.0), (0.3, 0.6), (0.4, 1.0), (-0.4, 1.0), (-0.3, 0.6)),
            "skin",
        ),
        Part(
            smooth(
                (-1.0, 0.1),
                (-0.85, -0.4),
                (lean, -0.9),
                (0.85, -0.4),
                (1.0, 0.1),
                (0.5, 0.2),
                (-0.5, 0.2),
            )
        ),
        *(Part(ellipse(x + lean, y, r, r), "light") for x, y, r in spots),
    ]


def person(rng: random.Random) -> list[Part]:
    wave = rng.uniform(-0.35, 0.3)
    parts = [Part(limb(x * 0.6, 0.35, x, 1.0, 0.26), "accent") for x in (-0.25, 0.25)]
    parts += [
        Part(limb(-0.25, -0.2, -0.68, 0.2 - wave, 0.2)),
        Part(limb(0.25, -0.2, 0.68, 0.2 + wave, 0.2)),
        Part(ellipse(-0.7, 0.24 - wave, 0.12, 0.12), "skin"),
        Part(ellipse(0.7, 0.24 + wave, 0.12, 0.12), "skin"),
        Part(polygon((-0.32, -0.3), (0.32, -0.3), (0.4, 0.45), (-0.4, 0.45))),
        Part(ellipse(0, -0.72, 0.38, 0.36), "dark"),
        Part(ellipse(0, -0.62, 0.32, 0.33), "skin"),
    ]
    return parts + [Part(ellipse(x, -0.62, 0.07, 0.08), "dark") for x in (-0.13, 0.13)]


SHAPES: dict[str, Callable[[random.Random], list[Part]]] = {
    shape.__name__: shape
    for shape in (cat, fish, bird, giraffe, horse, house, tree, car, boat, flower, mushroom, person)
}
