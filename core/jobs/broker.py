"""Connections to the broker.

Where it is, is a URL: `redis://`, `rediss://` (TLS) or `unix://`, with a user and a password where
access lists want them, and options of redis-py behind a question mark (`?ssl_ca_certs=/ca.pem`).
"""

from __future__ import annotations

import socket
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect(url: str) -> Redis:
    """A client that says within seconds when the broker does not answer.

    Waiting is the caller's to decide. The one retry is for a pooled connection that a
    broker's restart has closed.
    """
    return Redis.from_url(
        url, socket_connect_timeout=1, socket_timeout=2, retry=Retry(NoBackoff(), retries=1)
    )


def connect_to_block(url: str) -> Redis:
    """A client for commands that wait for something to come, such as a worker's.

    How long an answer may take is up to who waits (RQ sets it). That the broker is gone without a
    word, as behind a cable that was pulled, is noticed by probes within about 10 seconds.
    """
    probes = {} if url.startswith("unix:") else _probes()
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=None, **probes)


def _probes() -> dict[str, Any]:
    """Three of them, 2 seconds apart, once nothing has come for 4; as far as the system has it."""
    wanted = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
    options = {getattr(socket, name): n for name, n in wanted.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}
