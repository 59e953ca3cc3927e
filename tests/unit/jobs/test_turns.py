"""Work that one of many does."""

from __future__ import annotations

import time

from redis import Redis

from core.jobs.turns import take_turn


def test_a_turn_is_taken_once_until_it_is_over(redis: Redis) -> None:
    assert take_turn(redis, "sweep", 0.05)
    assert not take_turn(redis, "sweep", 60)
    assert take_turn(redis, "dust", 60)
    time.sleep(0.1)
    assert take_turn(redis, "sweep", 60)
