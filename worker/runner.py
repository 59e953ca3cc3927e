"""One job, from claim to commit."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span
from PIL import Image
from redis.exceptions import RedisError

from core import catalog
from core.contract.artifacts import CHECKPOINT
from core.contract.errors import (
    INTERNAL_ERROR,
    AttemptSuperseded,
    DeadlineExceeded,
    InvalidImage,
    JobCanceled,
    JobError,
    JobFailure,
    NotFound,
    OutOfMemory,
)
from core.contract.jobs import Artifact, Job, Progress
from core.contract.pictures import Checkpoints
from core.contract.requests import JobRequest
from core.diffusion.model import DiffusionModel
from core.execution import Remarks, storage_failures, surroundings, with_fetched_images
from core.jobs.queue import JobQueue
from core.jobs.store import Claim, JobStore
from core.jobs.tally import count_run
from core.outbound.guard import Guard
from core.storage.places import Places
from core.telemetry.logs import about
from core.telemetry.traces import context_of, tracer
from worker.checkpoints import CheckpointFiles, HandedBack
from worker.drawing import Drawing
from worker.memory import ran_out
from worker.previews import Previews
from worker.stages import Stages

log = logging.getLogger(__name__)

DEVICE_FAILED = 71
"""Exit code of a worker whose device can't be used any more."""

_COMMIT_PATIENCE_SECONDS = 60.0

_MEGABYTE = 10**6

_DEAF_SECONDS = 5.0
"""How long steps go on without a word after the broker did not answer one: each would wait."""


@dataclass
class Pulse:
    """What the heartbeat may know of the job in hand: whose it is, and its last sign of life.

    One thread writes and another reads, so `claim` is set last and read first.
    """

    claim: Claim | None = None
    last_step: float = field(default_factory=time.monotonic)

    def begin(self, claim: Claim) -> None:
        self.step()
        self.claim = claim

    def step(self) -> None:
        self.last_step = time.monotonic()

    def pause(self) -> None:
        """Until the next step any silence is fine: a model may be fetched from far away."""
        self.last_step = math.inf

    def end(self) -> None:
        self.claim = None

    def silent_for(self) -> tuple[Claim, float] | None:
        """The job in hand and the seconds since its last step, if there is one."""
        claim = self.claim
        return None if claim is None else (claim, time.monotonic() - self.last_step)


