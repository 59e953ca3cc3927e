"""The client before answers that a healthy service seldom gives."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from attention_please_client import Client, Job, Unreachable, WaitTimeout, errors
from attention_please_client.events import Event, read_events
from service.examples import EXAMPLES

JOB_ID = "job_0123456789abcdef0123456789abcdef"
QUEUED: dict[str, Any] = EXAMPLES["JobView"]
SUCCEEDED = QUEUED | {"status": "succeeded", "ended_at": "2026-01-01T12:00:09Z"}
GRID = {
    "name": "grid.png",
    "kind": "grid",
    "media_type": "image/png",
    "size_bytes": 4,
    "sha256": hashlib.sha256(b"grid").hexdigest(),
    "url": "http://elsewhere/",
}
Answer = Callable[[httpx.Request], httpx.Response]


def problem(status: int, code: str, *, retryable: bool, **headers: str) -> httpx.Response:
    body = {
        "type": f"urn:attention-please:problem:{code}",
        "title": "T",
        "detail": "D",
        "status": status,
        "instance": "/",
        "code": code,
        "retryable": retryable,
    }
    return httpx.Response(
        status, json=body, headers={k.replace("_", "-"): headers[k] for k in headers}
    )


class Script(httpx.BaseTransport):
    """Answers with one after the other, and keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Broken(httpx.SyncByteStream):
    """Some bytes, and then no more."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
        raise httpx.ReadError("broken off")


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses, which are not made here."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


def client(script: Script, retry_seconds: float = 60) -> Client:
    return Client("http://service", "key", transport=script, retry_seconds=retry_seconds)


def stream(data: bytes) -> httpx.Response:
    headers = {"Content-Type": "text/event-stream"}
    return httpx.Response(200, headers=headers, stream=Broken(data))


def event(kind: str, number: int, data: object) -> bytes:
    return f"id: {number}\r\nevent: {kind}\r\ndata: {json.dumps(data)}\r\n\r\n".encode()


def test_importing_it_loads_nothing_of_the_service_and_nothing_heavy() -> None:
    code = "import sys, attention_please_client; print(*(n.partition('.')[0] for n in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3] / "client",
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(found.stdout.split())
    assert "attention_please_client" in loaded
    assert not loaded & {"core", "service", "worker", "cli", "torch", "fastapi", "redis", "rq"}


def test_a_submission_is_tried_again_with_the_same_key_after_the_pause_asked_for(
    slept: list[float],
) -> None:
    script = Script(
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        problem(429, "queue-full", retryable=True, Retry_After="7"),
        httpx.Response(502, text="<html>starting</html>"),
        httpx.Response(202, json=QUEUED),
    )
    assert client(script).submit("style-aligned", {"prompts": ["a cat"]}).id == JOB_ID
    assert len({request.headers["idempotency-key"] for request in script.requests}) == 1
    assert len({request.content for request in script.requests}) == 1
    assert slept[2] == 7
    assert all(pause < 2 for pause in slept[:2])


def test_two_submissions_are_two() -> None:
    script = Script(httpx.Response(202, json=QUEUED), httpx.Response(202, json=QUEUED))
    with client(script) as ours:
        for _ in range(2):
            ours.submit("style-aligned", {"prompts": ["a cat"]}, wait=5)
    assert len({request.headers["idempotency-key"] for request in script.requests}) == 2
    assert script.requests[0].headers["prefer"] == "wait=5"


def test_what_can_not_succeed_later_is_not_tried_again() -> None:
    for answer in (
        problem(404, "not-found", retryable=False),
        problem(500, "internal-error", retryable=False),
        httpx.Response(404, text="<html>"),
        httpx.Response(200, text="<html>"),
        httpx.Response(302, headers={"Location": "http://elsewhere/login"}),
    ):
        script = Script(answer)
        with pytest.raises((errors.NotFound, errors.InternalError, Unreachable)):
            client(script).job(JOB_ID)
        assert len(script.requests) == 1


def test_trying_ends_when_its_time_is_up() -> None:
    script = Script(problem(503, "busy", retryable=True, Retry_After="30"))
    with pytest.raises(errors.Busy) as raised:
        client(script, retry_seconds=20).job(JOB_ID)
    assert (raised.value.retry_after, raised.value.retryable, raised.value.detail) == (
        30,
        True,
        "D",
    )


def test_a_pause_of_nothing_is_a_pause_nevertheless(slept: list[float]) -> None:
    now = problem(503, "unavailable", retryable=True, Retry_After="0")
    client(Script(now, httpx.Response(200, json=QUEUED))).job(JOB_ID)
    assert slept[0] > 0.1


def test_an_id_leads_nowhere_but_to_its_job() -> None:
    script = Script(httpx.Response(200, json=QUEUED))
    client(script).job("x/../../images/y?z#w")
    assert script.requests[0].url.raw_path == b"/v1/jobs/x%2F..%2F..%2Fimages%2Fy%3Fz%23w"


def test_a_code_that_is_not_known_yet_is_a_problem_nevertheless() -> None:
    with pytest.raises(errors.ServiceProblem) as raised:
        client(Script(problem(418, "teapot", retryable=False))).job(JOB_ID)
    assert raised.value.code == "teapot"


def test_a_prompt_with_any_characters_does_not_break_an_event() -> None:
    words = "one\u2028two\x85three"
    data = json.dumps(words, ensure_ascii=False)
    raw = f": ping\r\n\r\nid: 1\r\nevent: artifact\r\ndata: {data}\r\n\r\n".encode()
    bytewise = (raw[at : at + 1] for at in range(len(raw)))
    assert [*read_events(bytewise)] == [None, Event("artifact", "1", words)]  # type: ignore[arg-type]


def test_a_stream_that_breaks_is_gone_on_with_after_its_last_event() -> None:
    progress = {"stage": "denoising", "step": 1, "steps": 4, "fraction": 0.25}
    script = Script(
        stream(event("status", 1, {}) + event("progress", 2, progress) + b"id: 3\r\nev"),
        stream(event("progress", 3, progress | {"step": 2}) + event("done", 4, {})),
        httpx.Response(200, json=SUCCEEDED),
    )
    steps: list[int] = []
    job = client(script).wait(JOB_ID, on_progress=lambda progress: steps.append(progress.step))
    assert job.status == "succeeded"
    assert steps == [1, 2]
    assert [request.headers.get("last-event-id") for request in script.requests[:2]] == [None, "2"]


def test_without_streams_it_polls_when_it_is_told_to(slept: list[float]) -> None:
    buffered = httpx.Response(200, text="<html>")
    later = httpx.Response(200, json=QUEUED, headers={"Retry-After": "3"})
    script = Script(buffered, buffered, buffered, later, httpx.Response(200, json=SUCCEEDED))
    assert client(script).wait(JOB_ID).status == "succeeded"
    assert slept[-1] == 3


def test_waiting_ends_when_its_time_is_up() -> None:
    script = Script(httpx.Response(204), *[httpx.Response(200, json=QUEUED)] * 9)
    with pytest.raises(WaitTimeout):
        client(script).wait(JOB_ID, timeout=-1)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    job = Job.model_validate(SUCCEEDED | {"artifacts": [GRID]})
    broken = httpx.Response(200, stream=Broken(b"gr"))
    assert client(Script(broken, httpx.Response(200, content=b"grid"))).download(
        job, tmp_path / "new"
    ) == [tmp_path / "new" / "grid.png"]
    assert (tmp_path / "new" / "grid.png").read_bytes() == b"grid"
    with pytest.raises(errors.DamagedDownload):
        client(Script(httpx.Response(200, content=b"gred"))).download(job, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("name", ["../grid.png", "/grid.png", "..", "", "a\\b", "c:b", ".hidden"])
def test_a_file_goes_nowhere_but_into_the_folder(tmp_path: Path, name: str) -> None:
    job = Job.model_validate(SUCCEEDED | {"artifacts": [GRID | {"name": name}]})
    with pytest.raises(errors.DamagedDownload):
        client(Script()).download(job, tmp_path / "in")
