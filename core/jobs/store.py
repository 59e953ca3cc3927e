"""The job record in Redis. It is the truth about a job; the queue only delivers.

A job is one hash, each field JSON. Sorted sets stand beside it: the line of its pool while it is
queued, `running` while it runs, scored by the end of its lease (by the broker's clock, so those of
workers don't matter), `deadlines`, and for each owner one that lists their jobs. Each change is
one Lua script that compares before it sets: a status only moves as `LEGAL_MOVES` allows, and a
run only writes while its attempt is the job's last one (a fencing token).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from redis import Redis

from core.contract.errors import (
    INTERNAL_ERROR,
    AttemptSuperseded,
    Busy,
    Conflict,
    JobError,
    NotFound,
    QueueFull,
    WorkerLost,
)
from core.contract.jobs import (
    FINAL,
    LEGAL_MOVES,
    Artifact,
    Job,
    JobStatus,
    JobWarning,
    Progress,
)
from core.jobs import scripts
from core.jobs.idempotency import KEPT_SECONDS, Once, same_job
from core.jobs.record import (
    DEAD,
    DEADLINES,
    OUTBOX,
    RUNNING,
    TALLY,
    decode,
    deliveries_key,
    delivery_id,
    encode,
    job_key,
    line_keys,
    owned_entry,
    owned_key,
    pairs,
    published_key,
)

_STEPS = {"normal": 1.0, "high": 0.1}
"""How far apart jobs of one owner stand in the line: ten urgent ones pass for one."""


_OF_OURS = frozenset({WorkerLost.code, INTERNAL_ERROR})
"""Failures that the submitter could not help: these jobs are kept among the dead (`dead`)."""


@dataclass(frozen=True)
class Room:
    """How many jobs may wait in a pool."""

    waiting: int = 10_000
    of_owner: int = 1_000


@dataclass(frozen=True)
class Claim:
    """One attempt at a job: who may write to its record, until another attempt begins."""

    job: Job
    attempt: int


class JobStore:
    """Job records in one Redis database."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._move_script = redis.register_script(scripts.MOVE)
        self._beat_script = redis.register_script(scripts.BEAT)
        self._publish_script = redis.register_script(scripts.PUBLISH)
        self._ask_cancel_script = redis.register_script(scripts.ASK_CANCEL)
        self._create_script = redis.register_script(scripts.CREATE)
        self._remove_script = redis.register_script(scripts.REMOVE)

    def create(self, job: Job, submission: Once | None = None, room: Room = Room()) -> str:
        """Record a new queued job; from here on it will not be lost. Returns its id.

        Where the submission has become a job before, that one's, and nothing is recorded.
        Raises IdempotencyMismatch; QueueFull or Busy where there is no room.
        """
        fields = {name: value for name, value in dict(job).items() if name != "artifacts"}
        if webhook := job.request.get("webhook"):
            # Beside the request, so that a script can tell without reading it.
            fields["webhook_events"] = f",{','.join(webhook['events'])},"
        name, fingerprint = (submission.name, submission.fingerprint) if submission else ("", "")
        priority = job.request["priority"]
        why, found = self._create_script(
            keys=[job_key(job.id), *line_keys(job.pool), owned_key(job.owner), name, DEADLINES],
            args=[
                job.id,
                owned_entry(job),
                fingerprint,
                KEPT_SECONDS,
                job.owner,
                priority,
                _STEPS[priority],
                room.waiting,
                room.of_owner,
                "" if job.deadline_at is None else job.deadline_at.timestamp(),
                *pairs(fields),
            ],
        )
        match why.decode():
            case "kept" if submission:
                return same_job(found, submission)
            case "full":
                raise Busy(f"{found} jobs wait already. Try again later.")
            case "owner full":
                raise QueueFull(
                    f"{found} of your jobs wait already, and at most {room.of_owner} may. "
                    "Send more once some have begun."
                )
        return job.id

    def get(self, job_id: str) -> Job:
        """The record of a job. Raises NotFound."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(job_key(job_id))
            pipe.lrange(published_key(job_id), 0, -1)
            fields, published = pipe.execute()
        if b"id" not in fields:
            raise NotFound(f"There is no job {job_id}.")
        return decode(fields, published)

    def remove(self, job: Job) -> None:
        """Forget a final job. Its files are the caller's to delete, after this.

        Raises Conflict if it is not final, NotFound if it is gone already.
        """
        found = self._remove_script(
            keys=[
                job_key(job.id),
                published_key(job.id),
                owned_key(job.owner),
                deliveries_key(job.id),
                OUTBOX,
            ],
            args=[owned_entry(job), f",{','.join(sorted(FINAL))},", delivery_id(job.id)],
        ).decode()
        if not found:
            raise NotFound(f"There is no job {job.id}.")
        if found not in FINAL:
            raise Conflict(f"The job has not ended: {found}. Cancel it first.")

    def claim(self, job_id: str, lease_seconds: float) -> Claim | None:
        """Begin an attempt at a queued job. None if it isn't queued (any more)."""
        fields = {"started_at": datetime.now(UTC), "progress": None, "preview": 0}
        pool = self._pool(job_id)
        if pool is None:
            return None
        attempt = self._move(job_id, pool, "running", fields, lease_seconds=lease_seconds)
        return None if attempt is None else Claim(self.get(job_id), attempt)

    def beat(self, claim: Claim, lease_seconds: float, progress: Progress | None = None) -> bool:
        """Extend the lease and tell how far the run is. True if a cancel was asked for.

        Raises AttemptSuperseded once the job is no longer this attempt's.
        """
        fields = {} if progress is None else {"progress": progress}
        return self._write(claim, lease_seconds, fields)

    def keep_request(self, claim: Claim, lease_seconds: float, request: Mapping[str, Any]) -> None:
        """Put what the run has made of the request in its place, for later attempts and callers.

        Raises AttemptSuperseded if another attempt has the job.
        """
        self._write(claim, lease_seconds, {"request": request})

    def note_preview(self, claim: Claim, lease_seconds: float, number: int) -> None:
        """Say that the run's preview of this number is stored.

        Raises AttemptSuperseded if another attempt has the job.
        """
        self._write(claim, lease_seconds, {"preview": number})

    def publish(self, claim: Claim, artifact: Artifact) -> None:
        """Show a finished file, which counts from now on whatever becomes of the attempt.

        Raises AttemptSuperseded if another attempt has the job.
        """
        job_id = claim.job.id
        keys = [job_key(job_id), published_key(job_id)]
        if not self._publish_script(keys=keys, args=[claim.attempt, encode(artifact)]):
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {job_id}.")

    def succeed(
        self, claim: Claim, measures: Mapping[str, Any], warnings: Sequence[JobWarning] = ()
    ) -> None:
        """Commit: the job is done, and the files that were published are all it has.

        Raises AttemptSuperseded if another attempt has the job.
        """
        fields = {
            "measures": dict(measures),
            "warnings": list(warnings),
            "progress": None,
        }
        self._end(claim, "succeeded", fields)

    def fail(self, claim: Claim, error: JobError) -> None:
        """End the job with `error`. Raises AttemptSuperseded if another attempt has it."""
        self._end(claim, "failed", {"error": error, "progress": None})

    def canceled(self, claim: Claim) -> None:
        """End the job as canceled. Raises AttemptSuperseded if another attempt has it."""
        self._end(claim, "canceled", {"progress": None})

    def fail_queued(self, job: Job, error: JobError) -> None:
        """End a job that never ran, such as one whose deadline passed in the queue."""
        fields = _ended(job) | {"error": error}
        self._move(job.id, job.pool, "failed", fields, only_from="queued")

    def request_cancel(self, job_id: str) -> Job:
        """End a queued job at once, ask a running one to end. Raises NotFound or Conflict."""
        while not (job := self.get(job_id)).is_final:
            moved = self._move(job_id, job.pool, "canceled", _ended(job), only_from="queued")
            if moved is not None:
                return self.get(job_id)
            if self._ask_cancel_script(keys=[job_key(job_id)]):
                return self.get(job_id)
            # It moved between the two, such as a lost job going back to the queue: look again.
        raise Conflict(f"The job has already ended: {job.status}.")

    def hand_back(self, claim: Claim) -> None:
        """Put a job back into the queue, for another worker to go on with.

        Raises AttemptSuperseded if another attempt has it.
        """
        job, fields = claim.job, {"progress": None, "started_at": None}
        if self._move(job.id, job.pool, "queued", fields, fence=claim.attempt) is None:
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {job.id}.")

    def requeue_lost(self, job: Job) -> bool:
        """Put a running job whose lease is over back into the queue."""
        fields = {"progress": None, "started_at": None, "losses": job.losses + 1}
        return self._move(job.id, job.pool, "queued", fields, only_expired=True) is not None

    def fail_lost(self, job: Job, error: JobError) -> bool:
        """End a running job whose lease is over and that has no attempts left."""
        return self._end_lost(job, "failed", {"error": error})

    def cancel_lost(self, job: Job) -> bool:
        """End a running job whose lease is over and that was asked to end anyway."""
        return self._end_lost(job, "canceled", {})

    def expired_leases(self) -> list[str]:
        """Ids of running jobs whose worker has not been heard of for a lease."""
        found = self.redis.zrangebyscore(RUNNING, "-inf", self._now())
        return [job_id.decode() for job_id in cast(list[bytes], found)]

    def past_deadline(self) -> list[str]:
        """Ids of jobs that have not ended though their deadline is over."""
        found = self.redis.zrangebyscore(DEADLINES, "-inf", self._now())
        return [job_id.decode() for job_id in cast(list[bytes], found)]

    def forget(self, job_id: str) -> None:
        """Drop an id from the bookkeeping whose record is gone."""
        self.redis.zrem(RUNNING, job_id)
        self.redis.zrem(DEADLINES, job_id)

    def _write(self, claim: Claim, lease_seconds: float, fields: Mapping[str, Any]) -> bool:
        job_id = claim.job.id
        answer = self._beat_script(
            keys=[job_key(job_id), RUNNING],
            args=[job_id, claim.attempt, lease_seconds, *pairs(fields)],
        )
        if answer == 0:
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {job_id}.")
        return bool(answer == 2)

    def _end_lost(self, job: Job, to: JobStatus, fields: Mapping[str, Any]) -> bool:
        ended = _ended(job) | dict(fields) | {"progress": None}
        moved = self._move(job.id, job.pool, to, ended, only_from="running", only_expired=True)
        return moved is not None

    def _end(self, claim: Claim, to: JobStatus, fields: Mapping[str, Any]) -> None:
        # Only from running: a lost job that waits again still has the number of its last attempt.
        ended = _ended(claim.job) | dict(fields)
        job = claim.job
        moved = self._move(job.id, job.pool, to, ended, only_from="running", fence=claim.attempt)
        if moved is None:
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {job.id}.")

    def _move(
        self,
        job_id: str,
        pool: str,
        to: JobStatus,
        fields: Mapping[str, Any],
        *,
        only_from: JobStatus | None = None,
        fence: int | None = None,
        only_expired: bool = False,
        lease_seconds: float = 0,
    ) -> int | None:
        """Compare and set in one script. The attempt on success, else None."""
        allowed = LEGAL_MOVES[to] if only_from is None else LEGAL_MOVES[to] & {only_from}
        expires_at = fields.get("expires_at")
        found, attempt = self._move_script(
            keys=[
                job_key(job_id),
                *line_keys(pool),
                RUNNING,
                published_key(job_id),
                DEADLINES,
                deliveries_key(job_id),
                OUTBOX,
                TALLY,
                DEAD,
            ],
            args=[
                job_id,
                to,
                f",{','.join(sorted(allowed))},",
                "" if fence is None else fence,
                lease_seconds,
                "1" if only_expired else "0",
                "" if expires_at is None else int(expires_at.timestamp()),
                "1" if to == "failed" and fields["error"].code in _OF_OURS else "0",
                *pairs(fields),
            ],
        )
        return int(attempt) if found.decode() in allowed else None

    def _pool(self, job_id: str) -> str | None:
        found = cast(bytes | None, self.redis.hget(job_key(job_id), "pool"))
        return None if found is None else json.loads(found)

    def _now(self) -> float:
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6


def _ended(job: Job) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "ended_at": now,
        "expires_at": now + timedelta(seconds=job.request["ttl_seconds"]),
    }
