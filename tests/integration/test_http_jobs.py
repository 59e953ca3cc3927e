"""Submit, look, wait, cancel: over HTTP, with the job record moved as a worker moves it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from core.contract.errors import JobError
from core.contract.jobs import Job, Progress
from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import Claim, JobStore
from tests.conftest import running_service

BODY = {"prompts": ["a cat", "a boat"], "style": "neon style", "seed": 7}


def submitted(client: httpx.Client, **fields: object) -> str:
    job_id: str = client.post("/v1/style-aligned", json=BODY | fields).json()["id"]
    return job_id


def claimed(store: JobStore, job_id: str) -> Claim:
    claim = store.claim(job_id, 30)
    assert claim is not None
    return claim


def test_a_submitted_job_is_recorded_and_queued(
    client: httpx.Client, store: JobStore, queue: JobQueue
) -> None:
    answer = client.post("/v1/style-aligned", json=BODY | {"deadline_seconds": 90})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert job["status"] == "queued"
    assert job["queue"] == {"position": 1, "estimated_wait_seconds": None}
    assert job["links"]["self"] == f"{client.base_url}/v1/jobs/{job['id']}"
    assert queue.waiting() == [job["id"]]
    recorded = store.get(job["id"])
    assert recorded.owner == "local"
    assert recorded.deadline_at is not None
    assert (recorded.deadline_at - recorded.created_at).total_seconds() == 90


def test_the_job_echoes_every_effective_value_and_can_be_sent_again(client: httpx.Client) -> None:
    first = client.post("/v1/style-aligned", json={"prompts": ["a cat"]}).json()["request"]
    assert first["model"] == "tiny-world"
    assert isinstance(first["seed"], int)
    assert first["sampling"]["steps"] > 0
    assert first["sharing"]["group_norm"] is True
    second = client.post("/v1/style-aligned", json=first)
    assert second.status_code == 202
    assert second.json()["request"] == first


def test_queued_jobs_tell_their_place_and_high_priority_goes_first(client: httpx.Client) -> None:
    normal, later = submitted(client), submitted(client)
    urgent = submitted(client, priority="high")
    places = [
        client.get(f"/v1/jobs/{job_id}").json()["queue"]["position"]
        for job_id in (urgent, normal, later)
    ]
    assert places == [1, 2, 3]


def test_an_unchanged_job_is_answered_304_and_a_changed_one_in_full(
    client: httpx.Client, store: JobStore
) -> None:
    job_id = submitted(client)
    first = client.get(f"/v1/jobs/{job_id}")
    known = {"If-None-Match": first.headers["etag"]}
    again = client.get(f"/v1/jobs/{job_id}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert "retry-after" in again.headers
    claim = claimed(store, job_id)
    progress = Progress(stage="denoising", step=5, steps=25, fraction=0.2)
    store.beat(claim, 30, progress)
    changed = client.get(f"/v1/jobs/{job_id}", headers=known)
    assert changed.status_code == 200
    assert changed.json()["status"] == "running"
    assert changed.json()["queue"] is None
    assert changed.json()["progress"] == progress.model_dump()


def test_a_job_that_moves_up_in_the_queue_has_changed(client: httpx.Client) -> None:
    first, second = submitted(client), submitted(client)
    known = {"If-None-Match": client.get(f"/v1/jobs/{second}").headers["etag"]}
    client.post(f"/v1/jobs/{first}/cancel")
    moved = client.get(f"/v1/jobs/{second}", headers=known)
    assert moved.json()["queue"]["position"] == 1


def test_a_final_job_asks_for_no_more_polling(client: httpx.Client, store: JobStore) -> None:
    job_id = submitted(client)
    error = JobError(code="out-of-memory", detail="256 x 256 would fit.", retryable=False)
    store.fail(claimed(store, job_id), error)
    answer = client.get(f"/v1/jobs/{job_id}")
    job = answer.json()
    assert "retry-after" not in answer.headers
    assert job["links"]["cancel"] is None
    assert job["error"] == {
        "type": "urn:attention-please:problem:out-of-memory",
        "title": "The device ran out of memory",
        "status": 507,
        "detail": "256 x 256 would fit.",
        "instance": f"/v1/jobs/{job_id}",
        "code": "out-of-memory",
        "retryable": False,
    }


def test_a_queued_job_is_canceled_at_once_and_leaves_the_queue(
    client: httpx.Client, queue: JobQueue
) -> None:
    job_id = submitted(client)
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceled")
    assert queue.waiting() == []


def test_a_running_job_is_asked_to_end(client: httpx.Client, store: JobStore) -> None:
    job_id = submitted(client)
    claim = claimed(store, job_id)
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert store.beat(claim, 30) is True


def test_a_final_job_can_not_be_canceled(client: httpx.Client) -> None:
    job_id = submitted(client)
    client.post(f"/v1/jobs/{job_id}/cancel")
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"
    assert "canceled" in answer.json()["detail"]


def test_waiting_answers_the_job_as_soon_as_it_ends(
    client: httpx.Client, store: JobStore, queue: JobQueue
) -> None:
    def work() -> None:
        while (job_id := queue.next()) is None:
            time.sleep(0.01)
        store.succeed(claimed(store, job_id), {})

    worker = threading.Thread(target=work)
    worker.start()
    started = time.monotonic()
    answer = client.post("/v1/style-aligned", json=BODY, headers={"Prefer": "wait=20"})
    worker.join()
    assert time.monotonic() - started < 5
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.headers["preference-applied"] == "wait=20"


def test_waiting_in_vain_answers_202_when_the_time_is_up(client: httpx.Client) -> None:
    started = time.monotonic()
    answer = client.post(
        "/v1/style-aligned", json=BODY, headers=[("Prefer", "respond-async"), ("Prefer", "wait=1")]
    )
    assert 0.9 < time.monotonic() - started < 3
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["preference-applied"] == "wait=1"


def test_a_wait_that_can_not_be_read_is_ignored(client: httpx.Client) -> None:
    for preference in ("wait=0", "wait=-3", "wait=soon", "handling=strict"):
        answer = client.post("/v1/style-aligned", json=BODY, headers={"Prefer": preference})
        assert answer.status_code == 202
        assert "preference-applied" not in answer.headers


def test_a_service_that_stops_answers_those_who_wait(settings: Settings) -> None:
    with ThreadPoolExecutor() as caller, running_service(settings) as url:
        path = f"{url}/v1/style-aligned"
        waiting = caller.submit(
            httpx.post, path, json=BODY, headers={"Prefer": "wait=50"}, timeout=30
        )
        time.sleep(0.3)
        started = time.monotonic()
    assert waiting.result().status_code == 202
    assert time.monotonic() - started < 5


def test_many_can_wait_at_once_without_holding_up_others(client: httpx.Client) -> None:
    def wait() -> None:
        with httpx.Client(base_url=client.base_url, timeout=20) as waiter:
            waiter.post("/v1/style-aligned", json=BODY, headers={"Prefer": "wait=2"})

    waiters = [threading.Thread(target=wait) for _ in range(60)]  # more than there are threads
    for waiter in waiters:
        waiter.start()
    time.sleep(0.5)
    started = time.monotonic()
    assert client.get("/v1/models").status_code == 200
    assert time.monotonic() - started < 1
    for waiter in waiters:
        waiter.join()


def test_a_lost_job_waits_again_with_its_attempts_counted(
    client: httpx.Client, store: JobStore, new_job: Callable[..., Job]
) -> None:
    job = new_job()
    store.create(job)
    assert store.claim(job.id, 0.01) is not None
    time.sleep(0.02)
    assert store.requeue_lost(job)
    shown = client.get(f"/v1/jobs/{job.id}").json()
    assert (shown["status"], shown["attempt"]) == ("queued", 1)
    assert shown["queue"]["position"] == 1


def test_a_recorded_job_is_answered_even_if_no_worker_could_be_called(
    client: httpx.Client, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reaper makes up for it later; the caller must learn its id now."""

    def silent(*_: object) -> None:
        raise RedisConnectionError("gone")

    monkeypatch.setattr(JobQueue, "call_worker", silent)
    monkeypatch.setattr(JobQueue, "position", silent)
    answer = client.post("/v1/style-aligned", json=BODY, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert queue.waiting() == [answer.json()["id"]]


def test_a_precondition_meant_for_reading_does_not_hide_a_submitted_job(
    client: httpx.Client,
) -> None:
    answer = client.post("/v1/style-aligned", json=BODY, headers={"If-None-Match": "*"})
    assert answer.status_code == 202


def test_a_silent_broker_is_503_at_once_and_tells_when_to_try_again(settings: Settings) -> None:
    deaf = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with running_service(deaf) as url:
        started = time.monotonic()
        answer = httpx.post(f"{url}/v1/style-aligned", json=BODY)
        assert time.monotonic() - started < 3
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) > 0
