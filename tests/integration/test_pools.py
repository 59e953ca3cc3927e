"""Models whose jobs go to pools of their own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from redis import Redis

from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.workers import WorkerInfo, announce
from tests.conftest import running_service
from tests.tiny_models import models_file

PATH = "/v1/style-aligned"


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models file in which `large` is for the workers of `gpus`, and `tiny` for all others."""
    path = models_file(tmp_path_factory.mktemp("models"))
    text = path.read_text()
    table = text[text.index("[models.tiny]") :].replace("[models.tiny]", "[models.large]")
    path.write_text(f'{text}\n{table}pool = "gpus"\n')
    return path


@pytest.fixture
def client(settings: Settings, two_models: Path) -> Iterator[httpx.Client]:
    routed = settings.model_copy(update={"models_file": two_models})
    with running_service(routed) as url, httpx.Client(base_url=url) as client:
        yield client


def announced(redis: Redis, pool: str, model: str) -> None:
    info = WorkerInfo(
        name=f"worker-of-{pool}",
        pool=pool,
        device="cpu",
        warm_models=(model,),
        since=datetime.now(UTC),
    )
    announce(redis, info, ttl_seconds=30)


def test_a_job_goes_to_the_pool_of_its_model_and_waits_in_its_line(
    client: httpx.Client, redis: Redis, settings: Settings, store: JobStore
) -> None:
    announced(redis, "gpus", "large")
    lines = {"large": JobQueue(redis, "gpus"), "tiny": JobQueue(redis, settings.pool)}
    for line in lines.values():
        line.learn(10.0)
    jobs = {}
    for model in ("large", "tiny", "large"):
        body = {"prompts": ["a cat"], "model": model}
        jobs[model] = client.post(PATH, json=body).raise_for_status().json()
    assert {model: len(line.waiting()) for model, line in lines.items()} == {"large": 2, "tiny": 1}
    assert jobs["large"]["queue"] == {"position": 2, "estimated_wait_seconds": 5.0}
    assert jobs["tiny"]["queue"] == {"position": 1, "estimated_wait_seconds": None}
    assert {model: line.rq.count for model, line in lines.items()} == {"large": 2, "tiny": 1}
    running = lines["large"].next()
    assert running
    assert store.claim(running, 30)
    assert (lines["large"].load().busy, lines["tiny"].load().busy) == (1, 0)


def test_metrics_tell_of_every_pool(client: httpx.Client, redis: Redis, settings: Settings) -> None:
    announced(redis, "gpus", "large")
    client.post(PATH, json={"prompts": ["a cat"]}).raise_for_status()
    text = client.get("/metrics").text
    assert 'attention_workers{pool="gpus"} 1.0' in text
    assert f'attention_workers{{pool="{settings.pool}"}} 0.0' in text
    assert 'attention_jobs_waiting{pool="gpus"} 0.0' in text
    assert f'attention_jobs_waiting{{pool="{settings.pool}"}} 1.0' in text


def test_one_pool_with_a_worker_is_enough_to_take_work_and_is_where_its_models_are_warm(
    client: httpx.Client, redis: Redis
) -> None:
    away = client.get("/readyz")
    assert away.status_code == 503
    assert "pools default, gpus" in away.json()["checks"]["worker"]
    announced(redis, "elsewhere", "tiny")
    assert client.get("/readyz").status_code == 503
    announced(redis, "gpus", "large")
    assert client.get("/readyz").status_code == 200
    models = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert models["large"]["warm_workers"] == ["worker-of-gpus"]
    assert models["tiny"]["warm_workers"] == []


def test_a_worker_warms_the_models_of_its_pool(two_models: Path) -> None:
    catalog = load_catalog(two_models)
    assert catalog.of_pool("gpus") == ["large"]
    assert catalog.of_pool("default") == ["tiny"]
