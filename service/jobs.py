"""Look at a job, and cancel it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError

from core.contract.errors import NotFound
from core.contract.jobs import Job
from service.auth import Caller
from service.backends import Backends, WithBackends
from service.conditional import matches
from service.documentation import (
    ETAG,
    NOT_MODIFIED,
    RETRY_AFTER,
    IfNoneMatch,
    JobId,
    problem_responses,
    with_headers,
)
from service.views import JobView, QueueView, job_view

POLL_AFTER_SECONDS = 1

router = APIRouter(tags=["Jobs"])


def owned_job(backends: Backends, job_id: str, owner: str) -> Job:
    """The job, if it is `owner`'s. Raises NotFound, also for another's."""
    job = backends.jobs.get(job_id)
    if job.owner != owner:
        raise NotFound(f"There is no job {job_id}.")
    return job


def job_response(
    request: Request,
    backends: Backends,
    job: Job,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The job as an answer: with its ETag, and while it goes on with when to ask again."""
    queue = _queue_view(backends, job) if job.status == "queued" else None
    shown = {"ETag": _etag(job, queue), "Cache-Control": "private, no-cache"}
    if not job.is_final:
        shown["Retry-After"] = str(POLL_AFTER_SECONDS)
    shown |= headers or {}
    if request.method == "GET" and matches(request.headers.get("if-none-match"), shown["ETag"]):
        return Response(status_code=304, headers=shown)
    view = job_view(job, queue, str(request.base_url).rstrip("/"), backends.secret)
    return JSONResponse(view.model_dump(mode="json"), status, headers=shown)


def _queue_view(backends: Backends, job: Job) -> QueueView:
    try:
        queue = backends.queue(job.pool)
        position = queue.position(job.id)
        wait = None if position is None else queue.load().wait_seconds(position)
    except RedisError:
        # The job is known, and who has just submitted it must learn its id.
        position = wait = None
    return QueueView(position=position, estimated_wait_seconds=wait)


def _etag(job: Job, queue: QueueView | None) -> str:
    # Others' jobs move this one forward without touching its record.
    place = "" if queue is None else f"-{queue.position}"
    return f'W/"{job.revision}{place}"'


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="getJob",
    summary="Look at a job",
    response_model=JobView,
    response_description="The job as it is now.",
    responses=with_headers(200, ETAG | RETRY_AFTER)
    | NOT_MODIFIED
    | problem_responses(401, 404, 503),
)
def get_job(
    job_id: JobId,
    request: Request,
    backends: WithBackends,
    caller: Caller,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One resource tells all: status, progress, and once it succeeded where the pictures are."""
    return job_response(request, backends, owned_job(backends, job_id, caller))


@router.post(
    "/v1/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    status_code=202,
    response_model=JobView,
    response_description="The job: canceled, or running and about to be.",
    responses=with_headers(202, ETAG | RETRY_AFTER) | problem_responses(401, 404, 409, 503),
)
def cancel_job(job_id: JobId, request: Request, backends: WithBackends, caller: Caller) -> Response:
    """A queued job ends at once, a running one within a step. Asking twice does no harm."""
    owned_job(backends, job_id, caller)
    return job_response(request, backends, backends.jobs.request_cancel(job_id), 202)
