"""One job from claim to commit, on a tiny model and a real broker."""

from __future__ import annotations

import errno
import io
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import torch
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from PIL import Image

from core import catalog
from core.contract.artifacts import CHECKPOINT
from core.contract.errors import NumericsFailure
from core.contract.jobs import Job, Progress, new_job_id
from core.contract.models import load_catalog
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.record import RUNNING
from core.jobs.store import Claim, JobStore
from core.outbound.guard import Guard
from core.outbound.rules import Rules
from core.storage import disk
from core.storage.artifacts import ArtifactStore
from core.storage.places import Places
from tests.buckets import bucket_settings, closed_port
from tests.tiny_models import models_file
from tests.web import respond, web_server
from worker import drawing as drawing_module
from worker import previews
from worker import runner as runner_module
from worker import stages as stages_module
from worker.drawing import Drawing
from worker.memory import DeviceMemory
from worker.runner import Pulse, Runner
from worker.stages import Stages
from worker.warm import WarmModels

NewJob = Callable[..., Job]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> WarmModels:
    path = models_file(tmp_path_factory.mktemp("models"))
    return WarmModels(load_catalog(path), torch.device("cpu"))


@pytest.fixture
def runner(store: JobStore, queue: JobQueue, models: WarmModels, tmp_path: Path) -> Runner:
    drawing = Drawing(models, DeviceMemory(models.device), Needs(store.redis))
    return Runner(store, queue, Places.under(tmp_path), drawing, 5.0, Pulse())


@pytest.fixture
def job(new_job: NewJob, models: WarmModels, store: JobStore) -> Job:
    technique = catalog.technique("style-aligned")
    body = {"prompts": ["a cat", "a house"], "seed": 1}
    request = technique.request.model_validate(body).resolve(models.catalog.resolve(None))
    job = new_job().model_copy(update={"request": request.model_dump(mode="json")})
    store.create(job)
    return job


def test_a_job_ends_with_its_files_and_measures(runner: Runner, job: Job, store: JobStore) -> None:
    runner.run(job.id)
    ended = store.get(job.id)
    assert ended.status == "succeeded"
    names = [artifact.name for artifact in ended.artifacts]
    assert names == ["reference.png", "image-000.png", "image-001.png", "grid.png"]
    for artifact in ended.artifacts:
        with runner.places.artifacts.open(job.id, ended.attempt, artifact.name) as file:
            assert len(file.read()) == artifact.size_bytes
    assert set(ended.measures["stages"]) == {"loading", "denoising", "decoding", "storing"}
    spent = sum(ended.measures["stages"].values())
    assert spent == pytest.approx(ended.measures["run_seconds"], abs=1)
    assert runner.pulse.claim is None


def test_a_job_that_is_not_queued_is_left_alone(runner: Runner, job: Job, store: JobStore) -> None:
    runner.run(job.id)
    before = store.get(job.id)
    runner.run(job.id)
    assert store.get(job.id) == before


