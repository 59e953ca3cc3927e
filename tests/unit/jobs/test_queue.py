"""Who is next: in order, in turn, and nothing but JSON in the broker."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

import pytest
from redis import Redis

from core.contract.jobs import Job
from core.jobs.queue import JobQueue, Load
from core.jobs.store import JobStore

Wait = Callable[..., str]


@pytest.fixture
def wait(store: JobStore, new_job: Callable[..., Job]) -> Wait:
    """Puts a job into the line. Gives its id."""

    def create(owner: str = "local", priority: str = "normal", pool: str = "default") -> str:
        return store.create(new_job(owner=owner, pool=pool, request={"priority": priority}))

    return create


def claims(queue: JobQueue, store: JobStore) -> list[str]:
    """Ids in the order in which a worker gets them."""
    taken = []
    while job_id := queue.next():
        assert store.claim(job_id, 30)
        taken.append(job_id)
    return taken


def test_jobs_of_one_owner_wait_in_the_order_they_came(queue: JobQueue, wait: Wait) -> None:
    jobs = [wait() for _ in range(12)]
    assert queue.waiting() == jobs
    assert queue.waiting(3) == jobs[:3]
    assert [queue.position(job_id) for job_id in jobs] == [*range(1, 13)]


def test_high_priority_goes_to_the_front(queue: JobQueue, wait: Wait) -> None:
    normal = [wait(), wait()]
    urgent = [wait(priority="high"), wait(priority="high")]
    assert queue.waiting() == urgent + normal


def test_high_priority_keeps_nobody_waiting_for_ever(
    queue: JobQueue, store: JobStore, wait: Wait
) -> None:
    normal = wait()
    for _ in range(5):
        wait(priority="high")
    claimed: list[str] = []
    while normal not in claimed and len(claimed) < 30:
        job_id = queue.next()
        assert job_id
        store.claim(job_id, 30)
        claimed.append(job_id)
        wait(priority="high")
    assert 5 < len(claimed) < 15


def test_an_owner_with_few_jobs_does_not_wait_for_one_with_many(
    queue: JobQueue, wait: Wait
) -> None:
    for _ in range(200):
        wait("large")
    for _ in range(20):
        wait("middle")
    small = [wait("small"), wait("small")]
    places = [queue.position(job_id) for job_id in small]
    assert all(place is not None and place <= 6 for place in places), places


def test_who_comes_later_does_not_wait_for_the_turns_of_before(
    queue: JobQueue, store: JobStore, wait: Wait
) -> None:
    first = [wait("large") for _ in range(10)]
    for job_id in first[:5]:
        store.claim(job_id, 30)
    late = wait("small")
    place = queue.position(late)
    assert place is not None
    assert place <= 2


def test_jobs_that_were_canceled_are_not_held_against_their_owner(
    queue: JobQueue, store: JobStore, wait: Wait
) -> None:
    wait("large")
    for job_id in [wait("shop") for _ in range(50)]:
        store.request_cancel(job_id)
    again = wait("shop")
    wait("large")
    place = queue.position(again)
    assert place is not None
    assert place <= 2


def test_a_lost_job_is_next(queue: JobQueue, store: JobStore, wait: Wait) -> None:
    lost = wait()
    waiting = [wait(priority="high"), wait()]
    store.claim(lost, 0)
    assert store.requeue_lost(store.get(lost))
    assert queue.waiting() == [lost, *waiting]


def test_a_job_without_a_record_keeps_nobody_waiting(
    queue: JobQueue, store: JobStore, wait: Wait, redis: Redis
) -> None:
    gone, waiting = wait(), wait()
    redis.delete(f"attention-please:job:{gone}")
    assert claims(queue, store) == [waiting]


def test_a_job_without_a_record_is_not_held_against_its_owner(
    queue: JobQueue, wait: Wait, redis: Redis
) -> None:
    redis.delete(f"attention-please:job:{wait()}")
    assert queue.next() is None
    assert redis.keys("attention-please:line:*") == []


def test_an_empty_line_leaves_nothing_behind(
    queue: JobQueue, store: JobStore, wait: Wait, redis: Redis
) -> None:
    jobs = [wait(), wait("shop"), wait(priority="high")]
    store.request_cancel(jobs[0])
    assert set(claims(queue, store)) == set(jobs[1:])
    assert redis.keys("attention-please:line:*") == []


def test_pools_do_not_see_each_others_jobs(queue: JobQueue, wait: Wait, redis: Redis) -> None:
    wait()
    assert JobQueue(redis, "another").waiting() == []
    elsewhere = wait(pool="another")
    assert JobQueue(redis, "another").waiting() == [elsewhere]
    assert elsewhere not in queue.waiting()


def test_calls_that_were_lost_are_made_up_for_once(queue: JobQueue, wait: Wait) -> None:
    for _ in range(3):
        wait()
    queue.call_worker()
    assert queue.make_up_calls() == 2
    assert queue.make_up_calls() == 0
    assert queue.rq.count == 3


def test_what_travels_is_json(queue: JobQueue, redis: Redis) -> None:
    queue.call_worker()
    (call,) = queue.rq.get_job_ids()
    data = redis.hget(f"rq:job:{call}", "data")
    assert isinstance(data, bytes)
    plain = data if data.startswith(b"[") else zlib.decompress(data)
    assert json.loads(plain)[0] == "worker.task.run_next"


def test_the_mean_run_follows_the_last_ones(queue: JobQueue) -> None:
    assert queue.load().run_seconds is None
    queue.learn(10)
    assert queue.load().run_seconds == 10
    for _ in range(30):
        queue.learn(2)
    mean = queue.load().run_seconds
    assert mean is not None
    assert 2 < mean < 2.1


@pytest.mark.parametrize(
    ("workers", "busy", "position", "seconds"),
    [(1, 0, 1, 0), (1, 1, 1, 5), (1, 1, 3, 25), (4, 4, 1, 1.2), (4, 2, 2, 0), (4, 2, 10, 18.8)],
)
def test_the_wait_is_that_of_who_is_before_shared_among_the_workers(
    workers: int, busy: int, position: int, seconds: float
) -> None:
    load = Load(waiting=10, workers=workers, busy=busy, run_seconds=10)
    assert load.wait_seconds(position) == seconds


def test_nobody_can_tell_the_wait_without_a_worker_or_before_the_first_run() -> None:
    assert Load(waiting=1, workers=0, busy=0, run_seconds=10).wait_seconds(1) is None
    assert Load(waiting=1, workers=1, busy=0, run_seconds=None).wait_seconds(1) is None
