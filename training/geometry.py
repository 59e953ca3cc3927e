"""Closed polygons: the ellipses, boxes, curves and strokes that everything is drawn with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """A polygon of 28 points; `turn` in radians."""
    angles = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    return np.stack(
        [
            cx + x * math.cos(turn) - y * math.sin(turn),
            cy + x * math.sin(turn) + y * math.cos(turn),
        ],
        axis=1,
    )


def polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def smooth(*points: tuple[float, float]) -> Points:
    """A closed Catmull-Rom curve through the points, six samples a segment."""
    p = polygon(*points)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, 6, endpoint=False)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (before, p, after, beyond))
    curve = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    return curve.reshape(-1, 2)


def limb(x0: float, y0: float, x1: float, y1: float, width: float) -> Points:
    """A straight stroke from one point to the other, as a quadrangle."""
    length = math.hypot(x1 - x0, y1 - y0)
    nx, ny = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
    return polygon((x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny))
