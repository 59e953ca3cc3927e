"""Submit a job: one route a technique, made from the catalog."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError

from core.catalog import TECHNIQUES, Technique
from core.contract.errors import Gone, NotFound
from core.contract.jobs import Job, new_job_id
from core.jobs.idempotency import earlier, once
from core.jobs.store import Room
from core.outbound.links import admitting_links, check_webhook
from core.telemetry.traces import carried
from service.backends import Backends, WithBackends
from service.body import read_json
from service.documentation import ETAG, RETRY_AFTER, Responses, header, problem_responses
from service.jobs import job_response
from service.limits import RATE_LIMIT, Submitter
from service.room import check_room
from service.views import JobView, job_path
from service.wait import Wait, no_more_waiting, until_ended

router = APIRouter(tags=["Techniques"])
_log = logging.getLogger(__name__)


def submit_job(
    backends: Backends,
    technique: Technique,
    owner: str,
    body: bytes,
    key: str | None = None,
    request_id: str | None = None,
) -> tuple[Job, bool]:
    """Record the job that `body` asks for and hand it to the workers.

    With an idempotency key that was sent before: the job it has become then, and True.
    """
    submission = None if key is None else once(owner, key, technique.name, body)
    # Looked at before the body: what was accepted once is not judged again.
    if submission and (job_id := earlier(backends.redis, submission)):
        return _replayed(backends, job_id), True
    stored = admitting_links(backends.places.stored(owner), backends.settings)
    effective = technique.effective(body, backends.models, stored)
    check_webhook(effective, backends.settings)
    check_room(backends, effective)
    now = datetime.now(UTC)
    seconds = effective.deadline_seconds
    job = Job(
        id=new_job_id(),
        technique=technique.name,
        owner=owner,
        pool=backends.pool_of(effective.model),
        status="queued",
        revision=1,
        attempt=0,
        created_at=now,
        deadline_at=None if seconds is None else now + timedelta(seconds=seconds),
        request=effective.model_dump(mode="json"),
        request_id=request_id,
        trace=carried(),
    )
    most = backends.settings.limits_of(owner).max_queued
    room = Room(backends.settings.max_queued, most)
    recorded = backends.jobs.create(job, submission, room)
    if recorded != job.id:  # another request with the same key was quicker
        return _replayed(backends, recorded), True
    try:
        backends.queue(job.pool).call_worker()
    except RedisError as error:
        # It is recorded, so it will run: the reaper makes up for the call.
        _log.warning("%s is recorded, but no worker was called: %s", job.id, error)
    return job, False


def _replayed(backends: Backends, job_id: str) -> Job:
    try:
        return backends.jobs.get(job_id)
    except NotFound:
        raise Gone(
            "The job of this Idempotency-Key has expired or was deleted. "
            "To run it again, send a new key."
        ) from None


def _wanted_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Names this submission, for example a UUID. Sent again within 24 h with "
            "the same bytes, it answers with the same job instead of a second one.",
            min_length=1,
            max_length=255,
            examples=["5f0c1a2b-3d4e-4f60-8a9b-0c1d2e3f4a5b"],
        ),
    ] = None,
) -> str | None:
    return idempotency_key


IdempotencyKey = Annotated[str | None, Depends(_wanted_key)]


def _submit_route(technique: Technique) -> Callable[..., Awaitable[Response]]:
    async def submit(
        request: Request, backends: WithBackends, caller: Submitter, wait: Wait, key: IdempotencyKey
    ) -> Response:
        body = await read_json(request, backends.settings.max_body_bytes)
        request_id = request.state.request_id
        job, is_replay = await run_in_threadpool(
            submit_job, backends, technique, caller, body, key, request_id
        )
        headers = {"Location": job_path(job.id)}
        if is_replay:
            headers["Idempotent-Replayed"] = "true"
        if wait is not None:
            read = partial(backends.jobs.get, job.id)
            job = await until_ended(job, read, wait, partial(no_more_waiting, request))
            headers["Preference-Applied"] = f"wait={wait}"
        status = 200 if job.is_final else 202
        return await run_in_threadpool(job_response, request, backends, job, status, headers)

    return submit


_HEADERS = (
    ETAG
    | {"Location": header("Path of the job.")}
    | {"Preference-Applied": header("`wait=N`, where the answer was held for a wait.")}
    | {"Idempotent-Replayed": header("`true`, where the `Idempotency-Key` was sent before.")}
    | RATE_LIMIT
)
_SUCCESSES: Responses = {
    200: {
        "description": "The job, which ended within the wait, or before it was sent again.",
        "model": JobView,
        "headers": _HEADERS,
    },
    202: {"headers": _HEADERS | RETRY_AFTER},
}


def _request_body(technique: Technique) -> dict[str, Any]:
    """The body's place in the OpenAPI document.

    The body is read and validated here rather than by the framework, which would take "5"
    for 5 and name its own classes in what it says about the rest.
    """
    schema = {"$ref": f"#/components/schemas/{technique.request.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


for _technique in TECHNIQUES.values():
    router.add_api_route(
        f"/v1/{_technique.name}",
        _submit_route(_technique),
        methods=["POST"],
        operation_id="submit" + _technique.name.title().replace("-", ""),
        summary=_technique.title,
        description=(
            "Records a job and answers with it at once; `GET` its `Location` until it is final. "
            "With `Prefer: wait=N` the answer is held until the job has ended (200) or N "
            "seconds have passed (202). With an `Idempotency-Key` it can be sent again safely."
        ),
        status_code=202,
        response_model=JobView,
        response_description="The job, queued or running.",
        responses=_SUCCESSES | problem_responses(400, 401, 410, 413, 415, 422, 429, 503),
        openapi_extra={"requestBody": _request_body(_technique)},
    )
