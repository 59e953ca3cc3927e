"""The job as HTTP shows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.contract import jobs
from core.contract.jobs import Artifact, Job, JobWarning, Progress
from service.problems import Problem, of_job
from service.signing import signed_query


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


class QueueView(View):
    """Where a queued job stands."""

    position: int | None = Field(
        description="1 is the next to run. Keys take turns, so another's job may still come before."
    )
    estimated_wait_seconds: float | None = Field(
        description="From the last run times; null before the first run, and without a worker."
    )


class ArtifactView(Artifact):
    """A file that a job made."""

    url: str = Field(description="Signed: needs no key, and works until the job expires.")


class JobLinks(View):
    """What can be done with a job."""

    self: str = Field(description="The job itself.")
    events: str = Field(description="Server-sent events, until the job is final.")
    cancel: str | None = Field(description="POST here to cancel it; null once it is final.")


class JobView(View):
    """One queued run of a request, and what came of it."""

    id: jobs.Id
    technique: jobs.TechniqueName
    status: jobs.Status
    model: jobs.ModelName
    created_at: jobs.CreatedAt
    started_at: jobs.StartedAt
    ended_at: jobs.EndedAt
    expires_at: jobs.ExpiresAt
    attempt: jobs.Attempt
    queue: QueueView | None = Field(description="While queued.")
    progress: Progress | None = Field(description="While running.")
    request: dict[str, Any] = Field(
        description="Every effective value, seed and defaults included. Send it again for the "
        "same pictures."
    )
    artifacts: tuple[ArtifactView, ...] = Field(description="Each as soon as it is finished.")
    measures: dict[str, Any] = Field(description="What was measured, such as `run_seconds`.")
    warnings: tuple[JobWarning, ...] = Field(description="What to mind though it went on.")
    error: Problem | None = Field(description="Why it failed.")
    links: JobLinks


class JobSummary(View):
    """A job in a list: without its request, its files and what was measured."""

    id: jobs.Id
    technique: jobs.TechniqueName
    status: jobs.Status
    model: jobs.ModelName
    metadata: jobs.Metadata
    created_at: jobs.CreatedAt
    started_at: jobs.StartedAt
    ended_at: jobs.EndedAt
    expires_at: jobs.ExpiresAt
    attempt: jobs.Attempt
    progress: Progress | None = Field(description="While running.")
    error: Problem | None = Field(description="Why it failed.")
    links: JobLinks


def job_path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}"


def artifact_path(job_id: str, name: str) -> str:
    return f"{job_path(job_id)}/artifacts/{name}"


def files_expire_at(job: Job) -> datetime:
    """Until when URLs of the job's files work: its own end, once that is known."""
    return job.expires_at or job.created_at + timedelta(seconds=job.request["ttl_seconds"])


def job_view(job: Job, queue: QueueView | None, base_url: str, secret: bytes) -> JobView:
    """`job` as its owner sees it, with URLs below `base_url`, which has no final slash."""
    return JobView(
        id=job.id,
        technique=job.technique,
        status=job.status,
        model=job.request["model"],
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        expires_at=job.expires_at,
        attempt=job.attempt,
        queue=queue,
        progress=job.progress,
        request=job.request,
        artifacts=tuple(artifact_view(job, file, base_url, secret) for file in job.artifacts),
        measures=job.measures,
        warnings=job.warnings,
        error=_error(job),
        links=job_links(job, base_url),
    )


def artifact_view(job: Job, artifact: Artifact, base_url: str, secret: bytes) -> ArtifactView:
    """A file of `job` with the URL by which anyone may read it."""
    expires = int(files_expire_at(job).timestamp())
    query = signed_query(secret, job.id, artifact.name, expires)
    url = f"{base_url}{artifact_path(job.id, artifact.name)}?{query}"
    return ArtifactView(**dict(artifact), url=url)


def job_summary(job: Job, base_url: str) -> JobSummary:
    """`job` in a list of its owner's."""
    return JobSummary(
        id=job.id,
        technique=job.technique,
        status=job.status,
        model=job.request["model"],
        metadata=job.request["metadata"],
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        expires_at=job.expires_at,
        attempt=job.attempt,
        progress=job.progress,
        error=_error(job),
        links=job_links(job, base_url),
    )


def job_links(job: Job, base_url: str) -> JobLinks:
    """Where the job is, and what can be done with it now."""
    url = base_url + job_path(job.id)
    return JobLinks(
        self=url, events=f"{url}/events", cancel=None if job.is_final else f"{url}/cancel"
    )


def _error(job: Job) -> Problem | None:
    return None if job.error is None else of_job(job.error, job_path(job.id))
