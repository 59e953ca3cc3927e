"""What has changed in a job since someone last looked: cheap to ask, and often."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from core.contract.errors import JobError, NotFound
from core.contract.jobs import FINAL, Artifact, JobStatus, Progress
from core.jobs.record import job_key, published_key

_FIELDS = ("revision", "status", "attempt", "progress", "error", "preview")


@dataclass(frozen=True)
class Glimpse:
    """The part of a record that moves, and the files published after the first `skipped`."""

    revision: int
    status: JobStatus
    attempt: int
    progress: Progress | None
    error: JobError | None
    preview: int
    """How many the attempt has made so far; the last one is stored."""
    skipped: int
    files: tuple[Artifact, ...]

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def glimpse(redis: Redis, job_id: str, skip_files: int) -> Glimpse:
    """The job as it is now. A file made again by a later attempt counts again. Raises NotFound."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.hmget(job_key(job_id), *_FIELDS)
        pipe.lrange(published_key(job_id), skip_files, -1)
        fields, files = pipe.execute()
    if fields[0] is None:
        raise NotFound(f"There is no job {job_id}.")
    found = [text and json.loads(text) for text in fields]
    revision, status, attempt, progress, error, preview = found
    return Glimpse(
        revision=revision,
        status=status,
        attempt=attempt,
        progress=progress and Progress.model_validate(progress),
        error=error and JobError.model_validate(error),
        preview=preview or 0,
        skipped=skip_files,
        files=tuple(Artifact.model_validate_json(file) for file in files),
    )


def revisions(redis: Redis, job_ids: Sequence[str]) -> list[int | None]:
    """The revision of each job, None where it is gone: one round trip, however many there are."""
    with redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hget(job_key(job_id), "revision")
        found = cast(list[bytes | None], pipe.execute())
    return [None if revision is None else int(revision) for revision in found]