@dataclass(frozen=True)
class Runner:
    """Runs jobs with the models it keeps warm."""

    store: JobStore
    queue: JobQueue
    places: Places
    drawing: Drawing
    lease_seconds: float
    pulse: Pulse
    guard: Guard | None = None
    """Fetches pictures that requests name by their URL, where that is allowed."""
    checkpoint_steps: int = 5
    """Steps from one checkpoint to the next; 0 keeps none."""
    leaving: threading.Event = field(default_factory=threading.Event)
    """Set it to have the job in hand kept at its next step and given back for another worker."""

    def run_next(self) -> None:
        """Run whoever is next in the pool's line, if anybody is."""
        while not self.leaving.is_set() and (job_id := self.queue.next()):
            if self.run(job_id):
                return  # else another worker was quicker

    def run(self, job_id: str) -> bool:
        """Claim the job, draw its pictures, commit them. False if it isn't queued any more."""
        claim = self.store.claim(job_id, self.lease_seconds)
        if claim is None:
            return False
        self.pulse.begin(claim)
        try:
            with about(request_id=claim.job.request_id, job_id=job_id), _span_of(claim):
                self._run(claim)
        except AttemptSuperseded:
            log.warning("attempt %d of job %s was superseded", claim.attempt, job_id)
            self._tidy(claim, keep=[CHECKPOINT])  # whoever has the job now may go on from it
        finally:
            self.pulse.end()
        return True

    def _run(self, claim: Claim) -> None:
        began = time.monotonic()
        stages, remarks = Stages(self._report(claim)), Remarks()
        try:
            self._draw(claim, stages, remarks)
        except AttemptSuperseded:
            raise
        except HandedBack:
            self._patiently(lambda: self.store.hand_back(claim))
            self._patiently(self.queue.call_worker)
            log.info("job %s handed back", claim.job.id)
            return
        except JobCanceled:
            self._patiently(lambda: self.store.canceled(claim))
            self._tidy(claim)
            return
        except torch.AcceleratorError:
            # The device's context is gone and would fail every later job: the lease ends, the
            # job is given back, and the supervisor starts a process with a fresh one.
            log.critical("the device failed in job %s", claim.job.id, exc_info=True)
            os._exit(DEVICE_FAILED)
        except Exception as error:
            failure = _as_failure(claim.job, error)
            get_current_span().set_status(StatusCode.ERROR, failure.code)
            self._patiently(lambda: self.store.fail(claim, failure))
            self._tidy(claim)
            return
        finally:
            spent = stages.end()
        measures = remarks.measures | {
            "queue_seconds": _queue_seconds(claim.job),
            "run_seconds": round(time.monotonic() - began, 3),
            "stages": spent,
        }
        self._patiently(lambda: self.store.succeed(claim, measures, remarks.warnings))
        self._learn(claim.job, measures)
        self._tidy(claim)
        log.info("job %s succeeded in %.2f s", claim.job.id, measures["run_seconds"])

    def _draw(self, claim: Claim, stages: Stages, remarks: Remarks) -> None:
        """Make the job's files, each of which counts as soon as it is finished."""
        job = claim.job
        technique = catalog.technique(job.technique)
        request = self._with_images(claim, technique.request.model_validate(job.request), stages)
        model = self._model(request.model, stages)
        around = surroundings(self.places, job.owner, model, stages.report, remarks)
        made = list(job.artifacts)
        kept = CheckpointFiles(
            self.places.artifacts, claim, self.checkpoint_steps, self.leaving.is_set
        )
        around = replace(
            around,
            finished=partial(self._finished, job.id, made),
            checkpoints=Checkpoints(kept.earlier, kept.offer),
        )
        if request.previews:
            previews = Previews(self.store, self.places.artifacts, claim, self.lease_seconds)
            around = replace(around, preview=previews.offer)
        with closing(self.drawing.files(technique, model, request, around, remarks)) as files:
            for artifact, data in files:
                stages.enter("storing")
                self._store(claim, artifact, data)
                made.append(artifact.model_copy(update={"attempt": claim.attempt}))
                self._patiently(partial(self.store.publish, claim, made[-1]))
                self.pulse.step()  # many files may take long to a bucket that is far away

    def _store(self, claim: Claim, file: Artifact, data: bytes) -> None:
        with storage_failures("A file of the job could not be stored."):
            self.places.artifacts.put(claim.job.id, claim.attempt, file.name, data, file.media_type)

    def _model(self, name: str | None, stages: Stages) -> DiffusionModel:
        """The model called `name`, loaded; its weights are fetched first where they aren't here."""

        def told(here_bytes: int, whole_bytes: int) -> None:
            if self.leaving.is_set():
                raise HandedBack
            now = Progress(stage="loading", step=0, steps=1, fraction=0.0)
            if here_bytes < whole_bytes:
                done, whole = here_bytes // _MEGABYTE, whole_bytes // _MEGABYTE
                now = Progress(stage="fetching", step=done, steps=whole, fraction=0.0)
            stages.report(now)
            self.pulse.pause()

        told(0, 0)
        model = self.drawing.models.get(name, told)
        self.pulse.step()
        return model

    def _with_images(self, claim: Claim, request: JobRequest, stages: Stages) -> JobRequest:
        """The request with its pictures fetched; the record names them where they are from now."""

        def report(progress: Progress) -> None:
            stages.report(progress)
            self.pulse.pause()  # a fetch has a time limit of its own

        job = claim.job
        found = with_fetched_images(request, self.places, job.owner, self.guard, report)
        self.pulse.step()
        if found != request:
            kept = found.model_dump(mode="json")
            self._patiently(lambda: self.store.keep_request(claim, self.lease_seconds, kept))
        return found

    def _finished(
        self, job_id: str, published: Sequence[Artifact], stem: str
    ) -> Image.Image | None:
        """The picture that was published already, if its file is still there."""
        for artifact in published:
            if artifact.name.rpartition(".")[0] == stem:
                with (
                    storage_failures("A file of the job could not be read."),
                    suppress(FileNotFoundError),
                    self.places.artifacts.open(job_id, artifact.attempt, artifact.name) as file,
                    Image.open(file) as image,
                ):
                    return image.convert("RGB")
        return None

    def _tidy(self, claim: Claim, keep: Sequence[str] = ()) -> None:
        """Remove what this attempt and those before it wrote and never published."""
        try:
            job = self.store.get(claim.job.id)
            if job.is_final:
                keep = ()  # nobody goes on from what was kept for that
            for attempt in range(1, claim.attempt + 1):
                names = [artifact.name for artifact in job.artifacts if artifact.attempt == attempt]
                self.places.artifacts.discard(claim.job.id, attempt, keep=[*names, *keep])
        except (RedisError, NotFound, OSError) as error:  # they go with the job
            log.warning("files of job %s not tidied: %s", claim.job.id, error)

    def _report(self, claim: Claim) -> Callable[[Progress], None]:
        """What each step calls: it renews the lease and ends a run that has to end."""

        silent_until = 0.0

        def report(progress: Progress) -> None:
            nonlocal silent_until
            self.pulse.step()
            deadline = claim.job.deadline_at
            if deadline is not None and datetime.now(UTC) > deadline:
                raise DeadlineExceeded("The job had not ended when its deadline passed.")
            if time.monotonic() < silent_until:
                return
            try:
                canceled = self.store.beat(claim, self.lease_seconds, progress)
            except RedisError as error:
                # The picture goes on; whether it still counts is decided by the commit.
                log.warning("progress of job %s not told: %s", claim.job.id, error)
                silent_until = time.monotonic() + _DEAF_SECONDS
                return
            if canceled:
                raise JobCanceled("The job was canceled while it ran.")

        return report

    def _learn(self, job: Job, measures: Mapping[str, Any]) -> None:
        """Note how long it took, for estimates and metrics; not worth a failure."""
        waited, ran = measures["queue_seconds"], measures["run_seconds"]
        with suppress(RedisError):
            self.queue.learn(ran)
            count_run(self.store.redis, job.technique, waited, ran, measures["stages"])

    def _patiently(self, commit: Callable[[], None]) -> None:
        """Retry a write to the record while the broker is away; then let it raise."""
        until = time.monotonic() + _COMMIT_PATIENCE_SECONDS
        while True:
            try:
                return commit()
            except RedisError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)


