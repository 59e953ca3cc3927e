"""A caller's jobs, newest first, and an end to one of them."""

from __future__ import annotations

import base64
import re
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from core.catalog import TECHNIQUES
from core.contract.errors import InvalidRequest
from core.contract.jobs import JobStatus
from core.jobs.listing import Filter, page_of
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import JobId, problem_responses
from service.jobs import owned_job
from service.views import JobSummary, View, job_summary

_ENTRY = re.compile(r"\d{17}:job_[0-9a-f]{32}")

router = APIRouter(tags=["Jobs"])


class JobList(View):
    """A page of the caller's jobs."""

    jobs: tuple[JobSummary, ...] = Field(description="The newest first.")
    next_cursor: str | None = Field(
        description="For the next page; null at the end. A page may be short, or even empty, "
        "before that."
    )


class JobsWanted(BaseModel):
    # As in a body, what is not known is an error: a typo never widens a list.
    model_config = ConfigDict(extra="forbid")

    status: JobStatus | None = Field(default=None, description="Only jobs with this status.")
    technique: str | None = Field(
        default=None,
        description="Only jobs of this technique.",
        json_schema_extra={"enum": [*sorted(TECHNIQUES)]},
    )
    limit: int = Field(default=20, ge=1, le=100, description="At most this many.")
    cursor: str | None = Field(
        default=None, description="`next_cursor` of the page before, with the same filters."
    )


@router.get(
    "/v1/jobs",
    operation_id="listJobs",
    summary="List jobs",
    response_description="A page of jobs.",
    responses=problem_responses(401, 422, 503),
)
def list_jobs(
    wanted: Annotated[JobsWanted, Query()],
    request: Request,
    backends: WithBackends,
    caller: Caller,
) -> JobList:
    """The caller's own jobs, the newest first. What a job made is told by its `links.self`."""
    if wanted.technique not in (None, *TECHNIQUES):
        raise InvalidRequest(f"technique: Expected one of {', '.join(sorted(TECHNIQUES))}.")
    after = None if wanted.cursor is None else _entry(wanted.cursor)
    which = Filter(wanted.status, wanted.technique)
    page = page_of(backends.redis, caller, which, wanted.limit, after)
    base_url = str(request.base_url).rstrip("/")
    return JobList(
        jobs=tuple(job_summary(job, base_url) for job in page.jobs),
        next_cursor=None if page.last is None else _cursor(page.last),
    )


@router.delete(
    "/v1/jobs/{job_id}",
    operation_id="deleteJob",
    summary="Delete a job",
    status_code=204,
    response_class=Response,
    response_description="The job and its files are gone.",
    responses=problem_responses(401, 404, 409, 503),
)
def delete_job(job_id: JobId, backends: WithBackends, caller: Caller) -> None:
    """Removes a job that has ended, and its files. Cancel first what has not."""
    backends.jobs.remove(owned_job(backends, job_id, caller))
    # Files without a record are never shown; what is left of them after a crash is swept.
    backends.places.artifacts.delete(job_id)


def _cursor(entry: str) -> str:
    return base64.urlsafe_b64encode(entry.encode()).decode().rstrip("=")


def _entry(cursor: str) -> str:
    try:
        entry = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        entry = ""
    if not _ENTRY.fullmatch(entry):
        raise InvalidRequest("cursor: Take it from `next_cursor` of the page before.")
    return entry