def test_an_unforeseen_error_is_internal_outside_and_told_to_the_log(
    runner: Runner,
    job: Job,
    store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("/secret/path")

    monkeypatch.setattr(drawing_module, "execute", broken)
    runner.run(job.id)
    error = store.get(job.id).error
    assert error is not None
    assert error.code == "internal-error"
    assert "secret" not in error.detail
    assert "/secret/path" in caplog.text


def test_a_job_past_its_deadline_fails_at_the_next_step(
    runner: Runner, job: Job, store: JobStore
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    late = job.model_copy(update={"id": new_job_id(), "deadline_at": past})
    store.create(late)
    runner.run(late.id)
    error = store.get(late.id).error
    assert error is not None
    assert error.code == "deadline-exceeded"


def test_memory_that_runs_out_fails_with_what_would_help(
    runner: Runner,
    job: Job,
    store: JobStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def hungry(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(drawing_module, "execute", hungry)
    runner.run(job.id)
    error = store.get(job.id).error
    assert error is not None
    assert (error.code, "CUDA" in error.detail) == ("out-of-memory", False)
    assert f"job {job.id} failed as out-of-memory" in caplog.text


def test_a_superseded_attempt_commits_nothing(
    runner: Runner, job: Job, store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker takes the job over while this one is between two steps."""

    def taken_over(*given: Any) -> Any:
        runner.places.artifacts.put(job.id, 1, "image-000.png", b"late")
        store.redis.zadd(RUNNING, {job.id: 0})  # its lease is over
        assert store.requeue_lost(job)
        other = store.claim(job.id, 5.0)
        assert other is not None
        given[3].report(Progress(stage="denoising", step=1, steps=2, fraction=0.1))
        raise AssertionError("the report should have ended this attempt")

    monkeypatch.setattr(drawing_module, "execute", taken_over)
    runner.run(job.id)
    assert not (tmp_path / "artifacts" / job.id / "1").exists()
    now = store.get(job.id)
    assert (now.status, now.attempt, now.artifacts) == ("running", 2, ())


def test_a_run_is_a_span_of_the_submitters_trace_with_one_for_each_stage(
    runner: Runner, job: Job, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (runner_module, stages_module):
        monkeypatch.setattr(module, "tracer", provider.get_tracer("test"))
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    traced = job.model_copy(update={"id": new_job_id(), "trace": trace})
    store.create(traced)
    runner.run(traced.id)
    *stages, run = exporter.get_finished_spans()
    assert run.name == "run style-aligned"
    assert (run.attributes or {})["job.id"] == traced.id
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert {span.name for span in stages} == {"loading", "denoising", "decoding", "storing"}
    assert {span.parent.span_id for span in stages if span.parent} == {run.context.span_id}


def test_what_a_url_gave_once_is_what_every_later_attempt_draws(
    runner: Runner, models: WarmModels, new_job: NewJob, store: JobStore
) -> None:
    bodies = [_picture(level) for level in (0, 255)]
    with web_server(lambda request: respond(request, 200, bodies.pop(0))) as port:
        rules = Rules(http=True, networks=(ip_network("127.0.0.1"),), ports=(port,))
        link = {"url": f"http://127.0.0.1:{port}/"}
        body = {"prompts": ["a cat"], "reference": {"image": link, "prompt": "a wall"}}
        asked = catalog.technique("style-aligned").request.model_validate(body)
        effective = asked.resolve(models.catalog.resolve(None)).model_dump(mode="json")
        job = new_job().model_copy(update={"request": effective})
        store.create(job)
        claim = store.claim(job.id, 5.0)
        assert claim
        fetching = replace(runner, guard=Guard(rules))
        request = catalog.technique(job.technique).request.model_validate(effective)
        fetching._with_images(claim, request, Stages(lambda progress: None))
        # The attempt is lost here; another worker, which may fetch nothing, takes the job.
        store.redis.zadd(RUNNING, {job.id: 0})
        assert store.requeue_lost(job)
        runner.run(job.id)
    ended = store.get(job.id)
    assert (ended.status, ended.attempt) == ("succeeded", 2), ended.error
    assert "fetching" not in ended.measures["stages"]
    image = ended.request["reference"]["image"]["upload"]
    assert runner.places.images.open(job.owner, image).getpixel((0, 0)) == (0, 0, 0)


def test_a_worker_that_may_fetch_nothing_fails_a_job_with_a_url(
    runner: Runner, job: Job, new_job: NewJob, store: JobStore
) -> None:
    link = {"url": "https://pictures.example/cat.png"}
    reference = {"image": link, "prompt": "a wall", "width": 64, "height": 64, "skip": 1}
    linked = new_job(request={}).model_copy(
        update={"request": job.request | {"reference": reference}}
    )
    store.create(linked)
    runner.run(linked.id)
    error = store.get(linked.id).error
    assert error
    assert (error.code, error.retryable) == ("image-unreachable", False)


def _picture(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), level).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("technique", "body"),
    [
        ("style-aligned", {"prompts": ["a cat", "a house"]}),
        ("style-aligned", {"prompts": ["a cat", "a house"], "sharing": {"full": True}}),
        ("segmentation", {"prompt": "a cat and a house"}),
    ],
)
def test_a_job_that_asks_for_previews_leaves_none_behind_and_draws_the_same(
    runner: Runner,
    new_job: NewJob,
    models: WarmModels,
    store: JobStore,
    technique: str,
    body: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(previews, "_EVERY_SECONDS", 0.0)
    shown: list[tuple[int, int]] = []
    note = JobStore.note_preview

    def noted(self: JobStore, claim: Claim, lease: float, number: int) -> None:
        with runner.places.artifacts.open(claim.job.id, 1, "preview.jpg") as file:
            shown.append(Image.open(file).size)
        note(self, claim, lease, number)

    monkeypatch.setattr(JobStore, "note_preview", noted)
    made = []
    for asked in (False, True):
        request = catalog.technique(technique).request.model_validate(
            body | {"seed": 1, "previews": asked, "sampling": {"steps": 4}}
        )
        effective = request.resolve(models.catalog.resolve(None)).model_dump(mode="json")
        job = new_job().model_copy(update={"request": effective, "technique": technique})
        store.create(job)
        runner.run(job.id)
        ended = store.get(job.id)
        assert ended.status == "succeeded", ended.error
        made.append({artifact.name: artifact.sha256 for artifact in ended.artifacts})
        assert not (tmp_path / "artifacts" / job.id / "1" / "preview.jpg").exists()
    assert made[0] == made[1]
    assert len(shown) == 4
    assert all(max(size) <= 256 for size in shown)


def test_a_full_disk_fails_the_job_with_its_own_code_and_spares_the_next(
    runner: Runner, job: Job, new_job: NewJob, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/data")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "write_whole", full)
        runner.run(job.id)
    error = store.get(job.id).error
    assert error is not None
    assert (error.code, error.retryable, "/srv" in error.detail) == (
        "storage-unavailable",
        True,
        False,
    )
    again = new_job().model_copy(update={"request": job.request})
    store.create(again)
    runner.run(again.id)
    assert store.get(again.id).status == "succeeded"


@pytest.mark.parametrize("error", [NumericsFailure("NaN."), torch.OutOfMemoryError("CUDA")])
def test_a_preview_that_can_not_be_drawn_ends_no_job(
    runner: Runner, job: Job, store: JobStore, tmp_path: Path, error: Exception
) -> None:
    def draw() -> Image.Image:
        raise error

    claim = store.claim(job.id, 5.0)
    assert claim
    offered = previews.Previews(store, runner.places.artifacts, claim, 5.0)
    offered.offer(draw)
    assert not (tmp_path / "artifacts").exists()


def test_a_bucket_that_is_away_fails_the_job_as_a_full_disk_does(
    runner: Runner, job: Job, store: JobStore
) -> None:
    away = Places.of(bucket_settings(f"http://127.0.0.1:{closed_port()}"))
    replace(runner, places=away).run(job.id)
    error = store.get(job.id).error
    assert error is not None
    assert (error.code, error.retryable) == ("storage-unavailable", True)
    assert "127.0.0.1" not in error.detail


def test_a_picture_in_a_bucket_that_is_away_fails_the_job_as_the_storage_and_not_as_a_bug(
    runner: Runner, job: Job, new_job: NewJob, store: JobStore
) -> None:
    image = {"upload": runner.places.images.put(job.owner, _picture(9)).id}
    reference = {"image": image, "prompt": "a wall", "width": 64, "height": 64, "skip": 1}
    named = new_job().model_copy(update={"request": job.request | {"reference": reference}})
    store.create(named)
    away = Places.of(bucket_settings(f"http://127.0.0.1:{closed_port()}"))
    replace(runner, places=away).run(named.id)
    error = store.get(named.id).error
    assert error is not None
    assert (error.code, error.retryable) == ("storage-unavailable", True)


def test_a_storage_that_keeps_no_preview_is_not_asked_again_in_that_job(
    runner: Runner, job: Job, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "_EVERY_SECONDS", 0.0)
    drawn = []

    def draw() -> Image.Image:
        drawn.append(1)
        return Image.new("RGB", (8, 8))

    def full(*_: object) -> None:
        raise OSError("away")

    monkeypatch.setattr(disk, "write_whole", full)
    claim = store.claim(job.id, 5.0)
    assert claim
    offered = previews.Previews(store, runner.places.artifacts, claim, 5.0)
    for _ in range(3):
        offered.offer(draw)
    assert drawn == [1]


def test_a_job_whose_worker_has_to_go_is_gone_on_with_by_another_to_the_same_bytes(
    runner: Runner,
    job: Job,
    store: JobStore,
    queue: JobQueue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampling = job.request["sampling"] | {"steps": 12}
    long = job.model_copy(update={"request": job.request | {"sampling": sampling}})
    whole, cut = (long.model_copy(update={"id": new_job_id()}) for _ in range(2))
    store.create(whole)
    runner.run(whole.id)
    store.create(cut)
    going = replace(runner, leaving=threading.Event())
    steps: list[int] = []
    beat = store.beat

    def told(claim: Claim, lease_seconds: float, progress: Progress) -> bool:
        steps.append(progress.step)
        if progress.step == 7:
            going.leaving.set()
        return beat(claim, lease_seconds, progress)

    monkeypatch.setattr(store, "beat", told)
    going.run(cut.id)
    handed_back = store.get(cut.id)
    assert (handed_back.status, handed_back.attempt, handed_back.losses) == ("queued", 1, 0)
    assert max(steps) == 7
    going.run_next()
    assert set(queue.waiting()) == {job.id, cut.id}  # this worker takes none any more
    steps.clear()
    runner.run(cut.id)
    ended = store.get(cut.id)
    assert (ended.status, ended.attempt) == ("succeeded", 2)
    assert [step for step in steps if step][:5] == [8, 9, 10, 11, 12]
    before = [file.sha256 for file in store.get(whole.id).artifacts]
    assert [file.sha256 for file in ended.artifacts] == before
    kept = [path.name for path in (tmp_path / "artifacts" / cut.id).iterdir()]
    assert kept == ["2"]


def test_a_worker_that_has_to_go_waits_for_no_weights(
    runner: Runner, job: Job, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = replace(runner, leaving=threading.Event())
    told_of: list[Progress | None] = []

    def fetching(name: str, told: Callable[[int, int], None]) -> None:
        told(3_000_000, 9_000_000)
        told_of.append(store.get(job.id).progress)
        assert going.pulse.silent_for() == (going.pulse.claim, -math.inf), "it may take its time"
        going.leaving.set()
        told(6_000_000, 9_000_000)

    monkeypatch.setattr(runner.drawing.models, "get", fetching)
    going.run(job.id)
    assert told_of == [Progress(stage="fetching", step=3, steps=9, fraction=0.0)]
    handed_back = store.get(job.id)
    assert (handed_back.status, handed_back.attempt, handed_back.losses) == ("queued", 1, 0)


def test_a_checkpoint_that_can_not_be_stored_ends_no_job(
    runner: Runner, job: Job, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = ArtifactStore.put

    def full(self: ArtifactStore, job_id: str, attempt: int, name: str, *rest: Any) -> None:
        if name == CHECKPOINT:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, job_id, attempt, name, *rest)

    monkeypatch.setattr(ArtifactStore, "put", full)
    replace(runner, checkpoint_steps=1).run(job.id)
    assert store.get(job.id).status == "succeeded"
