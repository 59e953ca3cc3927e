"""Models, health and readiness."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import httpx
import pytest
from redis import Redis

from core.catalog import TECHNIQUES
from core.contract.settings import Settings
from core.jobs.workers import WorkerInfo, announce
from core.storage.artifacts import ArtifactStore
from tests.conftest import running_service


def worker(pool: str = "default") -> WorkerInfo:
    return WorkerInfo(
        name=f"worker-of-{pool}",
        pool=pool,
        device="cpu",
        warm_models=("tiny-world",),
        since=datetime.now(UTC),
    )


def test_the_page_for_people_comes_whole_from_the_service(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    named = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page.text)
    addresses = [one or other for one, other in named]
    assert len(addresses) == 4
    for address in addresses:
        assert "//" not in address, "it may be where nothing else can be reached"
        assert client.get(page.url.join(address)).status_code == 200


def test_models_tell_what_can_be_asked_and_where_they_are_warm(
    client: httpx.Client, redis: Redis
) -> None:
    announce(redis, worker(), 30)
    answer = client.get("/v1/models").json()
    assert answer["default"] == "tiny-world"
    (model,) = answer["models"]
    assert model["name"] == "tiny-world"
    assert model["family"] == "sd1"
    assert model["techniques"] == sorted(TECHNIQUES)
    assert model["controls"] == ["canny"]
    assert [adapter["name"] for adapter in model["adapters"]] == ["snail-lora", "snail-word"]
    assert model["width"] % model["grid"] == 0
    assert model["warm_workers"] == ["worker-of-default"]


def test_the_service_is_healthy_whatever_else_is_down(settings: Settings) -> None:
    deaf = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with running_service(deaf) as url:
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        ready = httpx.get(f"{url}/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["redis"] != "ok"
    assert ready.json()["checks"]["storage"] == "ok"


def test_it_is_ready_once_a_worker_of_its_pool_is_alive(client: httpx.Client, redis: Redis) -> None:
    announce(redis, worker("another"), 30)
    waiting = client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.headers["content-type"] == "application/problem+json"
    assert "worker" in waiting.json()["detail"]
    assert waiting.json()["checks"]["redis"] == "ok"
    announce(redis, worker(), 30)
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"redis": "ok", "worker": "ok", "storage": "ok"}


def test_it_is_not_ready_where_files_can_not_be_written(
    client: httpx.Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: ArtifactStore) -> None:
        raise OSError("No space left on /srv/data")

    announce(redis, worker(), 30)
    monkeypatch.setattr(ArtifactStore, "check", full)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["storage"] == "Files can't be written."
    assert "/srv" not in answer.text
