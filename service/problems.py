"""Errors as HTTP shows them: problem details (RFC 9457), each with a stable code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from redis import exceptions as of_redis
from starlette.exceptions import HTTPException
from starlette.routing import Match

from core.contract.errors import (
    INTERNAL_ERROR,
    AttentionPleaseError,
    FieldError,
    InvalidRequest,
    JobError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"

STATUSES = {
    INTERNAL_ERROR: 500,
    "invalid-request": 422,
    "malformed-json": 400,
    "idempotency-mismatch": 422,
    "invalid-image": 422,
    "unauthorized": 401,
    "not-found": 404,
    "conflict": 409,
    "gone": 410,
    "unavailable": 503,
    "busy": 503,
    "too-large": 422,
    "queue-full": 429,
    "rate-limited": 429,
    "job-failed": 500,
    "canceled": 409,
    "deadline-exceeded": 504,
    "out-of-memory": 507,
    "numerics": 500,
    "model-unavailable": 503,
    "storage-unavailable": 503,
    "image-unreachable": 502,
    "worker-lost": 503,
    "attempt-superseded": 409,
}

# What goes wrong before the domain is reached: status to code, title and a default detail.
_PROTOCOL = {
    400: ("malformed-body", "The body can't be read", "Send what `Content-Type` says it is."),
    403: ("forbidden", "This is not allowed", "This is not allowed."),
    404: ("not-found", "There is no such thing", "There is nothing at this address."),
    405: ("method-not-allowed", "The method does not fit", "Use a method named in `Allow`."),
    413: ("body-too-large", "The body is too large", "The body is too large."),
    415: ("unsupported-media-type", "The body is not JSON", "Send application/json."),
    416: ("range-not-satisfiable", "The range is beyond the end", "Ask for an earlier range."),
}

# What each answer with one of these statuses has to say beside the problem.
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}

_BROKER_IS_AWAY = (
    of_redis.ConnectionError,
    of_redis.TimeoutError,
    of_redis.ClusterDownError,
    of_redis.NoPermissionError,
    of_redis.OutOfMemoryError,
    of_redis.ReadOnlyError,
)
_log = logging.getLogger(__name__)


def _absent(value: object) -> bool:
    return value is None


class Problem(BaseModel):
    """What went wrong, for a program (`code`) and for a person (`detail`)."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:attention-please:problem:invalid-request",
                    "title": "The request is not valid",
                    "status": 422,
                    "detail": "/prompts: Expected a list of 1 to 256 items, not 0.",
                    "instance": "/v1/style-aligned",
                    "code": "invalid-request",
                    "retryable": False,
                    "request_id": "req_5f0c1a2b3d4e5f60",
                    "errors": [
                        {
                            "pointer": "/prompts",
                            "detail": "Expected a list of 1 to 256 items, not 0.",
                        }
                    ],
                }
            ]
        },
    )

    type: str = Field(description="`urn:attention-please:problem:` and the code.")
    title: str = Field(description="The same for each problem with this code.")
    status: int = Field(description="The HTTP status that goes with the code.")
    detail: str = Field(description="What happened here, and what would mend it.")
    instance: str = Field(description="Path of the request, or of the job, that it is about.")
    code: str = Field(
        description="Stable; meant to be compared by programs. More may come.",
        json_schema_extra={
            "x-extensible-enum": [
                *sorted({*STATUSES, *(code for code, _, _ in _PROTOCOL.values())})
            ]
        },
    )
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str | None = Field(
        default=None, exclude_if=_absent, description="Names this request in the service's log."
    )
    errors: tuple[FieldError, ...] | None = Field(
        default=None, exclude_if=_absent, description="The fields at fault, in a 422."
    )


class NotReady(Problem):
    """The problem of a service that can't take work."""

    checks: dict[str, str] = Field(
        description="`redis`, `worker` and `storage`: `ok`, or what is wrong."
    )


def of_job(error: JobError, instance: str) -> Problem:
    """The problem that ended a job."""
    return Problem(
        type=_type(error.code),
        title=_TITLES.get(error.code, AttentionPleaseError.title),
        status=STATUSES.get(error.code, 500),
        detail=error.detail,
        instance=instance,
        code=error.code,
        retryable=error.retryable,
    )


