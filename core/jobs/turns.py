"""Work that one process of a deployment does for all."""

from __future__ import annotations

from redis import Redis

from core.jobs.record import PREFIX


def take_turn(redis: Redis, work: str, seconds: float) -> bool:
    """Whether nobody has taken the turn at `work` in the last `seconds`; now it is taken.

    Raises RedisError.
    """
    return bool(redis.set(f"{PREFIX}turn:{work}", 1, nx=True, px=int(seconds * 1000)))
