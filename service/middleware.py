"""Around every request: its id, line in the log and count, and no traceback in its answer."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.telemetry.logs import about
from service.metrics import HttpMetrics
from service.problems import internal_error

_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_log = logging.getLogger(__name__)


class RequestContext:
    """ASGI middleware: names the request, tells of it, and answers what nobody foresaw."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"req_{secrets.token_hex(8)}"
        with about(request_id=request_id):
            await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()
        status: int | None = None

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.update(inner["state"]["headers"])
            await send(message)

        method, path = scope["method"], quote(scope["path"])
        inner: Scope = {**scope, "method": "GET" if method == "HEAD" else method}
        inner["state"] = dict(scope.get("state", {}), request_id=request_id, headers={})
        inner["state"]["method"] = method
        if method == "HEAD":
            receive, send = _without_body(receive, send)
        try:
            await self.app(inner, receive, send_named)
        except ClientDisconnect:
            pass
        except Exception:
            _log.exception("%s %s failed", method, path)
            if status is None:
                await internal_error(Request(inner))(inner, receive, send_named)
        seconds = time.perf_counter() - started
        route = getattr(inner.get("route"), "path", "none")
        self.metrics.count(method, route, status, seconds)
        # The query stays out of the log: it can hold a signature.
        about_it = {"method": method, "path": path, "status": status, "seconds": round(seconds, 4)}
        line = "%s %s -> %s in %.0f ms"
        _log.info(line, method, path, status, seconds * 1000, extra=about_it)


def _without_body(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """For a HEAD, which is a GET that is left once the body begins: routes need not know.

    Otherwise an answer without an end, such as a stream of events, would never be one.
    """
    left = asyncio.Event()

    async def receive_until_left() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send_without_body(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
        elif left.is_set():
            raise ClientDisconnect
        else:
            await send({"type": "http.response.body", "body": b""})
            left.set()

    return receive_until_left, send_without_body


def _given_id(scope: Scope) -> str | None:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SAFE_ID.fullmatch(given) else None
