"""The outbox: recorded with the change, sent by one at a time, gone with the job."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from core.contract.errors import JobError, NotFound
from core.contract.jobs import Artifact, Job
from core.contract.webhooks import Try
from core.jobs.outbox import Leased, Outbox
from core.jobs.record import OUTBOX, RUNNING, deliveries_key, job_key
from core.jobs.store import Claim, JobStore

LEASE = 30
ALL = ["job.running", "job.succeeded", "job.failed", "job.canceled"]
ERROR = JobError(code="out-of-memory", detail='It said "no".\n', retryable=False)


@pytest.fixture
def outbox(redis: Redis) -> Outbox:
    return Outbox(redis)


@pytest.fixture
def hooked(store: JobStore, new_job: Callable[..., Job]) -> Callable[..., Job]:
    """Records a job that wants to be told of events."""

    def make(*events: str, **fields: Any) -> Job:
        webhook = {"url": "https://app.example/hook", "events": list(events or ALL)}
        job = new_job(request={"webhook": webhook, "metadata": {"order": "ü7"}} | fields)
        store.create(job)
        return job

    return make


def claimed(store: JobStore, job: Job) -> Claim:
    claim = store.claim(job.id, LEASE)
    assert claim
    return claim


def leased(outbox: Outbox, seconds: float = LEASE) -> Leased:
    found = outbox.lease(seconds)
    assert found
    return found


def a_try(status_code: int | None = 500) -> Try:
    return Try(at=datetime.now(UTC), duration_seconds=0.1, status_code=status_code, reason=None)


def picture(name: str, attempt: int = 1) -> Artifact:
    return Artifact(
        name=name,
        kind="image",
        attempt=attempt,
        media_type="image/png",
        size_bytes=3,
        sha256=str(attempt) * 64,
    )


def test_each_wanted_change_is_told_as_it_was_then(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked()
    claim = claimed(store, job)
    store.publish(claim, picture("image-000.png"))
    store.fail(claim, ERROR)
    first, second = leased(outbox), leased(outbox)
    assert outbox.lease(LEASE) is None
    assert (first.payload.type, second.payload.type) == ("job.running", "job.failed")
    began, ended = first.payload.data, second.payload.data
    assert (began.status, began.attempt, began.artifacts) == ("running", 1, ())
    assert (began.ended_at, began.error) == (None, None)
    record = store.get(job.id)
    assert (ended.status, ended.error, ended.metadata) == ("failed", ERROR, {"order": "ü7"})
    assert (ended.ended_at, ended.expires_at) == (record.ended_at, record.expires_at)
    assert [(a.name, a.sha256) for a in ended.artifacts] == [("image-000.png", "1" * 64)]
    assert second.url == "https://app.example/hook"


def test_each_attempt_of_a_job_that_lost_its_worker_is_told(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked("job.running", "job.failed")
    claimed(store, job)
    for end in (store.requeue_lost, lambda lost: store.fail_lost(lost, ERROR)):
        store.redis.zadd(RUNNING, {job.id: 0})
        assert end(store.get(job.id))
        store.claim(job.id, LEASE)
    told = [leased(outbox).payload for _ in range(3)]
    assert outbox.lease(LEASE) is None
    assert [(news.type, news.data.attempt) for news in told] == [
        ("job.running", 1),
        ("job.running", 2),
        ("job.failed", 2),
    ]


def test_a_message_stays_the_same_whatever_the_job_becomes(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked()
    claim = claimed(store, job)
    before = leased(outbox, 0.01)
    store.publish(claim, picture("image-000.png"))
    store.keep_request(claim, LEASE, job.request | {"style": "neon"})
    store.succeed(claim, {})
    time.sleep(0.02)
    again = {message.id: message for message in (leased(outbox), leased(outbox))}[before.id]
    assert again.payload.model_dump_json() == before.payload.model_dump_json()


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (["job.failed"], []),
        (["job.succeeded"], ["job.succeeded"]),
        (["job.running"], ["job.running"]),
    ],
)
def test_only_wanted_events_are_told(
    store: JobStore,
    outbox: Outbox,
    hooked: Callable[..., Job],
    events: list[str],
    told: list[str],
) -> None:
    job = hooked(*events)
    store.succeed(claimed(store, job), {})
    assert [delivery.event for delivery in outbox.deliveries(job.id)] == told


def test_a_job_without_a_webhook_tells_nobody(
    store: JobStore, outbox: Outbox, new_job: Callable[..., Job], redis: Redis
) -> None:
    job = new_job()
    store.create(job)
    store.succeed(claimed(store, job), {})
    assert outbox.deliveries(job.id) == []
    assert not redis.exists(OUTBOX, deliveries_key(job.id))


def test_a_change_that_is_refused_tells_nobody(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked()
    store.request_cancel(job.id)
    assert store.claim(job.id, LEASE) is None
    assert [delivery.event for delivery in outbox.deliveries(job.id)] == ["job.canceled"]


def test_of_many_that_look_at_once_one_gets_the_delivery(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    store.request_cancel(hooked().id)
    with ThreadPoolExecutor(16) as senders:
        found = list(senders.map(lambda _: outbox.lease(LEASE), range(64)))
    assert len([one for one in found if one]) == 1


def test_what_a_dead_sender_had_in_hand_is_taken_up_with_the_same_id(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    store.request_cancel(hooked().id)
    dead = leased(outbox, 0.01)
    time.sleep(0.02)
    heir = leased(outbox)
    assert heir.id == dead.id
    # Should the dead one be only slow, its try is noted, and the other decides.
    outbox.settle(dead, a_try(), "pending", 3600)
    (delivery,) = outbox.deliveries(heir.job.id)
    assert (delivery.status, len(delivery.tries)) == ("pending", 1)
    outbox.settle(heir, a_try(200), "delivered")
    (delivery,) = outbox.deliveries(heir.job.id)
    assert (delivery.status, delivery.next_try_at) == ("delivered", None)
    assert [one.status_code for one in delivery.tries] == [500, 200]


def test_a_delivery_that_failed_waits_for_its_next_try(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked()
    store.request_cancel(job.id)
    first = leased(outbox)
    outbox.settle(first, a_try(), "pending", 0.05)
    assert outbox.lease(LEASE) is None
    (delivery,) = outbox.deliveries(job.id)
    assert delivery.next_try_at
    time.sleep(0.06)
    second = leased(outbox)
    assert (first.tried, second.tried) == (0, 1)
    outbox.settle(second, a_try(None), "failed")
    (delivery,) = outbox.deliveries(job.id)
    assert (delivery.status, delivery.next_try_at) == ("failed", None)
    assert outbox.lease(LEASE) is None


def test_a_delivery_can_be_asked_for_again_whatever_became_of_it(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job = hooked()
    store.request_cancel(job.id)
    first = leased(outbox)
    outbox.settle(first, a_try(), "failed")
    again = outbox.again(job.id, first.id)
    assert (again.status, len(again.tries)) == ("pending", 1)
    second = leased(outbox)
    assert (second.id, second.tried) == (first.id, 0)
    # Asked for while it is being sent, it is sent once more after that.
    outbox.again(job.id, first.id)
    outbox.settle(second, a_try(200), "delivered")
    third = leased(outbox)
    outbox.settle(third, a_try(200), "delivered")
    assert [one.status_code for one in outbox.deliveries(job.id)[0].tries] == [500, 200, 200]


def test_only_a_delivery_of_this_job_can_be_asked_for(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job]
) -> None:
    job, other = hooked(), hooked()
    store.request_cancel(job.id)
    store.request_cancel(other.id)
    (delivery,) = outbox.deliveries(other.id)
    missing = delivery.id.replace(other.id[4:], job.id[4:])[:-1] + "2"
    for message_id in (delivery.id, missing, "", "msg_", "x" * 1000, f"{delivery.id}\n"):
        with pytest.raises(NotFound):
            outbox.again(job.id, message_id)


def test_deliveries_expire_with_the_record_of_their_job(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job], redis: Redis
) -> None:
    job = hooked()
    store.succeed(claimed(store, job), {})
    assert redis.expiretime(deliveries_key(job.id)) == redis.expiretime(job_key(job.id)) > 0
    outbox.settle(leased(outbox), a_try(200), "delivered")
    outbox.again(job.id, outbox.deliveries(job.id)[1].id)
    assert redis.expiretime(deliveries_key(job.id)) == redis.expiretime(job_key(job.id))
    message = leased(outbox)
    redis.delete(job_key(job.id), deliveries_key(job.id))
    outbox.settle(message, a_try(200), "delivered")
    assert not redis.exists(deliveries_key(job.id), OUTBOX)


def test_what_is_left_in_the_outbox_of_an_expired_job_is_passed_over(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job], redis: Redis
) -> None:
    expired, other = hooked(), hooked()
    for job in (expired, other):
        store.request_cancel(job.id)
    redis.delete(job_key(expired.id), deliveries_key(expired.id))
    assert leased(outbox).job.id == other.id
    assert redis.zcard(OUTBOX) == 1


def test_a_deleted_job_takes_its_deliveries_along(
    store: JobStore, outbox: Outbox, hooked: Callable[..., Job], redis: Redis
) -> None:
    job = hooked()
    store.succeed(claimed(store, job), {})
    store.remove(store.get(job.id))
    assert outbox.lease(LEASE) is None
    assert not redis.exists(deliveries_key(job.id), OUTBOX)
