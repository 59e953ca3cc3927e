"""What the reaper gives back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.contract.jobs import Job, new_job_id
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.artifacts import ArtifactStore
from core.storage.disk import DiskBlobs
from worker.reaper import reap, sweep

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
    assert queue.rq.count == 1


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


def test_a_worker_is_called_for_a_job_that_nobody_was_called_for(
    job: Job, store: JobStore, queue: JobQueue
) -> None:
    """The service died between recording the job and calling, or a worker with the call."""
    reap(store, queue, max_attempts=3)
    reap(store, queue, max_attempts=3)
    assert queue.rq.count == 1


def test_a_queued_job_past_its_deadline_fails(
    new_job: NewJob, store: JobStore, queue: JobQueue
) -> None:
    late = new_job(deadline_at=datetime.now(UTC) - timedelta(seconds=1))
    store.create(late)
    reap(store, queue, max_attempts=3)
    error = store.get(late.id).error
    assert error is not None
    assert error.code == "deadline-exceeded"


def test_jobs_of_other_pools_are_theirs(new_job: NewJob, store: JobStore, queue: JobQueue) -> None:
    store.create(new_job(pool="another"))
    reap(store, queue, max_attempts=3)
    assert queue.waiting() == []


def test_a_lost_job_that_was_to_be_canceled_is_not_run_again(
    job: Job, store: JobStore, queue: JobQueue
) -> None:
    store.claim(job.id, lease_seconds=0.05)
    store.request_cancel(job.id)
    time.sleep(0.1)
    reap(store, queue, max_attempts=3)
    assert store.get(job.id).status == "canceled"
    assert queue.waiting() == []


def test_a_lost_job_is_next_in_line(
    job: Job, new_job: NewJob, store: JobStore, queue: JobQueue
) -> None:
    for waiting in (new_job(), new_job()):
        store.create(waiting)
    store.claim(job.id, lease_seconds=0.01)
    time.sleep(0.05)
    reap(store, queue, max_attempts=3)
    assert queue.waiting()[0] == job.id


def test_a_record_that_can_not_be_read_keeps_no_other_job_waiting(
    job: Job, new_job: NewJob, store: JobStore, queue: JobQueue
) -> None:
    broken = new_job()
    store.create(broken)
    for lost in (broken, job):
        store.claim(lost.id, lease_seconds=0.01)
    store.redis.hset(f"attention-please:job:{broken.id}", "request", "not JSON")
    time.sleep(0.05)
    reap(store, queue, max_attempts=3)
    assert queue.waiting() == [job.id]


def test_files_without_a_record_are_swept_and_others_stay(
    job: Job, store: JobStore, tmp_path: Path
) -> None:
    files = ArtifactStore(DiskBlobs(tmp_path))
    forgotten = new_job_id()
    for job_id in (job.id, forgotten):
        files.put(job_id, 1, "grid.png", b"picture")
    sweep(store, files, older_than_seconds=60)
    assert {path.name for path in tmp_path.iterdir()} == {job.id, forgotten}
    sweep(store, files, older_than_seconds=-60)
    assert {path.name for path in tmp_path.iterdir()} == {job.id}


def test_a_record_that_is_gone_is_forgotten(job: Job, store: JobStore, queue: JobQueue) -> None:
    store.claim(job.id, lease_seconds=0.01)
    store.redis.delete(f"attention-please:job:{job.id}")
    time.sleep(0.05)
    reap(store, queue, max_attempts=3)
    assert store.expired_leases() == []
