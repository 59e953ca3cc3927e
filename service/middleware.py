"""Around every request: its id, its line in the log, and no traceback in its answer."""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextvars import ContextVar
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import internal_error

_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_log = logging.getLogger(__name__)
_request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Gives each log record the id of the request it was written for."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _request_id.get()
        return True


class RequestContext:
    """ASGI middleware: names the request, logs it, and answers what nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"req_{secrets.token_hex(8)}"
        _request_id.set(request_id)
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

        # A HEAD is a GET whose body the server holds back; routes need not know.
        method, path = scope["method"], quote(scope["path"])
        inner: Scope = {**scope, "method": "GET" if method == "HEAD" else method}
        inner["state"] = dict(scope.get("state", {}), request_id=request_id, headers={})
        try:
            await self.app(inner, receive, send_named)
        except ClientDisconnect:
            pass
        except Exception:
            _log.exception("%s %s failed", method, path)
            if status is None:
                await internal_error(Request(inner))(inner, receive, send_named)
        # The query stays out of the log: it can hold a signature.
        milliseconds = (time.perf_counter() - started) * 1000
        _log.info("%s %s -> %s in %.0f ms", method, path, status, milliseconds)


def _given_id(scope: Scope) -> str | None:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SAFE_ID.fullmatch(given) else None
