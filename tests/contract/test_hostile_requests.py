"""Requests made from the OpenAPI document, right ones and wrong ones, in sequence and at random."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis import Redis

from core.contract.jobs import Artifact
from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.workers import WorkerInfo, announce
from core.storage.artifacts import ArtifactStore
from tests.conftest import running_service
from tests.integration.test_http_keys import KEYS

CASES = 15
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def worker(settings: Settings, files: ArtifactStore) -> Iterator[None]:
    """Ends every job at once, with a file."""
    stopped = threading.Event()

    def work() -> None:
        with Redis.from_url(settings.redis_url) as redis:
            store, queue = JobStore(redis), JobQueue(redis, settings.pool)
            info = WorkerInfo(
                name="w-1",
                pool=settings.pool,
                device="cpu",
                warm_models=(),
                since=datetime.now(UTC),
            )
            while not stopped.wait(0.02):
                announce(redis, info, 60)
                if (job_id := queue.next()) and (claim := store.claim(job_id, 30)):
                    files.put(job_id, claim.attempt, "grid.png", b"grid")
                    store.publish(claim, GRID)
                    store.succeed(claim, {"run_seconds": 0.01})

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopped.set()
    thread.join()


GRID = Artifact(
    name="grid.png",
    kind="grid",
    media_type="image/png",
    width=1,
    height=1,
    size_bytes=4,
    sha256=hashlib.sha256(b"grid").hexdigest(),
)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("worker")
def test_no_request_that_can_be_made_from_the_document_is_answered_outside_of_it(
    settings: Settings,
) -> None:
    many = {"submissions_per_minute": 10**6, "max_queued_per_key": 10**6, "api_keys": KEYS}
    with running_service(settings.model_copy(update=many)) as url:
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)),
                *("run", f"{url}/openapi.json", "--checks", "all", "--no-color"),
                *("--phases", "examples,coverage,fuzzing,stateful"),
                *("--max-examples", str(CASES), "--seed", "1", "--generation-deterministic"),
                *("--header", "Authorization: Bearer alice's key"),
                *("--request-timeout", "70", "--max-response-time", "65", "--warnings", "off"),
            ],
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.contract.answers"},
            capture_output=True,
            text=True,
        )
    assert run.returncode == 0, run.stdout[-12_000:] + run.stderr[-2000:]
    found = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert found, run.stdout[-2000:]
    assert int(found[1]) > 500
