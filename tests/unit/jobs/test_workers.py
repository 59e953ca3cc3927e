"""Which workers are alive."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from redis import Redis

from core.jobs.workers import WorkerInfo, alive, announce, withdraw


def worker(name: str, pool: str = "default") -> WorkerInfo:
    return WorkerInfo(
        name=name, pool=pool, device="cpu", warm_models=("tiny-world",), since=datetime.now(UTC)
    )


def test_a_worker_is_alive_while_it_says_so(redis: Redis) -> None:
    info = worker("a")
    announce(redis, info, 0.05)
    assert alive(redis) == [info]
    time.sleep(0.08)
    assert alive(redis) == []
    assert redis.keys("*") == [], "nothing is left of it"
    announce(redis, info, 30)
    assert alive(redis) == [info]


def test_a_worker_that_withdraws_is_gone_at_once(redis: Redis) -> None:
    announce(redis, worker("a"), 30)
    withdraw(redis, "a")
    assert alive(redis) == []


def test_workers_are_told_apart_by_pool(redis: Redis) -> None:
    announce(redis, worker("a", "small"), 30)
    announce(redis, worker("b", "large"), 30)
    assert [w.name for w in alive(redis, "large")] == ["b"]
    assert len(alive(redis)) == 2
