"""Connections to the broker."""

from __future__ import annotations

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
