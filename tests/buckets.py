"""Object storage on this machine: moto's S3, over real HTTP."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from core.contract.settings import Settings

BUCKET = "pictures"
SECRET = "secret-of-the-tests"

# No test uses a developer's own, or looks for some over the network.
os.environ["AWS_ACCESS_KEY_ID"] = "key-of-the-tests"
os.environ["AWS_SECRET_ACCESS_KEY"] = SECRET


@contextmanager
def bucket_server() -> Iterator[str]:
    """A server with an empty bucket. Gives its URL."""
    from moto.server import ThreadedMotoServer  # it takes its time, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        httpx.put(f"{url}/{BUCKET}").raise_for_status()
        yield url
    finally:
        server.stop()


def bucket_settings(endpoint: str, **values: Any) -> Settings:
    """Settings of a deployment of its own, whose files are below a new prefix."""
    return Settings(
        signing_secret="of the tests, and no longer than it must be",
        storage_url=f"s3://{BUCKET}/{secrets.token_hex(8)}",
        storage_endpoint=endpoint,
        **values,
    )


def closed_port() -> int:
    """A port of this machine where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
