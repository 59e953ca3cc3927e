"""What a supervisor removes now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from core.contract.jobs import Job, new_job_id
from core.contract.settings import Settings
from core.jobs.store import JobStore
from core.storage.places import Places
from tests.buckets import bucket_settings
from worker import supervisor
from worker.supervisor import Supervisor


@pytest.fixture(params=["disk", "bucket"])
def deployment(request: pytest.FixtureRequest, redis_url: str, tmp_path: Any) -> Settings:
    values = {"redis_url": redis_url, "data_dir": tmp_path}
    if request.param == "disk":
        return Settings(**values)
    return bucket_settings(request.getfixturevalue("bucket_endpoint"), **values)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are old enough as soon as they are there."""
    monkeypatch.setattr(supervisor, "_SWEEP_AFTER_SECONDS", -60.0)


def test_files_of_forgotten_jobs_go_and_all_others_stay(
    deployment: Settings, store: JobStore, new_job: Callable[..., Job]
) -> None:
    places, job, forgotten = Places.of(deployment), new_job(), new_job_id()
    store.create(job)
    for job_id in (job.id, forgotten):
        for name in ("a.png", "b.png"):
            places.artifacts.put(job_id, 1, name, b"")
    Supervisor(deployment)._sweep()
    left = {blob.name for blob in places.artifacts.blobs.under()}
    assert left == {f"{job.id}/1/a.png", f"{job.id}/1/b.png"}


def test_a_bucket_is_swept_by_one_supervisor_of_all_in_a_round(
    bucket_endpoint: str, redis_url: str
) -> None:
    settings = bucket_settings(bucket_endpoint, redis_url=redis_url)
    artifacts, forgotten = Places.of(settings).artifacts, new_job_id()
    one, other = (Supervisor(settings) for _ in range(2))
    one._sweep()
    artifacts.put(forgotten, 1, "a.png", b"")
    other._sweep()
    one._sweep()
    assert artifacts.read(forgotten, 1, "a.png") == b""
