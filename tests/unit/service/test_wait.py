"""Waiting for a job to end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import ConnectionError as RedisConnectionError

from core.contract.jobs import Job
from service.wait import until_ended


async def never() -> bool:
    return False


def wait(job: Job, read: Callable[[], Job], give_up: Callable[[], Awaitable[bool]] = never) -> Job:
    return asyncio.run(until_ended(job, read, 60, give_up))


def test_a_job_that_has_ended_is_not_waited_for(new_job: Callable[..., Job]) -> None:
    done = new_job(status="failed")

    def read() -> Job:
        raise AssertionError("it was read again")

    assert wait(done, read) is done


def test_the_job_is_read_until_it_ends(new_job: Callable[..., Job]) -> None:
    states = iter([new_job(), new_job(status="running"), new_job(status="succeeded")])
    assert wait(new_job(), lambda: next(states)).status == "succeeded"


def test_waiting_stops_when_it_is_time_to_give_up(new_job: Callable[..., Job]) -> None:
    answers = iter([False, False, True])

    async def third_time() -> bool:
        return next(answers)

    queued = new_job()
    started = time.monotonic()
    assert wait(queued, lambda: queued, third_time) is queued
    assert time.monotonic() - started < 2


def test_a_broker_that_falls_silent_ends_the_wait_but_not_the_answer(
    new_job: Callable[..., Job],
) -> None:
    queued = new_job()

    def read() -> Job:
        raise RedisConnectionError

    assert wait(queued, read) is queued
