"""Gives back what was lost: jobs of dead workers, and deliveries that never arrived."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from core.contract.errors import DeadlineExceeded, NotFound, WorkerLost
from core.contract.jobs import Job
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore

log = logging.getLogger(__name__)

_DELIVERY_GRACE_SECONDS = 5.0
"""A queued job that is in no queue this long after its delivery is delivered again."""


def reap(store: JobStore, queue: JobQueue, max_attempts: int) -> None:
    """Look once. Several reapers may look at once: each move is compared before it is set."""
    for job_id in store.expired_leases():
        if job := _find(store, job_id):
            _give_back(store, queue, job, max_attempts)
    waiting = set(queue.waiting())
    for job_id in store.waiting_longer_than(_DELIVERY_GRACE_SECONDS):
        if job := _find(store, job_id):
            _redeliver(store, queue, job, is_waiting=job_id in waiting)


def _give_back(store: JobStore, queue: JobQueue, job: Job, max_attempts: int) -> None:
    if job.pool != queue.pool:
        return
    if job.attempt >= max_attempts:
        lost = WorkerLost(f"The worker died in each of {job.attempt} attempts.")
        if store.fail_lost(job, lost.as_job_error()):
            log.error("job %s lost its worker %d times: failed", job.id, job.attempt)
    elif store.requeue(job.id, lost=True):
        log.warning("job %s lost its worker in attempt %d: queued again", job.id, job.attempt)
        queue.deliver(job)


def _redeliver(store: JobStore, queue: JobQueue, job: Job, *, is_waiting: bool) -> None:
    if job.pool != queue.pool:
        return
    if job.deadline_at is not None and datetime.now(UTC) > job.deadline_at:
        late = DeadlineExceeded("The job was still queued when its deadline passed.")
        store.fail_queued(job, late.as_job_error())
    elif not is_waiting:
        log.warning("job %s was in no queue: delivered again", job.id)
        queue.drop_stranded(job.id)
        store.mark_delivered(job.id)
        queue.deliver(job)


def _find(store: JobStore, job_id: str) -> Job | None:
    try:
        return store.get(job_id)
    except NotFound:
        store.forget(job_id)
        return None
