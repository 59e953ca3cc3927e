"""The client against the real service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from typer.testing import CliRunner

from attention_please_client import Client, WaitTimeout, errors
from attention_please_client.requests import StyleAlignedRequest
from cli.main import app
from core.contract.errors import JobError
from core.contract.jobs import Job, Progress
from core.contract.settings import Settings
from core.jobs.store import JobStore
from tests.conftest import running_service
from tests.contract.test_hostile_requests import GRID, worker  # noqa: F401
from tests.integration.test_http_keys import KEYS

README = Path(__file__).parents[2] / "client" / "README.md"
KEY = "bob-ключ"


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with running_service(settings.model_copy(update={"api_keys": KEYS})) as url:
        yield url


@pytest.fixture
def bob(url: str) -> Iterator[Client]:
    with Client(url, KEY, retry_seconds=5) as client:
        yield client


@pytest.mark.usefixtures("worker")
def test_the_readmes_example_draws_and_downloads(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_URL", url)
    monkeypatch.setenv("ATTENTION_PLEASE_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    exec(example[1], {})
    assert (tmp_path / "pictures" / "grid.png").read_bytes() == b"grid"
    assert "pictures/grid.png" in capsys.readouterr().out


def test_a_submission_named_twice_is_one_job(bob: Client) -> None:
    body: StyleAlignedRequest = {"prompts": ["a cat"]}
    one = bob.submit("style-aligned", body, idempotency_key="order-4711")
    assert bob.submit("style-aligned", body, idempotency_key="order-4711").id == one.id
    assert bob.submit("style-aligned", body).id != one.id
    with pytest.raises(errors.IdempotencyMismatch):
        bob.submit("style-aligned", {"prompts": ["a dog"]}, idempotency_key="order-4711")


def test_faulty_fields_are_named(bob: Client) -> None:
    with pytest.raises(errors.InvalidRequest) as raised:
        bob.submit("style-aligned", {"prompts": []})
    assert [fault.pointer for fault in raised.value.errors] == ["/prompts"]
    assert not raised.value.retryable


def test_progress_is_told_and_a_failed_job_raises_its_problem(
    bob: Client, store: JobStore, new_job: Callable[..., Job]
) -> None:
    job = new_job(owner="bob")
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim
    store.beat(claim, 30, Progress(stage="denoising", step=1, steps=2, fraction=0.5))
    seen: list[float] = []
    with pytest.raises(WaitTimeout):
        bob.wait(job.id, timeout=0.5, on_progress=lambda progress: seen.append(progress.fraction))
    assert seen[0] == 0.5
    store.fail(claim, JobError(code="out-of-memory", detail="Too large.", retryable=False))
    with pytest.raises(errors.OutOfMemory) as raised:
        bob.wait(job.id)
    assert raised.value.detail == "Too large."
    assert raised.value.job is not None
    assert raised.value.job.status == "failed"
    assert [event.kind for event in bob.events(job.id)] == ["status", "progress", "done"][::2]


class Breaking(httpx.HTTPTransport):
    """Breaks each stream of events off in the middle of its third event."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if not request.url.path.endswith("/events") or answer.status_code != 200:
            return answer
        assert isinstance(answer.stream, httpx.SyncByteStream)
        return httpx.Response(200, headers=answer.headers, stream=Torn(answer.stream))


class Torn(httpx.SyncByteStream):
    def __init__(self, whole: httpx.SyncByteStream) -> None:
        self.whole = whole

    def __iter__(self) -> Iterator[bytes]:
        told = b""
        for chunk in self.whole:
            told += chunk
            events = told.split(b"\r\n\r\n")
            if len(events) > 2:
                yield b"\r\n\r\n".join([*events[:2], events[2][: len(events[2]) // 2]])
                raise httpx.ReadError("torn")
        yield told

    def close(self) -> None:
        self.whole.close()


def test_each_event_is_told_once_however_often_the_stream_breaks(
    url: str, store: JobStore, new_job: Callable[..., Job]
) -> None:
    job = new_job(owner="bob")
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim
    names = [f"image-{number:03}.png" for number in range(5)]
    for name in names:
        store.publish(claim, GRID.model_copy(update={"name": name}))
    store.succeed(claim, {})
    with Client(url, KEY, transport=Breaking()) as client:
        events = [*client.events(job.id)]
    assert [event.data["name"] for event in events if event.kind == "artifact"] == names
    assert [event.kind for event in events if event.kind != "artifact"] == ["status", "done"]


def test_a_canceled_job_raises_so_and_can_be_deleted(bob: Client) -> None:
    job = bob.cancel(bob.submit("style-aligned", {"prompts": ["a cat"]}))
    with pytest.raises(errors.JobCanceled):
        bob.wait(job)
    with pytest.raises(errors.Conflict):
        bob.cancel(job)
    bob.delete(job)
    with pytest.raises(errors.NotFound):
        bob.job(job)


def test_jobs_come_from_as_many_pages_as_there_are(bob: Client) -> None:
    submitted = [bob.submit("style-aligned", {"prompts": ["a cat"]}).id for _ in range(3)]
    bob.cancel(submitted[1])
    assert [job.id for job in bob.jobs(page=1)] == submitted[::-1]
    assert [job.id for job in bob.jobs(status="canceled")] == [submitted[1]]
    assert not [*bob.jobs(technique="segmentation")]


def test_pictures_are_uploaded_by_path_or_bytes(bob: Client, tmp_path: Path) -> None:
    path = tmp_path / "style.png"
    Image.new("RGB", (8, 6), "red").save(path)
    stored = bob.upload(path)
    assert bob.upload(path.read_bytes()).id == stored.id
    assert (stored.width, stored.height) == (8, 6)
    assert bob.image(stored.id).sha256 == stored.sha256
    bob.delete_image(stored.id)
    with pytest.raises(errors.NotFound):
        bob.image(stored.id)


def test_the_rest_is_read(bob: Client) -> None:
    found = bob.models()
    assert found.default in [model.name for model in found.models]
    assert bob.references() == []
    assert bob.webhook_secret().startswith("whsec_")
    job = bob.submit(
        "style-aligned",
        {
            "prompts": ["a cat"],
            "webhook": {"url": "https://app.example/", "events": ["job.canceled"]},
        },
    )
    assert bob.deliveries(job) == []
    bob.cancel(job)
    (delivery,) = bob.deliveries(job)
    assert bob.redeliver(job, delivery.id).status == "pending"


def test_without_a_known_key_nothing_is_told(url: str) -> None:
    with Client(url, "wrong") as stranger, pytest.raises(errors.Unauthorized):
        stranger.models()


@pytest.mark.usefixtures("worker")
def test_the_command_submits_a_file_and_fetches_what_came_of_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_KEY", KEY)
    request = tmp_path / "request.json"
    request.write_text('{"prompts": ["a cat"]}')
    arguments = [str(request), "--url", url, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["submit", "style-aligned", *arguments])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "grid.png").read_bytes() == b"grid"
    request.write_text('{"prompts": [], "sed": 1}')
    refused = CliRunner().invoke(app, ["submit", "style-aligned", *arguments])
    assert refused.exit_code == 1
    assert "/prompts" in refused.output
    assert "/sed" in refused.output
    unknown = CliRunner().invoke(app, ["submit", "nothing", *arguments])
    assert unknown.exit_code == 1
    assert "There is nothing at this address" in unknown.output
