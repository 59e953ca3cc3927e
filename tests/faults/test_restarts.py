"""Workers told to go, frozen and woken up, and a broker that goes away, while jobs run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from core.jobs.store import JobStore
from tests.deployment import Deployment, deployed
from tests.waiting import until

JOB = {"prompts": ["a cat", "a house"], "seed": 4, "sampling": {"steps": 150}}
LEASE_SECONDS = 3.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    with deployed(folder, lease_seconds=LEASE_SECONDS, drain_seconds=0.5) as deployment:
        until("two workers", lambda: deployment.ready() and len(deployment.children()) == 2)
        yield deployment


@pytest.fixture
def client(deployment: Deployment) -> Iterator[httpx.Client]:
    until("two workers", lambda: deployment.ready() and len(deployment.children()) == 2)
    with httpx.Client(base_url=deployment.url, timeout=70) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(deployment: Deployment) -> dict[str, str]:
    """What the job makes when nothing happens to it."""
    with httpx.Client(base_url=deployment.url, timeout=70) as client:
        answer = client.post("/v1/style-aligned", json=JOB, headers={"Prefer": "wait=60"})
        return files(answer.raise_for_status().json())


def submitted(client: httpx.Client) -> str:
    job_id: str = client.post("/v1/style-aligned", json=JOB).raise_for_status().json()["id"]
    return job_id


def seen(client: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
    return found


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = until(
        "the end", lambda: (job := seen(client, job_id))["ended_at"] and job
    )
    return found


def at_step(client: httpx.Client, job_id: str, step: int) -> bool:
    progress = seen(client, job_id)["progress"]
    return bool(progress and progress["stage"] == "denoising" and progress["step"] >= step)


def files(job: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}


def children_of(deployment: Deployment, part: str) -> list[int]:
    pid = deployment.parts[part].pid
    with open(f"/proc/{pid}/task/{pid}/children") as found:
        return [int(child) for child in found.read().split()]


@contextmanager
def held(deployment: Deployment, *parts: str) -> Iterator[None]:
    """These parts are not started again once they are gone, until the end of the block."""
    deployment.held.update(parts)
    try:
        yield
    finally:
        deployment.held.difference_update(parts)


def test_a_rolling_restart_of_all_workers_under_load_loses_nothing(
    deployment: Deployment, client: httpx.Client, undisturbed: dict[str, str]
) -> None:
    jobs = [submitted(client) for _ in range(6)]
    deployment.ended.clear()
    for part in ("one", "two"):
        until("a job in hand", lambda: any(at_step(client, job, 20) for job in jobs))
        old = deployment.parts[part]
        old.terminate()
        until("its end", lambda old=old: old.poll() is not None)  # type: ignore[misc]
        until("a new one", lambda: deployment.ready() and len(deployment.children()) >= 2)
    found = [ended(client, job) for job in jobs]
    assert [job["status"] for job in found] == ["succeeded"] * 6
    assert all(files(job) == undisturbed for job in found)
    assert sorted(deployment.ended) == [("one", 0), ("two", 0)]
    assert max(job["attempt"] for job in found) > 1  # one was handed back, not waited for
    with deployment.redis() as redis:
        assert {JobStore(redis).get(job).losses for job in jobs} == {0}


def test_a_worker_that_wakes_up_after_its_lease_commits_nothing_and_works_on(
    deployment: Deployment, client: httpx.Client, undisturbed: dict[str, str]
) -> None:
    with held(deployment, "two"):
        deployment.parts["two"].kill()
        (sleeper,) = children_of(deployment, "one")
        until("only one", lambda: deployment.children() == [sleeper], 90)
        job = submitted(client)
        until("the middle of the job", lambda: at_step(client, job, 20))
        os.kill(sleeper, signal.SIGSTOP)
    try:
        done = ended(client, job)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert (done["status"], done["attempt"], files(done)) == ("succeeded", 2, undisturbed)
    with deployment.redis() as redis:
        before = JobStore(redis).get(job)
        time.sleep(LEASE_SECONDS)  # it goes on with its next step meanwhile
        assert JobStore(redis).get(job) == before
    folder = deployment.settings.data_dir / "artifacts" / job
    assert [path.name for path in folder.iterdir()] == ["2"]
    others = [submitted(client) for _ in range(4)]
    assert {ended(client, other)["status"] for other in others} == {"succeeded"}
    assert sleeper in deployment.children()


def test_a_job_runs_on_while_the_broker_is_away_and_callers_are_told_to_come_again(
    deployment: Deployment, client: httpx.Client, undisturbed: dict[str, str]
) -> None:
    job = submitted(client)
    until("the middle of the job", lambda: at_step(client, job, 10))
    with held(deployment, "broker"):
        os.kill(deployment.broker(), signal.SIGKILL)
        away = until("the outage", lambda: (a := client.get("/v1/jobs")).is_error and a)
        assert (away.status_code, away.json()["code"]) == (503, "unavailable")
        assert int(away.headers["Retry-After"]) > 0
        refused = client.post("/v1/style-aligned", json=JOB)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        time.sleep(2 * LEASE_SECONDS)
    until("the broker", deployment.ready)
    done = ended(client, job)
    assert (done["status"], done["attempt"], files(done)) == ("succeeded", 1, undisturbed)


def test_a_job_gets_over_a_broker_that_hangs(
    deployment: Deployment, client: httpx.Client, undisturbed: dict[str, str]
) -> None:
    job = submitted(client)
    until("the middle of the job", lambda: at_step(client, job, 10))
    os.kill(deployment.broker(), signal.SIGSTOP)
    try:
        away = client.get("/v1/jobs")
        assert (away.status_code, "Retry-After" in away.headers) == (503, True)
        time.sleep(2 * LEASE_SECONDS)
    finally:
        os.kill(deployment.broker(), signal.SIGCONT)
    done = ended(client, job)
    assert (done["status"], files(done)) == ("succeeded", undisturbed)


def test_a_broker_whose_clock_jumps_ahead_makes_no_job_fail(
    deployment: Deployment, client: httpx.Client, undisturbed: dict[str, str]
) -> None:
    """By its clock every lease is over at once."""
    job = submitted(client)
    until("the middle of the job", lambda: at_step(client, job, 10))
    with deployment.redis() as redis:
        redis.zincrby("attention-please:running", -3600, job)
    done = ended(client, job)
    assert (done["status"], files(done)) == ("succeeded", undisturbed)
