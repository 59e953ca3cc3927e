"""What the reaper gives back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from core.contract.jobs import Job
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from worker import reaper
from worker.reaper import reap

NewJob = Callable[..., Job]


@pytest.fixture
def job(new_job: NewJob, store: JobStore) -> Job:
    job = new_job()
    store.create(job)
    return job


def test_a_job_whose_lease_is_over_goes_back_into_the_queue(
    job: Job, store: JobStore, queue: JobQueue
) -> None:
    store.claim(job.id, lease_seconds=0.01)
    time.sleep(0.05)
    reap(store, queue, max_attempts=3)
    assert store.get(job.id).status == "queued"
    assert queue.waiting() == [job.id]


def test_a_job_with_a_live_lease_is_left_alone(job: Job, store: JobStore, queue: JobQueue) -> None:
    store.claim(job.id, lease_seconds=10)
    reap(store, queue, max_attempts=3)
    assert store.get(job.id).status == "running"
    assert queue.waiting() == []


def test_a_job_without_attempts_left_fails_as_worker_lost(
    job: Job, store: JobStore, queue: JobQueue
) -> None:
    for _ in range(2):
        store.claim(job.id, lease_seconds=0.01)
        time.sleep(0.05)
        reap(store, queue, max_attempts=2)
    ended = store.get(job.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert (ended.error.code, ended.error.retryable) == ("worker-lost", True)


def test_a_job_that_never_reached_the_queue_is_delivered(
    job: Job, store: JobStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service died between recording the job and handing it on."""
    monkeypatch.setattr(reaper, "_DELIVERY_GRACE_SECONDS", -1.0)
    reap(store, queue, max_attempts=3)
    reap(store, queue, max_attempts=3)
    assert queue.waiting() == [job.id]


def test_a_delivery_that_a_worker_died_with_is_delivered_again(
    job: Job, store: JobStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died after RQ's pop and before its claim."""
    monkeypatch.setattr(reaper, "_DELIVERY_GRACE_SECONDS", -1.0)
    queue.deliver(job)
    stranded = queue.rq.intermediate_queue_key
    store.redis.lmove(queue.rq.key, stranded)
    reap(store, queue, max_attempts=3)
    assert queue.waiting() == [job.id]
    assert store.redis.llen(stranded) == 0


def test_a_queued_job_past_its_deadline_fails(
    new_job: NewJob, store: JobStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_DELIVERY_GRACE_SECONDS", -1.0)
    late = new_job(deadline_at=datetime.now(UTC) - timedelta(seconds=1))
    store.create(late)
    reap(store, queue, max_attempts=3)
    error = store.get(late.id).error
    assert error is not None
    assert error.code == "deadline-exceeded"


def test_jobs_of_other_pools_are_theirs(
    new_job: NewJob, store: JobStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_DELIVERY_GRACE_SECONDS", -1.0)
    store.create(new_job(pool="another"))
    reap(store, queue, max_attempts=3)
    assert queue.waiting() == []


def test_a_record_that_is_gone_is_forgotten(
    job: Job, store: JobStore, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "_DELIVERY_GRACE_SECONDS", -1.0)
    store.redis.delete(f"attention-please:job:{job.id}")
    reap(store, queue, max_attempts=3)
    assert store.waiting_longer_than(-1.0) == []
