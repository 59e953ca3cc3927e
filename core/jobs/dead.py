"""Jobs that failed by no fault of who sent them: kept to be looked at, and sent again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from core.contract.errors import Conflict, NotFound
from core.contract.jobs import Job, new_job_id
from core.jobs.queue import JobQueue
from core.jobs.record import DEAD
from core.jobs.store import JobStore


def dead(store: JobStore) -> list[Job]:
    """The dead whose records are still there, the last one first."""
    found = []
    for job_id in cast(list[bytes], store.redis.zrange(DEAD, 0, -1)):
        try:
            found.append(store.get(job_id.decode()))
        except NotFound:
            store.redis.zrem(DEAD, job_id)
    return sorted(found, key=lambda job: job.ended_at or job.created_at, reverse=True)


def send_again(store: JobStore, job_id: str) -> Job:
    """A new job of a dead one's request, for its owner. The dead one is listed no more.

    Raises NotFound, and Conflict where the job is not among the dead.
    """
    job = store.get(job_id)
    if store.redis.zscore(DEAD, job_id) is None:
        raise Conflict(f"The job is not among the dead: {job.status}.")
    again = Job(
        id=new_job_id(),
        technique=job.technique,
        owner=job.owner,
        pool=job.pool,
        status="queued",
        revision=1,
        attempt=0,
        created_at=datetime.now(UTC),
        request=job.request,
        request_id=job.request_id,
        trace=job.trace,
    )
    store.create(again)
    store.redis.zrem(DEAD, job_id)
    JobQueue(store.redis, again.pool).call_worker()
    return again