def _span_of(claim: Claim) -> AbstractContextManager[Span]:
    """The span of an attempt, in the trace of the request that submitted the job."""
    job = claim.job
    attributes: dict[str, str | int] = {
        "job.id": job.id,
        "job.attempt": claim.attempt,
        "job.technique": job.technique,
    }
    context = context_of(job.trace)
    return tracer.start_as_current_span(
        f"run {job.technique}", context, SpanKind.CONSUMER, attributes
    )


def _as_failure(job: Job, error: Exception) -> JobError:
    """The failure as data. What nobody foresaw is told to the log, and to callers only as such."""
    if isinstance(error, JobFailure | InvalidImage | NotFound):
        failure = error.as_job_error()
    elif ran_out(error):
        detail = "The model did not fit into the device's memory."
        failure = OutOfMemory(detail).as_job_error()
    else:
        log.error("job %s failed as %s", job.id, INTERNAL_ERROR, exc_info=error)
        detail = "Something went wrong on our side."
        return JobError(code=INTERNAL_ERROR, detail=detail, retryable=True)
    log.warning("job %s failed as %s: %s", job.id, failure.code, failure.detail)
    return failure


def _queue_seconds(job: Job) -> float:
    began = job.started_at or job.created_at
    return round((began - job.created_at).total_seconds(), 3)