def of_request(error: AttentionPleaseError, request: Request) -> Problem:
    """The problem that `request` met."""
    return Problem(
        type=_type(error.code),
        title=error.title,
        status=STATUSES[error.code],
        detail=error.detail,
        instance=_instance(request),
        code=error.code,
        retryable=error.retryable,
        request_id=request.state.request_id,
        errors=(error.errors or None) if isinstance(error, InvalidRequest) else None,
    )


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that tells of `problem`."""
    return JSONResponse(
        problem.model_dump(mode="json"),
        problem.status,
        headers=_HEADERS.get(problem.status, {}) | dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def internal_error(request: Request) -> JSONResponse:
    """The answer to what was not foreseen: nothing of it but that it happened."""
    return respond(of_request(AttentionPleaseError("The failure has been logged."), request))


def install(app: FastAPI) -> None:
    """Answer every failure of `app` as a problem."""
    app.add_exception_handler(AttentionPleaseError, _domain_error)
    app.add_exception_handler(HTTPException, _protocol_error)
    app.add_exception_handler(RequestValidationError, _parameter_error)
    app.add_exception_handler(of_redis.RedisError, _broker_error)
    app.add_exception_handler(OSError, _storage_error)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AttentionPleaseError)
    after = error.retry_after_seconds
    headers = {} if after is None else {"Retry-After": str(after)}
    return respond(of_request(error, request), headers)


async def _protocol_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code not in _PROTOCOL:
        _log.error("unexpected HTTP error %s: %s", error.status_code, error.detail)
        return internal_error(request)
    code, title, detail = _PROTOCOL[error.status_code]
    problem = Problem(
        type=_type(code),
        title=title,
        status=error.status_code,
        # Of these the framework says only the status again, or names its own parts.
        detail=detail if error.status_code in (400, 404, 405) else error.detail,
        instance=_instance(request),
        code=code,
        retryable=False,
        request_id=request.state.request_id,
    )
    # The framework names the methods of one route, where several share a path.
    allowed = {"Allow": ", ".join(_methods_at(request))} if error.status_code == 405 else {}
    return respond(problem, dict(error.headers or {}) | allowed)


def _methods_at(request: Request) -> list[str]:
    """The methods that the path of `request` knows."""
    app: FastAPI = request.app

    def is_known(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    known = [method for method in ("GET", "POST", "DELETE") if is_known(method)]
    return ["HEAD", *known] if "GET" in known else known


async def _parameter_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(fault["loc"][-1]) for fault in error.errors()}))
    invalid = InvalidRequest(f"These parameters are not valid: {names}.")
    return respond(of_request(invalid, request))


async def _broker_error(request: Request, error: Exception) -> JSONResponse:
    if not broker_is_away(error):
        raise error  # a command or a script of ours is wrong
    _log.warning("the broker does not answer: %s", error)
    return respond(of_request(Unavailable("The job queue does not answer. Try again."), request))


def broker_is_away(error: Exception) -> bool:
    """Whether the broker does not answer, or refuses for a reason of its own, such as a full disk.

    Where redis-py has no class for a reason, the answer begins with Redis's word for it, such as
    NOREPLICAS or MISCONF; that of wrong commands, ERR, is cut off by redis-py.
    """
    if type(error) is not of_redis.ResponseError:
        return isinstance(error, _BROKER_IS_AWAY)
    answer = str(error).rpartition("caused error: ")[2]  # as a pipeline tells it
    word = answer.partition(" ")[0]
    return word.isalpha() and word.isupper() and word != "WRONGTYPE"


async def _storage_error(request: Request, error: Exception) -> JSONResponse:
    _log.error("the storage failed", exc_info=error)
    return respond(of_request(Unavailable("The storage does not answer. Try again."), request))


def _type(code: str) -> str:
    return f"urn:attention-please:problem:{code}"


def _instance(request: Request) -> str:
    return quote(request.scope["path"])


def _all_errors(base: type[AttentionPleaseError]) -> Iterator[type[AttentionPleaseError]]:
    yield base
    for derived in base.__subclasses__():
        yield from _all_errors(derived)


_TITLES = {error.code: error.title for error in _all_errors(AttentionPleaseError)}
