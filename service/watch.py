"""Who streams a job's events sleeps here until its record changes.

One task for each process looks at the revisions of all watched jobs, in one round trip a tick:
a stream costs no thread, no connection to the broker and, while its job rests, no work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

_TICK_SECONDS = 0.25
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Sleeper:
    job_id: str
    revision: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Watch:
    """Wakes those whose job has changed."""

    def __init__(
        self,
        revisions: Callable[[Sequence[str]], list[int | None]],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._revisions = revisions
        self._is_stopping = is_stopping
        self._sleepers: set[_Sleeper] = set()
        self._looking: asyncio.Task[None] | None = None

    async def changed(self, job_id: str, revision: int) -> None:
        """Return once the job is no longer at `revision`, is gone, or the service stops."""
        sleeper = _Sleeper(job_id, revision)
        self._sleepers.add(sleeper)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            await sleeper.woken.wait()
        finally:
            self._sleepers.discard(sleeper)

    async def _look(self) -> None:
        """Until nobody sleeps any more."""
        while self._sleepers:
            job_ids = list({sleeper.job_id for sleeper in self._sleepers})
            try:
                found = await run_in_threadpool(self._revisions, job_ids)
            except RedisError as error:
                # It comes back, with the record: those who sleep go on sleeping.
                _log.warning("can't look for changed jobs: %s", error)
            else:
                self._wake(dict(zip(job_ids, found, strict=True)))
            await asyncio.sleep(_TICK_SECONDS)

    def _wake(self, found: dict[str, int | None]) -> None:
        for sleeper in self._sleepers:
            # Who came while the broker was asked is looked at in the next tick.
            current = found.get(sleeper.job_id, sleeper.revision)
            if current != sleeper.revision or self._is_stopping():
                sleeper.woken.set()
