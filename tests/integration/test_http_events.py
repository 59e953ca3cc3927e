"""The events of a job, over HTTP: in order, resumed without loss, cheap by the hundred."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from core.contract.errors import JobError
from core.contract.jobs import Artifact, Job, Progress
from core.contract.settings import Settings
from core.jobs.changes import glimpse
from core.jobs.store import Claim, JobStore
from core.storage.artifacts import ArtifactStore
from service import events
from tests.conftest import running_service

HALF = Progress(stage="denoising", step=5, steps=10, fraction=0.5)


def picture(name: str) -> Artifact:
    return Artifact(name=name, kind="image", media_type="image/png", size_bytes=3, sha256="0" * 64)


@pytest.fixture
def job(store: JobStore, new_job: Callable[..., Job]) -> Job:
    job = new_job()
    store.create(job)
    return job


def claimed(store: JobStore, job: Job, lease_seconds: float = 30) -> Claim:
    claim = store.claim(job.id, lease_seconds)
    assert claim is not None
    return claim


Event = tuple[str, dict[str, Any], str]


@contextmanager
def stream(client: httpx.Client, job: Job, after: str | None = None) -> Iterator[Iterator[Event]]:
    """The name, data and id of each event."""
    headers = {} if after is None else {"Last-Event-ID": after}
    with client.stream("GET", f"/v1/jobs/{job.id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield read(answer.iter_lines())


def read(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], json.loads(fields["data"]), fields["id"]
            fields = {}


def told(client: httpx.Client, job: Job, after: str | None = None) -> list[Event]:
    with stream(client, job, after) as found:
        return list(found)


def test_a_stream_tells_each_change_and_ends_after_done(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    with stream(client, job) as found:
        assert next(found)[:2] == ("status", {"status": "queued", "attempt": 0})
        claim = claimed(store, job)
        assert next(found)[:2] == ("status", {"status": "running", "attempt": 1})
        store.beat(claim, 30, HALF)
        assert next(found)[:2] == ("progress", HALF.model_dump())
        store.publish(claim, picture("image-000.png"))
        name, file, _ = next(found)
        assert (name, file["name"]) == ("artifact", "image-000.png")
        store.succeed(claim, {})
        rest = [(name, data) for name, data, _ in found if name != "progress"]
        assert rest == [
            ("status", {"status": "succeeded", "attempt": 1}),
            ("done", {"status": "succeeded", "error": None}),
        ]
    shown = client.get(f"/v1/jobs/{job.id}").json()
    assert shown["links"]["events"] == f"{client.base_url}/v1/jobs/{job.id}/events"
    assert file.keys() == shown["artifacts"][0].keys()


def test_a_failure_is_told_as_the_problem_that_the_job_shows(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    store.fail(claimed(store, job), JobError(code="numerics", detail="NaN.", retryable=False))
    name, data, _ = told(client, job)[-1]
    assert name == "done"
    assert data == {"status": "failed", "error": client.get(f"/v1/jobs/{job.id}").json()["error"]}


def test_a_stream_goes_on_after_any_event_without_loss_or_repetition(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    claim = claimed(store, job)
    for number in range(3):
        store.publish(claim, picture(f"image-{number:03}.png"))
    store.succeed(claim, {})
    whole = told(client, job)
    assert [name for name, _, _ in whole] == ["status", *["artifact"] * 3, "done"]
    for place, (_, _, event_id) in enumerate(whole[:-1]):
        assert told(client, job, event_id) == whole[place + 1 :]
    assert len({event_id for _, _, event_id in whole}) == len(whole)


def test_after_done_there_is_nothing_more_and_a_client_stops_asking(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    store.request_cancel(job.id)
    *_, (_, _, last) = told(client, job)
    answer = client.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content) == (204, b"")


def test_an_id_that_can_not_be_read_begins_anew(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    store.request_cancel(job.id)
    for strange in ("0", "1-1-done", "9" * 5000, "a-b-c-d"):
        assert len(told(client, job, strange)) == 2


def test_a_stream_follows_a_lost_job_to_its_next_attempt(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    first = claimed(store, job, 0.2)
    with stream(client, job) as found:
        assert next(found)[1] == {"status": "running", "attempt": 1}
        store.publish(first, picture("image-000.png"))
        assert next(found)[1]["attempt"] == 1
        time.sleep(0.3)
        assert store.requeue_lost(job)
        assert next(found)[1] == {"status": "queued", "attempt": 1}
        second = claimed(store, job)
        assert next(found)[1] == {"status": "running", "attempt": 2}
        again = picture("image-000.png").model_copy(update={"attempt": 2})
        store.publish(second, again)
        assert next(found)[1]["attempt"] == 2, "a file made again is told again"


def test_a_job_that_is_deleted_ends_its_stream(
    client: httpx.Client, store: JobStore, job: Job
) -> None:
    with stream(client, job) as found:
        next(found)
        store.redis.delete(f"attention-please:job:{job.id}")
        assert list(found) == []


def test_a_comment_keeps_a_silent_stream_awake(
    client: httpx.Client, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events._COMMENT_EVERY_SECONDS == 15
    monkeypatch.setattr(events, "_COMMENT_EVERY_SECONDS", 0.2)
    with client.stream("GET", f"/v1/jobs/{job.id}/events") as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())


def test_a_broker_that_is_away_for_a_while_ends_no_stream(
    client: httpx.Client, store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RedisConnectionError("away"), None, None, None])

    def flaky(*given: Any) -> Any:
        if error := next(failures):
            raise error
        return glimpse(*given)

    monkeypatch.setattr("service.events.glimpse", flaky)
    with stream(client, job) as found:
        assert next(found)[0] == "status"


def test_a_service_that_stops_ends_its_streams(
    settings: Settings, store: JobStore, new_job: Callable[..., Job]
) -> None:
    job = new_job()
    store.create(job)
    streams: list[list[Event]] = []

    def follow(url: str) -> None:
        with httpx.Client(base_url=url, timeout=20) as client:
            streams.append(told(client, job))

    with running_service(settings) as url:
        follower = threading.Thread(target=follow, args=(url,))
        follower.start()
        time.sleep(0.5)
        began = time.monotonic()
    follower.join()
    assert time.monotonic() - began < 5
    assert [name for name, _, _ in streams[0]] == ["status"]


def test_hundreds_of_open_streams_hold_up_nobody_and_all_are_told(
    client: httpx.Client, store: JobStore, new_job: Callable[..., Job]
) -> None:
    count = 300
    jobs = [new_job() for _ in range(10)]
    for job in jobs:
        store.create(job)
    opened = threading.Semaphore(0)

    async def follow(own: httpx.AsyncClient, job: Job) -> str:
        async with own.stream("GET", f"/v1/jobs/{job.id}/events") as answer:
            opened.release()
            return (await answer.aread()).decode()

    async def follow_all() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=client.base_url, limits=limits, timeout=60) as own:
            return await asyncio.gather(*(follow(own, jobs[n % 10]) for n in range(count)))

    streams: list[str] = []
    followers = threading.Thread(target=lambda: streams.extend(asyncio.run(follow_all())))
    followers.start()
    for _ in range(count):
        assert opened.acquire(timeout=30)
    for _ in range(50):  # would wait for ever if a stream held a thread
        assert client.get(f"/v1/jobs/{jobs[0].id}").status_code == 200
    for job in jobs:
        store.request_cancel(job.id)
    followers.join()
    assert len(streams) == count
    assert all("event: done" in text for text in streams)


def test_a_head_of_a_stream_is_answered_without_waiting_for_its_end(
    client: httpx.Client, new_job: Callable[..., Job], store: JobStore
) -> None:
    job = new_job()
    store.create(job)
    started = time.monotonic()
    answer = client.head(f"/v1/jobs/{job.id}/events", timeout=5)
    assert time.monotonic() - started < 3
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_previews_come_as_small_pictures_and_none_twice(
    client: httpx.Client, store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]
) -> None:
    job = new_job()
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim
    files.put(job.id, 1, "preview.jpg", b"first")
    store.note_preview(claim, 30, 1)
    with client.stream("GET", f"/v1/jobs/{job.id}/events") as response:
        lines = response.iter_lines()
        event_id, shown = preview_in(lines)
    assert shown == {"image": f"data:image/jpeg;base64,{base64.b64encode(b'first').decode()}"}
    files.put(job.id, 1, "preview.jpg", b"second")
    store.note_preview(claim, 30, 2)
    resumed = {"Last-Event-ID": event_id}
    with client.stream("GET", f"/v1/jobs/{job.id}/events", headers=resumed) as response:
        lines = response.iter_lines()
        _, shown = preview_in(lines)
        assert shown["image"].endswith(base64.b64encode(b"second").decode())
        files.discard(job.id, 1)
        store.succeed(claim, {})
        assert "event: preview" not in list(lines)
    assert client.get(f"/v1/jobs/{job.id}/artifacts/preview.jpg").status_code == 404


def preview_in(lines: Iterator[str]) -> tuple[str, dict[str, str]]:
    """Id and data of the next preview."""
    event_id = ""
    for line in lines:
        if line.startswith("id: "):
            event_id = line.removeprefix("id: ")
        if line == "event: preview":
            shown: dict[str, str] = json.loads(next(lines).removeprefix("data: "))
            return event_id, shown
    raise AssertionError("the stream ended without a preview")
