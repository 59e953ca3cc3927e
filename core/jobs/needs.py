"""How much memory runs take on the workers' devices, learned from those that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from redis import Redis

from core.jobs.record import PREFIX

_RELEARNED_AFTER_SECONDS = 86_400
"""A run that met another's memory on its device must not count for ever."""

Known = Mapping[tuple[int, int], int]
"""Pixels of a picture and pictures at once -> bytes that such a run took beside the weights."""


def predicted(known: Known, pixels: int, pictures: int) -> int | None:
    """Bytes that a run will take; None before any was measured.

    What was measured is taken as it was. Else need is a straight line over pixels times pictures,
    through the least and the most demanding run that are known.
    """
    if (pixels, pictures) in known:
        return known[pixels, pictures]
    if not known:
        return None
    by_load = sorted((p * n, taken) for (p, n), taken in known.items())
    (low, taken_low), (high, taken_high) = by_load[0], by_load[-1]
    # One alone says nothing of a part that does not grow: all of it is taken to.
    slope = (taken_high - taken_low) / (high - low) if high > low else taken_high / high
    return max(0, round(taken_high + max(0.0, slope) * (pixels * pictures - high)))


class Needs:
    """What is known of a deployment's runs."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def learn(self, model: str, kind: str, pixels: int, pictures: int, taken_bytes: int) -> None:
        """Note what a run took, in place of what was known of its like."""
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hset(_key(model, kind), f"{pixels} {pictures}", taken_bytes)
            pipe.expire(_key(model, kind), _RELEARNED_AFTER_SECONDS, nx=True)
            pipe.execute()

    def known(self, model: str, kind: str) -> Known:
        """What runs of a kind took on a model."""
        found = cast(dict[bytes, bytes], self.redis.hgetall(_key(model, kind)))
        return {
            (int(pixels), int(pictures)): int(taken)
            for name, taken in found.items()
            for pixels, pictures in [name.split()]
        }


def _key(model: str, kind: str) -> str:
    return f"{PREFIX}needs:{model}:{kind}"
