"""Pictures by URL: their bytes, through the guard and within limits."""

from __future__ import annotations

import time
from dataclasses import dataclass

import httpcore
import httpx

from core.contract.errors import ImageUnreachable
from core.outbound.guard import Guard, Unreachable
from core.outbound.rules import Refused

_HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp",
    # A small compressed body could be a huge one; pictures are compressed anyway.
    "Accept-Encoding": "identity",
    "User-Agent": "attention-please",
}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 425, 429})
_REASONS = {
    "no-public-address": "it has no public address",
    "timeout": "it took too long",
    "tls": "its certificate is not valid for it",
    "connection": "no connection came about, or it broke",
    "protocol": "it does not speak HTTP",
}


@dataclass(frozen=True)
class Limits:
    """What one picture may cost."""

    size_bytes: int
    seconds: float = 30.0
    """From the first look-up to the last byte, redirects included."""
    redirects: int = 5


def fetch(guard: Guard, url: str, limits: Limits) -> bytes:
    """The body at `url`; whether it is a picture is for its reader to say.

    Raises ImageUnreachable, which names the host of `url` and nothing of what stands behind it.
    """
    try:
        first = guard.rules.checked(url)
    except Refused as error:
        raise ImageUnreachable(str(error)) from None
    try:
        return _followed(guard, first, limits)
    except Unreachable as error:
        detail = f"The picture at {first.host} could not be fetched: {_REASONS[error.reason]}."
        raise ImageUnreachable(detail, retryable=error.is_transient) from None


def _followed(guard: Guard, first: httpx.URL, limits: Limits) -> bytes:
    """The body where the redirects of a URL end."""
    until = time.monotonic() + limits.seconds
    url = first
    for _ in range(limits.redirects + 1):
        with guard.opened("GET", url, _HEADERS, until) as answer:
            headers = httpx.Headers(answer.headers)
            if answer.status not in _REDIRECTS or "location" not in headers:
                _check_answer(first.host, answer.status, headers)
                return _body(first.host, answer, headers, limits.size_bytes)
        try:
            url = guard.rules.checked(str(url.join(headers["location"])))
        except (httpx.InvalidURL, ValueError):
            # Not which URL: it need not be the caller's to learn.
            raise ImageUnreachable(
                f"{first.host} redirects to where no picture is fetched from."
            ) from None
    raise ImageUnreachable(f"{first.host} redirects more than {limits.redirects} times.")


def _check_answer(host: str, status: int, headers: httpx.Headers) -> None:
    if status != 200:
        is_transient = status >= 500 or status in _TRANSIENT
        raise ImageUnreachable(f"{host} answered with {status}.", retryable=is_transient)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ImageUnreachable(f"{host} sends the picture compressed, unasked.")


def _body(host: str, answer: httpcore.Response, headers: httpx.Headers, limit: int) -> bytes:
    too_large = ImageUnreachable(f"The picture at {host} has more than {limit} bytes.")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = bytearray()
    for chunk in answer.iter_stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)
