"""Submissions that may be repeated: one key of an owner is one job."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import cast

from redis import Redis

from core.contract.errors import IdempotencyMismatch
from core.jobs.record import PREFIX

KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Once:
    """What is to be one job, however often it is submitted."""

    name: str
    """Of the Redis key in which the job's id and the fingerprint are kept."""
    fingerprint: str


def once(owner: str, key: str, technique: str, body: bytes) -> Once:
    """For an `Idempotency-Key` of `owner` and what was sent with it."""
    # Hashed, since a caller chooses it and it may be long.
    digest = hashlib.sha256(key.encode()).hexdigest()
    sent = hashlib.sha256(technique.encode() + b"\n" + body).hexdigest()
    return Once(f"{PREFIX}once:{owner}:{digest}", sent)


def earlier(redis: Redis, submission: Once) -> str | None:
    """Id of the job that the submission has become before. Raises IdempotencyMismatch."""
    kept = cast(bytes | None, redis.get(submission.name))
    return None if kept is None else same_job(kept, submission)


def same_job(kept: bytes, submission: Once) -> str:
    """The job id in what is kept for a key. Raises IdempotencyMismatch for another body."""
    job_id, _, fingerprint = kept.decode().partition(" ")
    if fingerprint != submission.fingerprint:
        raise IdempotencyMismatch(
            "This Idempotency-Key was sent with another request before. "
            "Choose a new key for a new request."
        )
    return job_id
