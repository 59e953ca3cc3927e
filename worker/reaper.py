"""Gives back what was lost: jobs of dead workers, calls that never arrived, old files."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from core.contract.errors import DeadlineExceeded, NotFound, WorkerLost
from core.contract.jobs import Job
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.artifacts import ArtifactStore

log = logging.getLogger(__name__)


def reap(store: JobStore, queue: JobQueue, max_attempts: int) -> None:
    """Look once. Several reapers may look at once: each move is compared before it is set.

    Raises RedisError. A record that can't be read is told to the log and left.
    """
    for job_id in store.expired_leases():
        if job := _find(store, queue, job_id):
            _give_back(store, queue, job, max_attempts)
    for job_id in store.past_deadline():
        if (job := _find(store, queue, job_id)) and job.status == "queued":
            late = DeadlineExceeded("The job was still queued when its deadline passed.")
            store.fail_queued(job, late.as_job_error())
    if lost := queue.make_up_calls():
        log.info("%d calls for workers made up for", lost)


def sweep(store: JobStore, artifacts: ArtifactStore, older_than_seconds: float) -> None:
    """Remove the files of jobs whose record has expired, or never was.

    Only folders untouched for `older_than_seconds` are looked at. Raises RedisError, OSError.
    """
    for job_id in artifacts.untouched(older_than_seconds):
        try:
            store.get(job_id)
        except NotFound:
            log.info("files of job %s removed", job_id)
            artifacts.delete(job_id)


def _give_back(store: JobStore, queue: JobQueue, job: Job, max_attempts: int) -> None:
    if job.cancel_requested:
        store.cancel_lost(job)
    elif job.losses + 1 >= max_attempts:
        lost = WorkerLost(f"The worker died in each of {max_attempts} attempts.")
        if store.fail_lost(job, lost.as_job_error()):
            log.error("job %s failed as %s: %s", job.id, lost.code, lost.detail)
    elif store.requeue_lost(job):
        log.warning("job %s lost its worker in attempt %d: queued again", job.id, job.attempt)
        queue.call_worker()


def _find(store: JobStore, queue: JobQueue, job_id: str) -> Job | None:
    """The job, if it is of this pool. One bad record must not keep the others waiting."""
    try:
        job = store.get(job_id)
    except NotFound:
        store.forget(job_id)
        return None
    except RedisError:
        raise
    except Exception:
        log.exception("the record of job %s can't be read", job_id)
        return None
    return job if job.pool == queue.pool else None
