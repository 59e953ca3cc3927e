"""A job's events as they happen (server-sent events), derived from its record."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from redis.exceptions import RedisError
from sse_starlette import EventSourceResponse, ServerSentEvent

from core.contract.artifacts import PREVIEW
from core.contract.errors import NotFound
from core.contract.jobs import Artifact, Job
from core.jobs.changes import Glimpse, glimpse
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import JobId, Responses, problem_responses
from service.jobs import owned_job
from service.problems import of_job
from service.views import artifact_view, job_path

_COMMENT_EVERY_SECONDS = 15
_ID = re.compile(
    r"(\d{1,9})-(\d{1,9})-(queued|running|succeeded|failed|canceled|done)-(\d{1,9})-(\d{1,9})"
)

router = APIRouter(tags=["Jobs"])


@dataclass(frozen=True)
class Told:
    """What a stream has told so far. As the id of an event it is where a next stream goes on."""

    revision: int = 0
    attempt: int = 0
    status: str = ""
    files: int = 0
    preview: int = 0

    def __str__(self) -> str:
        return f"{self.revision}-{self.attempt}-{self.status}-{self.files}-{self.preview}"

    @classmethod
    def read(cls, event_id: str | None) -> Told:
        """From the id of an event. One that can't be read begins anew, which loses nothing."""
        found = _ID.fullmatch(event_id or "")
        if found is None:
            return cls()
        return cls(int(found[1]), int(found[2]), found[3], int(found[4]), int(found[5]))


Event = tuple[str, dict[str, Any], Told]


def news(
    now: Glimpse,
    told: Told,
    file_view: Callable[[Artifact], dict[str, Any]],
    preview_view: Callable[[int], dict[str, Any] | None],
    path: str,
) -> Iterator[Event]:
    """What to tell of a job to who knows `told`: each event with what is told after it.

    Only the last one of a glimpse moves the revision, so a stream that breaks in the middle
    goes on there.
    """
    if (now.status, now.attempt) != (told.status, told.attempt):
        begun = now.attempt != told.attempt
        preview = 0 if begun else told.preview
        told = replace(told, status=now.status, attempt=now.attempt, preview=preview)
        yield "status", {"status": now.status, "attempt": now.attempt}, told
    for file in now.files:
        told = replace(told, files=told.files + 1)
        yield "artifact", file_view(file), told
    if now.preview != told.preview and (shown := preview_view(now.attempt)):
        told = replace(told, preview=now.preview)
        yield "preview", shown, told
    if now.progress is not None and now.revision != told.revision:
        told = replace(told, revision=now.revision)
        yield "progress", now.progress.model_dump(mode="json"), told
    if now.is_final:
        error = None if now.error is None else of_job(now.error, path).model_dump(mode="json")
        told = replace(told, revision=now.revision, status="done")
        yield "done", {"status": now.status, "error": error}, told


_STREAM = (
    "`status` (`{status, attempt}`), `progress` (as in the job), `preview` (`{image}`, a small "
    "picture as a data URI, where the request asks for `previews`), `artifact` (as in the job, "
    "with its `url`) and, last, `done` (`{status, error}`). Every event has an `id`; a comment "
    f"every {_COMMENT_EVERY_SECONDS} seconds keeps proxies awake."
)
_SUCCESSES: Responses = {
    200: {
        "description": _STREAM,
        "content": {
            "text/event-stream": {
                "schema": {
                    "description": "One event.",
                    "type": "object",
                    "required": ["event", "id", "data"],
                    "properties": {
                        "event": {"enum": ["status", "progress", "preview", "artifact", "done"]},
                        "id": {"type": "string", "description": "For `Last-Event-ID`."},
                        "data": {"type": "string", "description": "A JSON object."},
                    },
                }
            }
        },
    },
    204: {"description": "`Last-Event-ID` is that of `done`: there is nothing more to come."},
}


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="streamJobEvents",
    summary="Follow a job",
    response_class=Response,
    responses=_SUCCESSES | problem_responses(401, 404, 503),
)
def stream_job_events(
    job_id: JobId,
    request: Request,
    backends: WithBackends,
    caller: Caller,
    last_event_id: Annotated[
        str | None,
        Header(description="`id` of the last event received: the stream goes on after it."),
    ] = None,
) -> Response:
    """Server-sent events: first how the job is now, then each change, and an end after `done`.

    A state that passes between two looks, four a second, is not told; no file is left out.
    """
    job, told = owned_job(backends, job_id, caller), Told.read(last_event_id)
    if job.is_final and told.status == "done":
        return Response(status_code=204)  # for which an EventSource ends its reconnecting
    return EventSourceResponse(_events(request, job, told), ping=_COMMENT_EVERY_SECONDS)


async def _events(request: Request, job: Job, told: Told) -> AsyncIterator[ServerSentEvent]:
    state = request.app.state
    base_url, path = str(request.base_url).rstrip("/"), job_path(job.id)

    def shown(file: Artifact) -> dict[str, Any]:
        view = artifact_view(job, file, base_url, state.backends.secret)
        return view.model_dump(mode="json")

    def preview(attempt: int) -> dict[str, Any] | None:
        try:
            data = state.backends.places.artifacts.read(job.id, attempt, PREVIEW)
        except OSError:  # the attempt has ended, and its preview is gone
            return None
        return {"image": f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"}

    def told_now(now: Glimpse, told: Told) -> list[Event]:
        return list(news(now, told, shown, preview, path))

    while True:
        try:
            now = await run_in_threadpool(glimpse, state.backends.redis, job.id, told.files)
        except NotFound:  # expired, or deleted
            return
        except RedisError:
            await asyncio.sleep(1)  # it comes back, with the record
            if state.is_stopping():
                return
            continue
        for name, data, after in await run_in_threadpool(told_now, now, told):
            yield ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name, id=str(after))
            told = after
        if now.is_final or state.is_stopping():
            return
        await state.watch.changed(job.id, now.revision)
