"""Is the process up, and can it take work?"""

from __future__ import annotations

import logging
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field
from redis.exceptions import RedisError

from core.contract.errors import Unavailable
from service.backends import Backends, WithBackends
from service.documentation import problem_response, problem_responses
from service.problems import NotReady, of_request, respond
from service.views import View

router = APIRouter(tags=["Health"])
_log = logging.getLogger(__name__)


class Health(View):
    """The process answers."""

    status: Literal["ok"] = Field(default="ok", description="Always this.")


class Readiness(View):
    """The service can take work."""

    status: Literal["ready"] = Field(default="ready", description="Always this.")
    checks: dict[str, str] = Field(description="`redis`, `worker` and `storage`, each `ok`.")


@router.get(
    "/healthz",
    operation_id="getHealth",
    summary="Is the process up?",
    response_description="It is.",
    responses=problem_responses(),
)
async def healthz() -> Health:
    """Always 200 while the process runs, whatever else is down."""
    return Health()


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Can it take work?",
    response_model=Readiness,
    response_description="It can.",
    responses=problem_responses() | {503: problem_response(503, NotReady)},
)
def readyz(request: Request, backends: WithBackends) -> JSONResponse:
    """200 when the broker answers, a worker is alive and files can be written; else 503."""
    checks = _broker_checks(backends) | {"storage": _storage_check(backends)}
    faults = [f"{name}: {found}" for name, found in checks.items() if found != "ok"]
    if not faults:
        return JSONResponse(Readiness(checks=checks).model_dump())
    problem = of_request(Unavailable(" ".join(faults)), request)
    return respond(NotReady(**dict(problem), checks=checks))


def _broker_checks(backends: Backends) -> dict[str, str]:
    try:
        backends.redis.ping()
        workers = backends.workers()
    except RedisError as error:
        _log.warning("not ready: %s", error)
        return {"redis": "It does not answer.", "worker": "Unknown while redis is away."}
    return {"redis": "ok", "worker": "ok" if workers else f"None is alive in {_named(backends)}."}


def _named(backends: Backends) -> str:
    pools = backends.pools()
    return f"pool {pools[0]!r}" if len(pools) == 1 else f"any of the pools {', '.join(pools)}"


def _storage_check(backends: Backends) -> str:
    try:
        backends.places.artifacts.check()
    except OSError as error:
        _log.warning("not ready: %s", error)
        return "Files can't be written."
    return "ok"
