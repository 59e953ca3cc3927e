"""One `Idempotency-Key`, one job: however often, and however many at once, it is sent."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from core.contract.settings import Settings
from core.jobs.idempotency import KEPT_SECONDS
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from tests.conftest import running_service
from tests.integration.test_http_keys import ALICE, BOB, KEYS

BODY = {"prompts": ["a cat"]}
KEY = {"Idempotency-Key": "order-17"}
PATH = "/v1/style-aligned"


def test_the_same_key_and_body_are_the_same_job(
    client: httpx.Client, queue: JobQueue, redis: Redis
) -> None:
    first = client.post(PATH, json=BODY, headers=KEY)
    again = client.post(PATH, json=BODY, headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json(), "also the seed that was drawn for it"
    assert again.headers["location"] == first.headers["location"]
    assert queue.waiting() == [first.json()["id"]]
    (kept,) = redis.keys("*once*")
    assert KEPT_SECONDS - 60 < redis.ttl(kept) <= KEPT_SECONDS


def test_a_job_that_has_ended_is_answered_200_when_it_is_sent_again(
    client: httpx.Client, store: JobStore
) -> None:
    job_id = client.post(PATH, json=BODY, headers=KEY).json()["id"]
    store.request_cancel(job_id)
    again = client.post(PATH, json=BODY, headers=KEY)
    assert (again.status_code, again.json()["status"]) == (200, "canceled")


def test_the_same_key_with_another_body_is_refused(client: httpx.Client, queue: JobQueue) -> None:
    client.post(PATH, json=BODY, headers=KEY)
    other = client.post(PATH, json=BODY | {"seed": 7}, headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")
    assert other.json()["retryable"] is False
    assert len(queue.waiting()) == 1


def test_a_key_that_was_refused_is_free_for_the_corrected_request(client: httpx.Client) -> None:
    assert client.post(PATH, json={"prompts": []}, headers=KEY).status_code == 422
    assert client.post(PATH, json=BODY, headers=KEY).status_code == 202


def test_without_a_key_the_same_body_is_another_job(client: httpx.Client) -> None:
    first, second = (client.post(PATH, json=BODY).json()["id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(client: httpx.Client, key: str) -> None:
    answer = client.post(PATH, json=BODY, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


def test_the_job_of_a_key_does_not_run_again_after_it_was_deleted(
    client: httpx.Client, store: JobStore
) -> None:
    job_id = client.post(PATH, json=BODY, headers=KEY).json()["id"]
    store.remove(store.request_cancel(job_id))
    again = client.post(PATH, json=BODY, headers=KEY)
    assert (again.status_code, again.json()["code"]) == (410, "gone")


def test_of_fifty_submissions_at_once_with_one_key_one_becomes_a_job(
    client: httpx.Client, queue: JobQueue, store: JobStore
) -> None:
    gate = threading.Barrier(50)

    def submit() -> httpx.Response:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            gate.wait()
            return own.post(PATH, json=BODY, headers=KEY)

    with ThreadPoolExecutor(50) as callers:
        answers = [caller.result() for caller in [callers.submit(submit) for _ in range(50)]]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(queue.waiting()) == queue.rq.count == 1


def test_a_crash_after_the_record_loses_nothing_and_before_it_reserves_nothing(
    client: httpx.Client, queue: JobQueue, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise SystemError("the process dies here")

    with monkeypatch.context() as patched:
        patched.setattr(JobStore, "create", crash)
        assert client.post(PATH, json=BODY, headers=KEY).status_code == 500
    assert redis.keys("*once*") == []
    with monkeypatch.context() as patched:
        patched.setattr(JobQueue, "call_worker", crash)
        assert client.post(PATH, json=BODY, headers=KEY).status_code == 500
    (accepted,) = queue.waiting()
    again = client.post(PATH, json=BODY, headers=KEY)
    assert (again.status_code, again.json()["id"]) == (202, accepted)


def test_keys_of_two_owners_do_not_meet(settings: Settings) -> None:
    guarded = settings.model_copy(update={"api_keys": KEYS})
    with running_service(guarded) as url:
        hers = httpx.post(url + PATH, json=BODY, headers=ALICE | KEY)
        his = httpx.post(
            url + PATH, json={"prompts": ["b"]}, headers=BOB | {b"Idempotency-Key": b"order-17"}
        )
    assert (hers.status_code, his.status_code) == (202, 202)
    assert hers.json()["id"] != his.json()["id"]
