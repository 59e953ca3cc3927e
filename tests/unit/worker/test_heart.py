"""The thread that keeps a worker alive, and ends it when it must."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from redis import Redis

from core.contract.jobs import Job
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.jobs import workers
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.places import Places
from worker.child import STALLED, Heart, WarmWorker
from worker.drawing import Drawing
from worker.memory import DeviceMemory
from worker.runner import Pulse, Runner
from worker.warm import WarmModels

NewJob = Callable[..., Job]


@pytest.fixture
def runner(store: JobStore, queue: JobQueue, settings: Settings, tmp_path: Path) -> Runner:
    models = WarmModels(load_catalog(settings.models_file), torch.device("cpu"))
    drawing = Drawing(models, DeviceMemory(models.device), Needs(store.redis))
    return Runner(store, queue, Places.under(tmp_path), drawing, 5.0, Pulse())


@pytest.fixture
def heart(runner: Runner, settings: Settings, redis: Redis) -> Heart:
    worker = WarmWorker([settings.pool], connection=redis, serializer="json")
    return Heart(worker, runner, settings, parent=os.getppid())


def test_a_beat_announces_the_worker_and_renews_its_jobs_lease(
    heart: Heart, runner: Runner, store: JobStore, new_job: NewJob
) -> None:
    job = new_job()
    store.create(job)
    claim = store.claim(job.id, lease_seconds=0.5)
    assert claim is not None
    runner.pulse.begin(claim)
    time.sleep(0.6)
    assert store.expired_leases() == [job.id]
    heart.beat()
    assert store.expired_leases() == []
    assert [worker.name for worker in workers.alive(store.redis)] == [heart.worker.name]


def test_a_stopped_heart_is_withdrawn(heart: Heart, redis: Redis) -> None:
    heart.beat()
    heart.start()
    heart.stop()
    assert workers.alive(redis) == []


def test_a_heart_goes_on_after_an_error(
    heart: Heart, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = iter([RuntimeError("a bug"), ConnectionError("no broker")])
    beat = heart.beat

    def sometimes() -> None:
        if error := next(failing, None):
            raise error
        beat()

    monkeypatch.setattr(heart, "beat", sometimes)
    quick = heart.settings.model_copy(update={"lease_seconds": 0.15})
    monkeypatch.setattr(heart, "settings", quick)
    heart.start()
    until = time.monotonic() + 10
    while not workers.alive(redis):
        assert time.monotonic() < until
        time.sleep(0.01)
    heart.stop()


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.fixture
def claimed(store: JobStore, new_job: NewJob) -> Any:
    job = new_job()
    store.create(job)
    return store.claim(job.id, lease_seconds=5)


def test_a_worker_without_a_step_for_too_long_ends_itself(
    heart: Heart, runner: Runner, claimed: Any, exits: list[int]
) -> None:
    runner.pulse.begin(claimed)
    runner.pulse.last_step -= heart.settings.stall_seconds + 1
    heart._stop_if_stalled()
    assert exits == [STALLED]


def test_idle_and_loading_workers_may_be_silent(
    heart: Heart, runner: Runner, claimed: Any, exits: list[int]
) -> None:
    runner.pulse.last_step -= heart.settings.stall_seconds + 1
    heart._stop_if_stalled()
    runner.pulse.begin(claimed)
    runner.pulse.pause()
    heart._stop_if_stalled()
    assert exits == []


def test_a_worker_whose_supervisor_is_gone_stops_as_if_told_to(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    heart._stop_without_parent()
    assert told == []
    heart.parent = -1
    heart._stop_without_parent()
    heart._stop_without_parent()
    assert told == [(os.getpid(), signal.SIGTERM)]
