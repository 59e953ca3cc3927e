"""`attention-please healthy`, which a worker's container asks for its health."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis import Redis
from typer.testing import CliRunner

from cli.main import app
from core.jobs.workers import WorkerInfo, announce, new_name


@pytest.fixture
def broker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", redis_url)


def exit_code() -> int:
    return CliRunner().invoke(app, ["healthy"]).exit_code


def info(name: str, pool: str = "default") -> WorkerInfo:
    return WorkerInfo(name=name, pool=pool, device="cpu", warm_models=(), since=datetime.now(UTC))


@pytest.mark.usefixtures("broker")
def test_a_machine_is_healthy_while_a_worker_of_it_says_that_it_is_alive(redis: Redis) -> None:
    assert exit_code() == 1
    announce(redis, info(new_name()), 30)
    assert exit_code() == 0


@pytest.mark.usefixtures("broker")
def test_workers_of_other_machines_and_of_other_pools_do_not_count(redis: Redis) -> None:
    announce(redis, info("gpu-7-of-rack-2-12-1700000000"), 30)
    announce(redis, info(new_name(), pool="other"), 30)
    assert exit_code() == 1


def test_without_a_broker_nobody_knows_and_that_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", "redis://127.0.0.1:1/0")
    assert exit_code() == 1
