"""The job record: legal moves only, one owner at a time, nothing lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis

from core.contract.errors import (
    AttemptSuperseded,
    Busy,
    Conflict,
    JobError,
    NotFound,
    QueueFull,
)
from core.contract.jobs import Artifact, Job, JobWarning, Progress
from core.jobs.idempotency import once
from core.jobs.queue import JobQueue
from core.jobs.record import RUNNING
from core.jobs.store import Claim, JobStore, Room

LEASE = 30
BRIEF = 0.02
LOST = JobError(code="worker-lost", detail="Three workers died.", retryable=True)
GRID = Artifact(name="grid.png", kind="grid", media_type="image/png", size_bytes=3, sha256="0" * 64)
HALF = Progress(stage="denoising", step=5, steps=10, fraction=0.5)


@pytest.fixture
def job(store: JobStore, new_job: Callable[..., Job]) -> Job:
    """A queued job."""
    job = new_job()
    store.create(job)
    return job


def claimed(store: JobStore, job: Job, lease_seconds: float = LEASE) -> Claim:
    claim = store.claim(job.id, lease_seconds)
    assert claim is not None
    return claim


def lost(store: JobStore, job: Job) -> Claim:
    """A claim whose lease is over."""
    claim = claimed(store, job, BRIEF)
    time.sleep(2 * BRIEF)
    return claim


def test_a_record_reads_back_as_it_was_written(
    store: JobStore, new_job: Callable[..., Job]
) -> None:
    job = new_job(request={"prompts": ["naïve café 🐈 \u0000"], "metadata": {"a": "ü"}})
    store.create(job)
    assert store.get(job.id) == job


def test_a_job_that_was_never_created_is_not_found(store: JobStore) -> None:
    for job_id in ("job_" + "0" * 32, "", "*", "../queued"):
        with pytest.raises(NotFound):
            store.get(job_id)
        assert store.claim(job_id, LEASE) is None


def test_a_claim_begins_an_attempt(store: JobStore, job: Job) -> None:
    claim = claimed(store, job)
    running = store.get(job.id)
    assert (running.status, running.attempt, claim.attempt) == ("running", 1, 1)
    assert running.started_at is not None
    assert running.revision > job.revision
    assert claim.job == running


def test_of_many_that_claim_a_job_at_once_one_gets_it(
    store: JobStore, job: Job, redis_url: str
) -> None:
    gate = threading.Barrier(16)

    def claim() -> Claim | None:
        with Redis.from_url(redis_url) as own:
            rival = JobStore(own)
            gate.wait()
            return rival.claim(job.id, LEASE)

    with ThreadPoolExecutor(16) as rivals:
        claims = [rival.result() for rival in [rivals.submit(claim) for _ in range(16)]]
    assert len([won for won in claims if won]) == 1
    assert store.get(job.id).attempt == 1


def test_beats_tell_progress_and_hold_the_lease(store: JobStore, job: Job) -> None:
    claim = lost(store, job)
    assert store.expired_leases() == [job.id]
    assert store.beat(claim, LEASE, HALF) is False
    assert store.expired_leases() == []
    assert store.get(job.id).progress == HALF


def test_a_beat_without_progress_changes_nothing_to_see(store: JobStore, job: Job) -> None:
    claim = claimed(store, job)
    store.beat(claim, LEASE, HALF)
    before = store.get(job.id)
    store.beat(claim, LEASE)
    assert store.get(job.id) == before


def test_success_names_the_files_and_sets_when_they_go(
    store: JobStore, job: Job, redis: Redis
) -> None:
    warning = JobWarning(code="empty-mask", detail="The mask is empty.")
    claim = claimed(store, job)
    store.publish(claim, GRID)
    store.succeed(claim, {"run_seconds": 2.5}, [warning])
    done = store.get(job.id)
    assert (done.status, done.artifacts, done.warnings) == ("succeeded", (GRID,), (warning,))
    assert (done.measures, done.progress) == ({"run_seconds": 2.5}, None)
    assert done.ended_at is not None
    assert done.expires_at is not None
    ttl_seconds = job.request["ttl_seconds"]
    assert (done.expires_at - done.ended_at).total_seconds() == ttl_seconds
    assert ttl_seconds - 5 < redis.ttl(f"attention-please:job:{job.id}") <= ttl_seconds


def test_the_record_of_a_job_that_goes_on_does_not_expire(
    store: JobStore, job: Job, redis: Redis
) -> None:
    claimed(store, job)
    assert redis.ttl(f"attention-please:job:{job.id}") == -1


def end(store: JobStore, claim: Claim, to: str) -> None:
    match to:
        case "succeeded":
            store.succeed(claim, {})
        case "failed":
            store.fail(claim, LOST)
        case _:
            store.canceled(claim)


@pytest.mark.parametrize("final", ["succeeded", "failed", "canceled"])
def test_a_final_job_never_changes_again(store: JobStore, job: Job, final: str) -> None:
    claim = claimed(store, job)
    end(store, claim, final)
    ended = store.get(job.id)
    assert ended.status == final
    for to in ("succeeded", "failed", "canceled"):
        with pytest.raises(AttemptSuperseded):
            end(store, claim, to)
    with pytest.raises(AttemptSuperseded):
        store.beat(claim, LEASE, HALF)
    with pytest.raises(Conflict, match=final):
        store.request_cancel(job.id)
    store.fail_queued(job, LOST)
    assert store.claim(job.id, LEASE) is None
    assert not store.requeue_lost(job)
    assert not store.fail_lost(job, LOST)
    assert store.get(job.id) == ended


def test_a_superseded_attempt_writes_nothing(store: JobStore, job: Job) -> None:
    late = lost(store, job)
    assert store.requeue_lost(job)
    for to in ("succeeded", "failed", "canceled"):
        with pytest.raises(AttemptSuperseded):
            end(store, late, to)
    current = claimed(store, job)
    assert current.attempt == 2
    before = store.get(job.id)
    for to in ("succeeded", "failed", "canceled"):
        with pytest.raises(AttemptSuperseded):
            end(store, late, to)
    with pytest.raises(AttemptSuperseded):
        store.beat(late, LEASE, HALF)
    assert store.get(job.id) == before
    store.publish(current, GRID)
    store.succeed(current, {})
    assert store.get(job.id).artifacts == (GRID,)


def test_a_lost_job_goes_back_only_once_its_lease_is_over(
    store: JobStore, queue: JobQueue, job: Job
) -> None:
    claim = claimed(store, job)
    store.beat(claim, LEASE, HALF)
    assert not store.requeue_lost(job)
    assert not store.fail_lost(job, LOST)
    store.beat(claim, BRIEF)
    time.sleep(2 * BRIEF)
    assert store.requeue_lost(job)
    back = store.get(job.id)
    assert (back.status, back.attempt, back.progress) == ("queued", 1, None)
    assert store.expired_leases() == []
    assert queue.waiting() == [job.id]


def test_a_lost_job_that_was_to_be_canceled_is(store: JobStore, job: Job) -> None:
    claim = claimed(store, job)
    store.request_cancel(job.id)
    assert not store.cancel_lost(job)
    store.beat(claim, BRIEF)
    time.sleep(2 * BRIEF)
    assert store.cancel_lost(job)
    assert store.get(job.id).status == "canceled"


def test_a_job_that_is_lost_too_often_fails(store: JobStore, job: Job) -> None:
    lost(store, job)
    assert store.fail_lost(job, LOST)
    failed = store.get(job.id)
    assert (failed.status, failed.error) == ("failed", LOST)


def test_a_queued_job_can_fail_without_a_run(store: JobStore, queue: JobQueue, job: Job) -> None:
    late = JobError(code="deadline-exceeded", detail="It waited too long.", retryable=False)
    store.fail_queued(job, late)
    assert store.get(job.id).error == late
    assert queue.waiting() == []


def test_a_running_job_does_not_fail_as_a_queued_one(store: JobStore, job: Job) -> None:
    claimed(store, job)
    store.fail_queued(job, LOST)
    assert store.get(job.id).status == "running"


def test_cancel_ends_a_queued_job_at_once(store: JobStore, queue: JobQueue, job: Job) -> None:
    assert store.request_cancel(job.id).status == "canceled"
    assert store.claim(job.id, LEASE) is None
    assert queue.waiting() == []


def test_cancel_asks_a_running_job_which_learns_of_it_at_its_next_beat(
    store: JobStore, job: Job
) -> None:
    claim = claimed(store, job)
    assert store.beat(claim, LEASE) is False
    assert store.request_cancel(job.id).status == "running"
    assert store.beat(claim, LEASE) is True
    store.canceled(claim)
    assert store.get(job.id).status == "canceled"


def test_cancel_outlives_the_worker_it_was_asked_of(store: JobStore, job: Job) -> None:
    lost(store, job)
    store.request_cancel(job.id)
    store.requeue_lost(job)
    assert store.beat(claimed(store, job), LEASE) is True


def test_cancel_and_claim_at_once_leave_no_job_uncanceled(
    store: JobStore, new_job: Callable[..., Job], redis_url: str
) -> None:
    gate = threading.Barrier(2)

    def claim(job: Job) -> Claim | None:
        with Redis.from_url(redis_url) as own:
            rival = JobStore(own)
            gate.wait()
            return rival.claim(job.id, LEASE)

    for _ in range(30):
        job = new_job()
        store.create(job)
        with ThreadPoolExecutor() as worker:
            claiming = worker.submit(claim, job)
            gate.wait()
            store.request_cancel(job.id)
        won = claiming.result()
        assert store.get(job.id).status == "canceled" or (won and store.beat(won, LEASE))


def test_a_deadline_is_found_until_the_job_ends(
    store: JobStore, new_job: Callable[..., Job]
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    late, soon = new_job(deadline_at=past), new_job(deadline_at=past + timedelta(hours=1))
    for job in (late, soon, new_job()):
        store.create(job)
    assert store.past_deadline() == [late.id]
    claim = claimed(store, late)
    assert store.past_deadline() == [late.id]
    store.fail(claim, LOST)
    assert store.past_deadline() == []


def test_of_more_jobs_than_may_wait_none_is_recorded(
    store: JobStore, queue: JobQueue, new_job: Callable[..., Job]
) -> None:
    room = Room(waiting=3, of_owner=2)
    for owner in ("shop", "shop", "lab"):
        store.create(new_job(owner=owner), room=room)
    one_more, before = new_job(owner="shop"), queue.waiting()
    with pytest.raises(Busy):
        store.create(one_more, room=room)
    with pytest.raises(QueueFull, match="2 of your jobs"):
        store.create(one_more, room=Room(waiting=4, of_owner=2))
    assert queue.waiting() == before
    with pytest.raises(NotFound):
        store.get(one_more.id)
    began = next(job_id for job_id in before if store.get(job_id).owner == "shop")
    assert store.claim(began, LEASE)
    store.create(one_more, room=room)


def test_a_submission_whose_answer_was_lost_and_is_made_again_changes_nothing(
    store: JobStore, queue: JobQueue, new_job: Callable[..., Job]
) -> None:
    """The client of the broker repeats a script that it got no answer to."""
    job = new_job(owner="shop")
    store.create(job)
    store.create(job)
    running = claimed(store, job).job
    store.create(job)
    assert store.get(job.id) == running
    assert queue.waiting() == []
    store.create(new_job(owner="shop"), room=Room(of_owner=1))


def test_a_file_whose_publishing_is_repeated_is_there_once(
    store: JobStore, job: Job, redis: Redis
) -> None:
    claim = claimed(store, job)
    other = GRID.model_copy(update={"name": "image-000.png"})
    for file in (other, other, GRID, GRID):
        store.publish(claim, file)
    assert redis.llen(f"attention-please:job:{job.id}:published") == 2
    assert store.get(job.id).artifacts == (other, GRID)


def test_the_list_of_an_owners_jobs_lets_go_of_those_that_have_expired(
    store: JobStore, new_job: Callable[..., Job], redis: Redis
) -> None:
    for _ in range(20):
        job = new_job(owner="shop")
        store.create(job)
        redis.delete(f"attention-please:job:{job.id}")
    kept = new_job(owner="shop")
    store.create(kept)
    assert redis.zcard("attention-please:owned:shop") == 1
    store.create(new_job(owner="shop"))
    assert redis.zcard("attention-please:owned:shop") == 2


def test_an_idempotency_key_that_was_refused_for_want_of_room_can_be_sent_again(
    store: JobStore, new_job: Callable[..., Job]
) -> None:
    submission = once("shop", "order-17", "style-aligned", b"{}")
    waiting = new_job()
    store.create(waiting)
    refused = new_job()
    with pytest.raises(Busy):
        store.create(refused, submission, Room(waiting=1))
    store.request_cancel(waiting.id)
    assert store.create(refused, submission, Room(waiting=1)) == refused.id
    assert store.create(new_job(), submission, Room(waiting=1)) == refused.id


def test_only_the_last_attempt_may_put_another_request_in_place(store: JobStore, job: Job) -> None:
    first = lost(store, job)
    store.keep_request(first, LEASE, job.request | {"style": "first"})
    store.redis.zadd(RUNNING, {job.id: 0})
    assert store.requeue_lost(job)
    with pytest.raises(AttemptSuperseded):
        store.keep_request(first, LEASE, job.request | {"style": "late"})
    second = claimed(store, job)
    assert second.job.request == job.request | {"style": "first"}
    with pytest.raises(AttemptSuperseded):
        store.keep_request(first, LEASE, job.request | {"style": "late"})


def test_a_file_whose_publication_was_not_answered_is_published_once(
    store: JobStore, job: Job, redis: Redis
) -> None:
    claim = claimed(store, job)
    other = GRID.model_copy(update={"name": "image-000.png"})
    for file in (GRID, GRID, other, other):
        store.publish(claim, file)
    assert store.get(job.id).artifacts == (GRID, other)
    assert redis.llen(f"attention-please:job:{job.id}:published") == 2
