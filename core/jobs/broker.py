"""Connections to the broker.

Where it is, is a URL: `redis://`, `rediss://` (TLS) or `unix://`, with a user and a password where
access lists want them, and options of redis-py behind a question mark (`?ssl_ca_certs=/ca.pem`).
Behind Sentinels it is whichever node they call the master, and the URL names them and the group:

    redis+sentinel://user:password@one:26379,two:26379,three:26379/mymaster/0
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

_SENTINEL_PORT = 26379
_OF_SENTINELS = "sentinel_"
"""How options begin that are for the Sentinels themselves, such as `sentinel_password`."""


def connect(url: str) -> Redis:
    """A client that says within seconds when the broker does not answer.

    Waiting is the caller's to decide. The one retry is for a pooled connection that a
    broker's restart has closed. Raises ValueError for a URL of no known kind.
    """
    retry = Retry(NoBackoff(), retries=1)
    return _client(url, socket_connect_timeout=1, socket_timeout=2, retry=retry)


def connect_to_block(url: str) -> Redis:
    """A client for commands that wait for something to come, such as a worker's.

    How long an answer may take is up to who waits (RQ sets it). That the broker is gone without a
    word, as behind a cable that was pulled, is noticed by probes within about 10 seconds. Raises
    ValueError for a URL of no known kind.
    """
    probes = {} if url.startswith("unix:") else _probes()
    return _client(url, socket_connect_timeout=1, socket_timeout=None, **probes)


def _client(url: str, **options: Any) -> Redis:
    parts = urlsplit(url)
    scheme, _, through = parts.scheme.partition("+")
    if through != "sentinel":
        return Redis.from_url(url, **options)
    who, _, hosts = parts.netloc.rpartition("@")
    group, _, database = parts.path.strip("/").partition("/")
    if not hosts or not group:
        raise ValueError("a URL of Sentinels is redis+sentinel://host:port,…/group/database")
    # All that is not of Sentinels is read as of any other URL.
    rest = f"{scheme}://{who and who + '@'}master/{database or 0}?{parts.query}"
    given: dict[str, Any] = parse_url(rest)  # type: ignore[no-untyped-call]
    del given["host"]
    own = {
        name.removeprefix(_OF_SENTINELS): given.pop(name)
        for name in list(given)
        if name.startswith(_OF_SENTINELS)
    }
    if given.pop("connection_class", None) is not None:
        given["ssl"] = own["ssl"] = True
        own |= {name: value for name, value in given.items() if name.startswith("ssl_")}
    # Without redis-py's 10 retries, which one that is away would cost whenever we look.
    own |= {"socket_connect_timeout": 1, "socket_timeout": 2, "retry": Retry(NoBackoff(), 0)}
    addresses = [_address(host) for host in hosts.split(",")]
    sentinels = Sentinel(addresses, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
    client: Redis = sentinels.master_for(group, **options | given)  # type: ignore[no-untyped-call]
    return client


def _address(host: str) -> tuple[str, int]:
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon else (host, _SENTINEL_PORT)


def _probes() -> dict[str, Any]:
    """Three of them, 2 seconds apart, once nothing has come for 4; as far as the system has it."""
    wanted = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
    options = {getattr(socket, name): n for name, n in wanted.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}
