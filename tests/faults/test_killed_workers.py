"""Worker processes killed with SIGKILL in the middle of a job."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from rich.console import Console

from cli.local import LocalStack
from core.contract.settings import Settings
from core.jobs import workers
from tests.tiny_models import models_file
from tests.waiting import until

JOB = {"prompts": ["a cat", "a house"], "seed": 4, "sampling": {"steps": 150}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(
        data_dir=folder / "data", models_file=models_file(folder), port=0, lease_seconds=3.0
    )
    with LocalStack(settings, workers=1, console=Console(quiet=True)) as stack:
        yield stack


@pytest.fixture
def client(stack: LocalStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=70) as client:
        yield client


def submitted(client: httpx.Client, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/style-aligned", json=JOB, headers=headers)
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def looked_at(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
    return found


def worker_names(stack: LocalStack) -> set[str]:
    with Redis.from_url(stack.settings.redis_url) as redis:
        return {worker.name for worker in workers.alive(redis)}


def kill_worker(stack: LocalStack) -> str:
    # One that was killed before is believed alive for a while.
    with Redis.from_url(stack.settings.redis_url) as redis:
        name = max(workers.alive(redis), key=lambda worker: worker.since).name
    os.kill(int(name.split("-")[-2]), signal.SIGKILL)
    return name


def in_the_middle(client: httpx.Client, job: dict[str, Any]) -> bool:
    progress = looked_at(client, job)["progress"]
    return bool(progress and progress["stage"] == "denoising" and progress["step"] > 20)


def in_attempt(client: httpx.Client, job: dict[str, Any], attempt: int) -> bool:
    return looked_at(client, job)["attempt"] == attempt and in_the_middle(client, job)


def fingerprints(job: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}


def test_a_job_whose_worker_is_killed_succeeds_once_and_soon(
    stack: LocalStack, client: httpx.Client
) -> None:
    undisturbed = submitted(client, Prefer="wait=60")
    assert undisturbed["status"] == "succeeded"
    job = submitted(client)
    until("the middle of the job", lambda: in_the_middle(client, job))
    dead = kill_worker(stack)
    until("a replacement", lambda: worker_names(stack) - {dead})
    replaced_at = time.monotonic()
    ended = until("the end", lambda: (j := looked_at(client, job))["ended_at"] and j)
    assert ended["status"] == "succeeded"
    assert ended["attempt"] == 2
    assert time.monotonic() - replaced_at < 20
    assert fingerprints(ended) == fingerprints(undisturbed)
    attempts = [path.name for path in artifact_folder(stack, job).iterdir()]
    assert attempts == ["2"]


def test_a_job_that_kills_every_worker_fails_as_worker_lost(
    stack: LocalStack, client: httpx.Client
) -> None:
    job = submitted(client)
    for attempt in range(1, stack.settings.max_attempts + 1):
        until(f"attempt {attempt}", partial(in_attempt, client, job, attempt))
        kill_worker(stack)
    ended = until("the end", lambda: (j := looked_at(client, job))["ended_at"] and j)
    assert ended["status"] == "failed"
    assert ended["error"]["code"] == "worker-lost"
    assert ended["artifacts"] == []


def test_a_data_set_killed_twice_ends_complete_and_makes_no_picture_twice(
    stack: LocalStack, client: httpx.Client
) -> None:
    until("a worker", lambda: client.get("/readyz").status_code == 200)
    body = {"prompts": [f"a cat {n}" for n in range(200)], "dataset": True, "seed": 1}
    body |= {"sampling": {"steps": 1}}
    job = client.post("/v1/style-aligned", json=body).raise_for_status().json()
    shown = []
    for count in (60, 130):
        enough = partial(published, client, job, count)
        shown.append(until(f"{count} pictures", enough))
        kill_worker(stack)
    ended = until("the end", lambda: (j := looked_at(client, job))["ended_at"] and j)
    assert (ended["status"], ended["attempt"]) == ("succeeded", 3)
    names = [artifact["name"] for artifact in ended["artifacts"]]
    assert names == ["reference.png", *(f"image-{n:03d}.png" for n in range(200)), "metadata.jsonl"]
    with Redis.from_url(stack.settings.redis_url) as redis:
        assert redis.llen(f"attention-please:job:{job['id']}:published") == len(names)
    assert {a["attempt"] for a in ended["artifacts"]} == {1, 2, 3}
    for earlier in shown:
        assert fingerprints(earlier).items() <= fingerprints(ended).items()
    files = list(artifact_folder(stack, job).glob("*/*"))
    assert len(files) == len(names)
    undisturbed = client.post("/v1/style-aligned", json=body | {"seed": 1}).json()
    again = until("the end", lambda: (j := looked_at(client, undisturbed))["ended_at"] and j)
    assert fingerprints(again) == fingerprints(ended)


def published(client: httpx.Client, job: dict[str, Any], count: int) -> dict[str, Any] | None:
    found = looked_at(client, job)
    return found if len(found["artifacts"]) >= count else None


def test_a_running_job_is_canceled_within_a_step(stack: LocalStack, client: httpx.Client) -> None:
    until("a worker", lambda: client.get("/readyz").status_code == 200)
    job = submitted(client)
    until("the middle of the job", lambda: in_the_middle(client, job))
    answer = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    ended = until("the end", lambda: (j := looked_at(client, job))["ended_at"] and j, 10)
    assert ended["status"] == "canceled"
    until("its files are gone", lambda: not artifact_folder(stack, job).exists(), 5)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 409
    assert submitted(client, Prefer="wait=60")["status"] == "succeeded"


def artifact_folder(stack: LocalStack, job: dict[str, Any]) -> Path:
    folder: Path = stack.settings.data_dir / "artifacts" / job["id"]
    return folder
