"""A job's events as they come, over as many connections as that takes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from attention_please_client.errors import WaitTimeout
from attention_please_client.transport import Transport, path

_SILENCE_SECONDS = 45.0
"""Longer than the service is ever silent: it comments every 15 seconds."""
_MOST_VAIN = 3
_PAUSE_SECONDS = 0.25


@dataclass(frozen=True)
class Event:
    """`status`, `progress`, `preview`, `artifact` or `done`, as the OpenAPI document says."""

    kind: str
    id: str
    data: dict[str, Any]


def follow(transport: Transport, job_id: str, until: float = math.inf) -> Iterator[Event]:
    """Each event once, up to `done`. A stream that breaks is gone on with after its last event.

    Ends without `done` where several streams in a row told nothing. Raises WaitTimeout once
    `time.monotonic()` is past `until`: a few seconds later at most.
    """
    last, vain = "", 0
    while vain < _MOST_VAIN:
        vain += 1
        try:
            for event in _stream(transport, job_id, last, until):
                yield event
                last, vain = event.id, 0
                if event.kind == "done":
                    return
        except httpx.TransportError:
            pass  # broken off, or silent for too long
        _check(job_id, until)
        time.sleep(_PAUSE_SECONDS)


def _stream(transport: Transport, job_id: str, last: str, until: float) -> Iterator[Event]:
    """The events of one connection."""
    silence = max(0.1, min(_SILENCE_SECONDS, until - time.monotonic()))
    with transport.stream(
        "GET",
        path("jobs", job_id, "events"),
        is_followed=True,
        until=until,
        headers={"Last-Event-ID": last} if last else {},
        timeout=httpx.Timeout(transport.http.timeout.connect, read=silence),
    ) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            return
        for event in read_events(answer.iter_bytes()):
            _check(job_id, until)
            if event is not None:
                yield event
            elif until - time.monotonic() < silence:
                return  # to go on in a stream that is not waited for beyond the end


def read_events(chunks: Iterable[bytes]) -> Iterator[Event | None]:
    """The events in a stream's bytes; None for a comment, a sign of life."""
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        if line.startswith(":"):
            yield None
        elif line:
            name, _, value = line.partition(":")
            # Several lines of data are one text.
            before = f"{fields['data']}\n" if name == "data" and name in fields else ""
            fields[name] = before + value.removeprefix(" ")
        elif fields:
            yield Event(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # Not the HTTP library's: it takes U+2028 for an end of a line, which may be in a prompt.
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()


def _check(job_id: str, until: float) -> None:
    if time.monotonic() > until:
        raise WaitTimeout(f"{job_id} had not ended when the time was up.")
