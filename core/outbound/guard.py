"""Connections to checked addresses only, each request within one time limit.

The guard is where a socket is opened. A name is looked up once, every address it has is
checked, and the connection goes to one of those very addresses: there is no second look-up
that could answer otherwise, and no request, redirected or not, goes another way. TLS then
verifies the certificate for the name. Nothing is read from the environment's proxy variables.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from core.outbound.addresses import Address
from core.outbound.rules import Refused, Rules

Resolve = Callable[[str, int], list[Address]]
"""All addresses of a host. Raises OSError."""

_AT_ONCE_BYTES = 16_384


class Unreachable(Exception):
    """No answer came, or none was allowed to."""

    def __init__(self, reason: str, *, is_transient: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_transient = is_transient


def resolved(host: str, port: int) -> list[Address]:
    """All addresses of `host`, as the system finds them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(address[0])) for *_, address in found]


@dataclass(frozen=True)
class Guard:
    """Makes requests within rules."""

    rules: Rules
    resolve: Resolve = resolved

    @contextmanager
    def opened(
        self,
        method: str,
        url: httpx.URL,
        headers: dict[str, str],
        until: float,
        content: bytes | None = None,
    ) -> Iterator[httpcore.Response]:
        """The answer to one request, its body not yet read. Redirects are the caller's.

        until: the moment (`time.monotonic`) at which all of it ends, from the look-up of the
        name to the last byte of the body. Raises Unreachable, also from reading the body.
        """
        backend = _CheckedBackend(self.rules, self.resolve, until)
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        named = [("Host", url.netloc.decode("ascii")), *headers.items()]
        with (
            _as_unreachable(),
            httpcore.ConnectionPool(httpx.create_ssl_context(), network_backend=backend) as pool,
            pool.stream(method, target, headers=named, content=content) as answer,
        ):
            yield answer


@contextmanager
def _as_unreachable() -> Iterator[None]:
    try:
        yield
    except Refused:
        raise Unreachable("no-public-address", is_transient=False) from None
    except httpcore.TimeoutException:
        raise Unreachable("timeout", is_transient=True) from None
    except (httpcore.NetworkError, httpcore.RemoteProtocolError) as error:
        is_tls = isinstance(error.__context__, ssl.SSLError)
        raise Unreachable("tls" if is_tls else "connection", is_transient=not is_tls) from None
    except httpcore.ProtocolError:
        raise Unreachable("protocol", is_transient=False) from None


class _CheckedBackend(httpcore.NetworkBackend):
    """Opens connections to addresses within rules, until a moment."""

    def __init__(self, rules: Rules, resolve: Resolve, until: float) -> None:
        self.rules, self.resolve, self.until = rules, resolve, until
        self.plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        # One address that is not allowed is reason enough to trust none of them.
        if not addresses or not all(map(self.rules.allow, addresses)):
            raise Refused(host)
        failure: Exception = httpcore.ConnectError()
        different = list(dict.fromkeys(addresses))
        for tried, address in enumerate(different):
            left = _left(self.until, httpcore.ConnectTimeout) / (len(different) - tried)
            try:
                stream = self.plain.connect_tcp(str(address), port, left, None, socket_options)
                return _TimedStream(stream, self.until)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[Address]:
        """Those of `host`, looked up in a thread: a look-up has no time limit of its own."""
        found: list[Address] = []
        failures: list[Exception] = []

        def look_up() -> None:
            try:
                found.extend(self.resolve(host, port))
            except (OSError, ValueError) as error:
                failures.append(error)

        thread = threading.Thread(target=look_up, name="look-up", daemon=True)
        thread.start()
        thread.join(_left(self.until, httpcore.ConnectTimeout))
        if thread.is_alive():
            raise httpcore.ConnectTimeout
        if failures and getattr(failures[0], "errno", None) == socket.EAI_AGAIN:
            raise httpcore.ConnectError
        return found  # none, where there is no such name: nobody learns the difference


class _TimedStream(httpcore.NetworkStream):
    """A connection that ends at a moment, however steadily its bytes drip."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self.stream, self.until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.stream.read(max_bytes, _left(self.until, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _AT_ONCE_BYTES):
            part = buffer[start : start + _AT_ONCE_BYTES]
            self.stream.write(part, _left(self.until, httpcore.WriteTimeout))

    def close(self) -> None:
        self.stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self.until, httpcore.ConnectTimeout)
        return _TimedStream(self.stream.start_tls(ssl_context, server_hostname, left), self.until)


def _left(until: float, late: type[httpcore.TimeoutException]) -> float:
    """Seconds until a moment. Raises `late` once it has passed."""
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise late
    return seconds
