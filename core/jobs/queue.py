"""The queue of one pool: who waits, in which order, and the calls that wake its workers.

The line is ours, in the record's sorted set, so that it is fair and a place in it is cheap to
tell. RQ carries calls: each makes one worker take whoever is next then. A call too many finds
nobody; one too few is made up for by the reaper.

One queue is one pool of workers. A worker listens to exactly one, because only then does
RQ pop with BLMOVE, which keeps the call in an intermediate list if the worker dies with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from redis import Redis
from rq import Queue

from core.jobs import scripts
from core.jobs.record import PREFIX, RUNNING, job_key, line_keys
from core.jobs.workers import alive

# The task by name: the service must not import the worker.
TASK = "worker.task.run_next"

_LEARNED = PREFIX + "run-seconds"
_WEIGHT = 0.2
"""Of the newest run in the running mean: the last ten or so count."""


@dataclass(frozen=True)
class Load:
    """How busy a pool is."""

    waiting: int
    workers: int
    busy: int
    """Workers with a job in hand, as far as can be told."""
    run_seconds: float | None
    """Mean of the last runs; None before the first."""

    def wait_seconds(self, position: int) -> float | None:
        """How long the job at this place, 1 for the next, will wait. None where nobody can tell."""
        if self.run_seconds is None or not self.workers:
            return None
        # Each worker that is free takes one at once; those in hand are half done on the average.
        behind = position - (self.workers - self.busy)
        return round(max(0.0, behind - 0.5) * self.run_seconds / self.workers, 1)


class JobQueue:
    """The queue of one pool."""

    def __init__(self, redis: Redis, pool: str) -> None:
        self.redis, self.pool = redis, pool
        # JSON, because with pickle write access to Redis would be code execution.
        self.rq = Queue(pool, connection=redis, serializer="json")
        self._line = line_keys(pool)[0]
        self._next_script = redis.register_script(scripts.NEXT)
        self._running_script = redis.register_script(scripts.RUNNING_IN)

    def waiting(self, most: int | None = None) -> list[str]:
        """Ids of the jobs in the line, the next one first; of all, or at most so many."""
        found = self.redis.zrange(self._line, 0, -1 if most is None else most - 1)
        return [job_id.decode() for job_id in cast(list[bytes], found)]

    def position(self, job_id: str) -> int | None:
        """The job's place in the line, 1 for the next. None if it doesn't wait."""
        rank = cast(int | None, self.redis.zrank(self._line, job_id))
        return None if rank is None else rank + 1

    def next(self) -> str | None:
        """Id of the job that is to be claimed next."""
        found: bytes = self._next_script(keys=line_keys(self.pool), args=[job_key("")])
        return found.decode() or None

    def call_worker(self) -> None:
        """Have a worker, as soon as one is free, take whoever is next then."""
        self.rq.enqueue_call(
            TASK,
            timeout=-1,  # deadlines are checked at every step, hangs by the watchdog
            result_ttl=0,
            failure_ttl=3600,
        )

    def make_up_calls(self) -> int:
        """Make the calls that were lost, so that nobody waits in vain. Returns how many."""
        calls: int = self.rq.count
        lost = max(0, self.redis.zcard(self._line) - calls)
        for _ in range(lost):
            self.call_worker()
        return lost

    def learn(self, run_seconds: float) -> None:
        """Note how long a run has taken."""
        # Two at once may lose one of them: it is an estimate.
        known = self._run_seconds()
        mean = run_seconds if known is None else known + _WEIGHT * (run_seconds - known)
        self.redis.hset(_LEARNED, self.pool, str(mean))

    def load(self) -> Load:
        """How busy the pool is now."""
        workers = len(alive(self.redis, self.pool))
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zcard(self._line)
            self._running_script(keys=[RUNNING], args=[job_key(""), self.pool], client=pipe)
            pipe.hget(_LEARNED, self.pool)
            waiting, running, learned = pipe.execute()
        seconds = None if learned is None else float(learned)
        return Load(waiting, workers, min(workers, running), seconds)

    def _run_seconds(self) -> float | None:
        found = cast(bytes | None, self.redis.hget(_LEARNED, self.pool))
        return None if found is None else float(found)
