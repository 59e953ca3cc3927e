"""`Prefer: wait=N` (RFC 7240): hold the answer until the job ends or N seconds pass."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from core.contract.jobs import Job

MAX_WAIT_SECONDS = 60

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', re.IGNORECASE)


def _wanted_wait(
    request: Request,
    prefer: Annotated[
        str | None,
        Header(
            description=(
                f"`wait=N` holds the answer until the job ends or N seconds pass, at most "
                f"{MAX_WAIT_SECONDS}; more is taken as {MAX_WAIT_SECONDS}, and what can't be "
                "read is ignored (RFC 7240)."
            ),
            examples=["wait=30"],
        ),
    ] = None,
) -> int | None:
    # The parameter documents the header; the header may also come in several lines.
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if found := _WAIT.fullmatch(preference):
            return min(int(found[1]), MAX_WAIT_SECONDS) or None
    return None


Wait = Annotated[int | None, Depends(_wanted_wait)]


async def no_more_waiting(request: Request) -> bool:
    """Whether the caller has gone, or the service is about to."""
    return request.app.state.is_stopping() or await request.is_disconnected()


async def until_ended(
    job: Job, read: Callable[[], Job], seconds: float, give_up: Callable[[], Awaitable[bool]]
) -> Job:
    """The job once it has ended, or as it is when the time is up or it is time to give up.

    No thread is held while waiting. A broker that falls silent ends the wait, not the
    answer: the job is recorded, and the caller has to learn its id.
    """
    until = time.monotonic() + seconds
    pause = 0.05
    while not job.is_final:
        left = until - time.monotonic()
        if left <= 0 or await give_up():
            break
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, 1.0)
        try:
            job = await run_in_threadpool(read)
        except RedisError:
            break
    return job
