"""Connections to the broker, of all kinds of URLs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AuthenticationError

from core.jobs.broker import connect, connect_to_block


@pytest.fixture
def acl_url(redis: Redis, redis_url: str) -> Iterator[str]:
    """The broker, by a user with a password."""
    redis.execute_command("ACL", "SETUSER", "fleet", "on", ">p@ss/word", "~*", "&*", "+@all")
    yield redis_url.replace("redis://", "redis://fleet:p%40ss%2Fword@")
    redis.execute_command("ACL", "DELUSER", "fleet")


def test_a_user_and_a_password_can_be_in_the_url(acl_url: str) -> None:
    for open_client in (connect, connect_to_block):
        with open_client(acl_url) as client:
            assert client.execute_command("ACL", "WHOAMI") == b"fleet"
        wrong = acl_url.replace("p%40", "q%40")
        with open_client(wrong) as client, pytest.raises(AuthenticationError):
            client.ping()


def test_rediss_is_tls_which_checks_the_broker_s_certificate() -> None:
    for open_client in (connect, connect_to_block):
        pool = open_client("rediss://u:p@broker:6380/2?ssl_ca_certs=/ca.pem").connection_pool
        connection = pool.make_connection()
        assert isinstance(connection, SSLConnection)
        assert (connection.ca_certs, connection.db) == ("/ca.pem", 2)
        assert connection.cert_reqs.name == "CERT_REQUIRED"
        assert connection.check_hostname


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
