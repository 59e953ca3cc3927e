"""How much one key may ask for: of the line, and in a minute."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis

from core.contract.jobs import Job
from core.contract.settings import Settings
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.workers import WorkerInfo, announce
from tests.conftest import running_service
from tests.integration.test_http_keys import ALICE, BOB, api_key

PATH = "/v1/style-aligned"
BODY = {"prompts": ["a cat"]}


@contextmanager
def service(settings: Settings, **changed: Any) -> Iterator[httpx.Client]:
    with (
        running_service(settings.model_copy(update=changed)) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


def test_a_key_whose_jobs_fill_its_share_of_the_line_is_told_so_and_others_are_not(
    settings: Settings, store: JobStore
) -> None:
    keys = (api_key("alice", "alice's key", max_queued=2), api_key("bob", "bob-ключ"))
    with service(settings, api_keys=keys) as client:
        jobs = [client.post(PATH, json=BODY, headers=ALICE).json()["id"] for _ in range(2)]
        full = client.post(PATH, json=BODY, headers=ALICE)
        assert (full.status_code, full.json()["code"]) == (429, "queue-full")
        assert full.json()["retryable"] is True
        assert int(full.headers["retry-after"]) > 0
        assert client.post(PATH, json=BODY, headers=BOB).status_code == 202
        assert store.claim(jobs[0], 30)
        assert client.post(PATH, json=BODY, headers=ALICE).status_code == 202


def test_a_full_line_is_503_and_tells_when_to_try_again(settings: Settings) -> None:
    with service(settings, max_queued=1) as client:
        assert client.post(PATH, json=BODY).status_code == 202
        full = client.post(PATH, json=BODY)
    assert (full.status_code, full.json()["code"]) == (503, "busy")
    assert int(full.headers["retry-after"]) > 0


def test_every_answer_of_a_limited_route_tells_what_is_left(settings: Settings) -> None:
    keys = (api_key("alice", "alice's key", submissions_per_minute=3), api_key("bob", "bob-ключ"))
    with service(settings, api_keys=keys) as client:
        answers = [
            client.post(PATH, json=BODY, headers=ALICE),
            client.post(PATH, json={"prompts": []}, headers=ALICE),
            client.post("/v1/images", files={"file": b"no picture"}, headers=ALICE),
            client.post(PATH, json=BODY, headers=ALICE),
        ]
        others = client.post(PATH, json=BODY, headers=BOB)
        looked = client.get("/v1/jobs", headers=ALICE)
    assert [answer.status_code for answer in answers] == [202, 422, 422, 429]
    assert others.status_code == 202
    assert others.headers["ratelimit-policy"] == '"submissions";q=600;w=60'
    assert "ratelimit" not in looked.headers
    for left, answer in zip((2, 1, 0, 0), answers, strict=True):
        assert answer.headers["ratelimit-policy"] == '"submissions";q=3;w=60'
        found = re.fullmatch(r'"submissions";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
        assert found
        assert int(found[1]) == left
        assert 0 < int(found[2]) <= 60
    assert answers[-1].json()["code"] == "rate-limited"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


def test_the_wait_is_estimated_from_the_last_runs(
    settings: Settings,
    client: httpx.Client,
    queue: JobQueue,
    announced: None,
    new_job: Callable[..., Job],
    store: JobStore,
) -> None:
    queue.learn(12.0)
    running = new_job()
    store.create(running)
    store.claim(running.id, 30)
    waits = [client.post(PATH, json=BODY).json()["queue"] for _ in range(2)]
    assert waits == [
        {"position": 1, "estimated_wait_seconds": 6.0},
        {"position": 2, "estimated_wait_seconds": 18.0},
    ]


@pytest.fixture
def announced(store: JobStore, settings: Settings) -> None:
    """One worker is alive."""
    info = WorkerInfo(
        name="worker-1",
        pool=settings.pool,
        device="cpu",
        warm_models=(),
        since=datetime.now(UTC),
    )
    announce(store.redis, info, ttl_seconds=60)


def test_pictures_that_no_worker_has_the_memory_for_are_refused_with_a_size_that_fits(
    client: httpx.Client, redis: Redis, settings: Settings
) -> None:
    Needs(redis).learn("tiny-world", "StyleAlignedRequest", 64 * 64, 2, 4_000)
    body = BODY | {"prompts": ["a cat", "a house"]}
    large = body | {"sampling": {"width": 256, "height": 128}}
    assert client.post(PATH, json=large).status_code == 202  # no worker says what it has
    for name, room in (("small", 1_000), ("big", 10_000)):
        info = WorkerInfo(
            name=name,
            pool=settings.pool,
            device="cuda:0",
            warm_models=("tiny-world",),
            since=datetime.now(UTC),
            room_bytes=room,
        )
        announce(redis, info, ttl_seconds=30)
    refused = client.post(PATH, json=large)
    assert (refused.status_code, refused.json()["code"]) == (422, "too-large")
    assert refused.json()["retryable"] is False
    width, height = map(int, re.findall(r"(\d+) x (\d+) does", refused.json()["detail"])[0])
    assert (width, height) == (144, 64)
    fitting = body | {"sampling": {"width": width, "height": height}}
    assert client.post(PATH, json=fitting).status_code == 202
    assert client.post(PATH, json=body).status_code == 202
