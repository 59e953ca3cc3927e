"""Delivery: in order, twice at most harmless, and nothing but JSON in the broker."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

import pytest
from redis import Redis
from rq.intermediate_queue import IntermediateQueue

from core.contract.jobs import Job
from core.jobs.queue import JobQueue


@pytest.fixture
def two_waiting(queue: JobQueue, new_job: Callable[..., Job]) -> list[str]:
    jobs = [new_job(), new_job()]
    for job in jobs:
        queue.deliver(job)
    return [job.id for job in jobs]


def test_jobs_wait_in_the_order_they_came(queue: JobQueue, two_waiting: list[str]) -> None:
    assert queue.waiting() == two_waiting


def test_high_priority_goes_to_the_front(
    queue: JobQueue, two_waiting: list[str], new_job: Callable[..., Job]
) -> None:
    urgent = new_job(request={"priority": "high"})
    queue.deliver(urgent)
    assert queue.waiting() == [urgent.id, *two_waiting]


def test_a_withdrawn_job_leaves_nothing_behind(
    queue: JobQueue, two_waiting: list[str], new_job: Callable[..., Job], redis: Redis
) -> None:
    before = set(redis.keys("*"))
    job = new_job()
    queue.deliver(job)
    queue.deliver(job)
    queue.withdraw(job.id)
    assert queue.waiting() == two_waiting
    assert set(redis.keys("*")) == before


def test_a_delivery_that_died_with_its_worker_leaves_nothing_behind(
    queue: JobQueue, two_waiting: list[str], redis: Redis
) -> None:
    """RQ moves a delivery aside before it runs it; nothing else would ever take it from there."""
    aside = IntermediateQueue(queue.rq.key, redis)
    redis.lmove(queue.rq.key, aside.key, "LEFT", "RIGHT")
    queue.drop_stranded(two_waiting[1])
    assert len(aside.get_job_ids()) == 1, "another job's delivery stays"
    queue.drop_stranded(two_waiting[0])
    assert aside.get_job_ids() == []
    assert queue.waiting() == two_waiting[1:]
    assert len(redis.keys("rq:job:*")) == 1


def test_pools_do_not_see_each_others_jobs(
    queue: JobQueue, two_waiting: list[str], redis: Redis
) -> None:
    assert JobQueue(redis, "another").waiting() == []


def test_what_travels_is_json(queue: JobQueue, two_waiting: list[str], redis: Redis) -> None:
    (delivery, *_) = queue.rq.get_job_ids()
    data = redis.hget(f"rq:job:{delivery}", "data")
    assert isinstance(data, bytes)
    plain = data if data.startswith(b"[") else zlib.decompress(data)
    assert json.loads(plain)[2] == [two_waiting[0]]
