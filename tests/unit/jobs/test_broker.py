"""Connections to the broker, of all kinds of URLs."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from redis import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, ConnectionError

from core.jobs.broker import connect, connect_to_block


@pytest.fixture
def acl_url(redis: Redis, redis_url: str) -> Iterator[str]:
    """The broker, by a user with a password."""
    redis.acl_setuser(
        "fleet", enabled=True, passwords=["+p@ss/word"], keys=["*"], commands=["+@all"]
    )
    yield redis_url.replace("redis://", "redis://fleet:p%40ss%2Fword@")
    redis.acl_deluser("fleet")


def test_a_user_and_a_password_can_be_in_the_url(acl_url: str) -> None:
    for open_client in (connect, connect_to_block):
        with open_client(acl_url) as client:
            assert client.acl_whoami() == "fleet"
        wrong = acl_url.replace("p%40", "q%40")
        with open_client(wrong) as client, pytest.raises(AuthenticationError):
            client.ping()


@pytest.fixture
def tls_port(redis_url: str, tmp_path: Path) -> Iterator[int]:
    """The broker behind TLS, with a certificate for `localhost` by the authority in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    broker_port = int(redis_url.rpartition(":")[2].partition("/")[0])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", broker_port)
        await asyncio.gather(copy(reader, asks), copy(answers, writer))

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    server.close()
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()


def test_rediss_is_tls_which_checks_the_broker_s_certificate(tls_port: int, tmp_path: Path) -> None:
    url = f"rediss://localhost:{tls_port}/0"
    for open_client in (connect, connect_to_block):
        with open_client(f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}") as client:
            assert client.ping()
        with open_client(url) as client, pytest.raises(ConnectionError, match="CERTIFICATE"):
            client.ping()


def test_a_socket_of_this_machine_will_do() -> None:
    for open_client in (connect, connect_to_block):
        connection = open_client("unix:///run/broker.sock?db=1").connection_pool.make_connection()
        assert isinstance(connection, UnixDomainSocketConnection)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_who_waits_for_the_broker_notices_within_seconds_that_it_has_fallen_silent(
    redis_url: str,
) -> None:
    with connect_to_block(redis_url) as client:
        connection = client.connection_pool.get_connection()
        option = connection._get_socket().getsockopt
        probes = option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + 3 * option(
            socket.IPPROTO_TCP, socket.TCP_KEEPINTVL
        )
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert probes <= 10
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 10_000
        assert connection.socket_timeout is None, "RQ says how long an answer may take"
