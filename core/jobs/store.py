"""The job record in Redis. It is the truth about a job; the queue only delivers.

A job is one hash, each field JSON. Two sorted sets stand beside it: `queued` (scored by the
time it was last handed to the queue) and `running` (scored by the end of its lease). Both
are by the broker's clock, so those of workers don't matter. Each change is one Lua script that
compares before it sets: a status only moves as `LEGAL_MOVES` allows, and a run only writes
while its attempt is the job's last one (a fencing token).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pydantic import BaseModel
from redis import Redis

from core.contract.errors import AttemptSuperseded, Conflict, JobError, NotFound
from core.contract.jobs import (
    LEGAL_MOVES,
    Artifact,
    Job,
    JobStatus,
    JobWarning,
    Progress,
)

PREFIX = "attention-please:"
QUEUED = PREFIX + "queued"
RUNNING = PREFIX + "running"

# KEYS: job, queued, running, published.  ARGV: id, to, allowed from (",a,b,"), fence or "",
# lease seconds, "1" to move only a job whose lease is over, unix time at which to forget it or
# "", then pairs.
# Returns {the status found, the attempt it now has}; nothing changed unless that status is
# among the allowed ones and the fence fits.
_MOVE = """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then return {'', 0} end
status = string.sub(status, 2, -2)
local attempt = tonumber(redis.call('HGET', KEYS[1], 'attempt'))
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local refused = {'refused:' .. status, attempt}
if not string.find(ARGV[3], ',' .. status .. ',', 1, true) then return refused end
if ARGV[4] ~= '' and tonumber(ARGV[4]) ~= attempt then return refused end
if ARGV[6] == '1' then
  local lease = redis.call('ZSCORE', KEYS[3], ARGV[1])
  if lease and tonumber(lease) > now then return refused end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
if ARGV[2] == 'running' then
  attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[5]), ARGV[1])
elseif ARGV[2] == 'queued' then
  redis.call('ZADD', KEYS[2], now, ARGV[1])
end
redis.call('HSET', KEYS[1], 'status', '"' .. ARGV[2] .. '"')
redis.call('HINCRBY', KEYS[1], 'revision', 1)
if #ARGV > 7 then redis.call('HSET', KEYS[1], unpack(ARGV, 8)) end
if ARGV[7] ~= '' then
  redis.call('EXPIREAT', KEYS[1], ARGV[7])
  redis.call('EXPIREAT', KEYS[4], ARGV[7])
end
return {status, attempt}
"""

# KEYS: job, running.  ARGV: id, fence, lease seconds, then pairs.
# Extends the lease of a running attempt. Returns 0 if it has been superseded, 2 if a cancel
# was asked for, else 1.
_BEAT = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[2] then return 0 end
local clock = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', tonumber(clock[1]) + tonumber(clock[2]) / 1000000
  + tonumber(ARGV[3]), ARGV[1])
if #ARGV > 3 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 4))
  redis.call('HINCRBY', KEYS[1], 'revision', 1)
end
if redis.call('HGET', KEYS[1], 'cancel_requested') == 'true' then return 2 end
return 1
"""

# KEYS: job, published.  ARGV: fence, artifact.
# Adds a file to those of a running attempt. Returns 0 if it has been superseded.
_PUBLISH = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
"""

# KEYS: job.  Marks a running job as to be canceled; does nothing to any other.
_ASK_CANCEL = """
if redis.call('HGET', KEYS[1], 'status') ~= '"running"' then return 0 end
redis.call('HSET', KEYS[1], 'cancel_requested', 'true')
redis.call('HINCRBY', KEYS[1], 'revision', 1)
return 1
"""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job: who may write to its record, until another attempt begins."""

    job: Job
    attempt: int


def _key(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def _published_key(job_id: str) -> str:
    return f"{_key(job_id)}:published"


def _encode(value: Any) -> str:
    return json.dumps(value, default=_jsonable, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value)} does not go into a job record")


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [text for name, value in fields.items() for text in (name, _encode(value))]


class JobStore:
    """Job records in one Redis database."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._move_script = redis.register_script(_MOVE)
        self._beat_script = redis.register_script(_BEAT)
        self._publish_script = redis.register_script(_PUBLISH)
        self._ask_cancel_script = redis.register_script(_ASK_CANCEL)

    def create(self, job: Job) -> None:
        """Record a new queued job; from here on it will not be lost."""
        with self.redis.pipeline(transaction=True) as pipe:
            fields = {k: v for k, v in dict(job).items() if k != "artifacts"}
            pipe.hset(_key(job.id), mapping={k: _encode(v) for k, v in fields.items()})
            for artifact in job.artifacts:
                pipe.rpush(_published_key(job.id), _encode(artifact))
            pipe.zadd(QUEUED, {job.id: self._now()})
            pipe.execute()

    def get(self, job_id: str) -> Job:
        """The record of a job. Raises NotFound."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(_key(job_id))
            pipe.lrange(_published_key(job_id), 0, -1)
            fields, published = pipe.execute()
        if b"id" not in fields:
            raise NotFound(f"There is no job {job_id}.")
        # A file made again by a later attempt takes the place of the earlier one.
        artifacts = {entry["name"]: entry for entry in map(json.loads, published)}
        record = {key.decode(): json.loads(value) for key, value in fields.items()}
        return Job.model_validate(record | {"artifacts": list(artifacts.values())})

    def claim(self, job_id: str, lease_seconds: float) -> Claim | None:
        """Begin an attempt at a queued job. None if it isn't queued (any more)."""
        fields = {"started_at": datetime.now(UTC), "progress": None}
        attempt = self._move(job_id, "running", fields, lease_seconds=lease_seconds)
        return None if attempt is None else Claim(self.get(job_id), attempt)

    def beat(self, claim: Claim, lease_seconds: float, progress: Progress | None = None) -> bool:
        """Extend the lease and tell how far the run is. True if a cancel was asked for.

        Raises AttemptSuperseded once the job is no longer this attempt's.
        """
        fields = {} if progress is None else {"progress": progress}
        job_id = claim.job.id
        answer = self._beat_script(
            keys=[_key(job_id), RUNNING],
            args=[job_id, claim.attempt, lease_seconds, *_pairs(fields)],
        )
        if answer == 0:
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {job_id}.")
        return bool(answer == 2)

    def publish(self, claim: Claim, artifact: Artifact) -> None:
        """Show a finished file, which counts from now on whatever becomes of the attempt.

        Raises AttemptSuperseded if another attempt has the job.
        """
        job_id = claim.job.id
        keys = [_key(job_id), _published_key(job_id)]
        if not self._publish_script(keys=keys, args=[claim.attempt, _encode(artifact)]):
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
        self._move(job.id, "failed", _ended(job) | {"error": error}, only_from="queued")

    def request_cancel(self, job_id: str) -> Job:
        """End a queued job at once, ask a running one to end. Raises NotFound or Conflict."""
        while not (job := self.get(job_id)).is_final:
            if self._move(job_id, "canceled", _ended(job), only_from="queued") is not None:
                return self.get(job_id)
            if self._ask_cancel_script(keys=[_key(job_id)]):
                return self.get(job_id)
            # It moved between the two, such as a lost job going back to the queue: look again.
        raise Conflict(f"The job has already ended: {job.status}.")

    def requeue_lost(self, job: Job) -> bool:
        """Put a running job whose lease is over back into the queue."""
        fields = {"progress": None, "started_at": None}
        return self._move(job.id, "queued", fields, only_expired=True) is not None

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

    def waiting_longer_than(self, seconds: float) -> list[str]:
        """Ids of queued jobs that were handed to the queue more than `seconds` ago."""
        found = self.redis.zrangebyscore(QUEUED, "-inf", self._now() - seconds)
        return [job_id.decode() for job_id in cast(list[bytes], found)]

    def mark_delivered(self, job_id: str) -> None:
        """Note that a queued job has just been handed to the queue again."""
        self.redis.zadd(QUEUED, {job_id: self._now()}, xx=True)

    def forget(self, job_id: str) -> None:
        """Drop an id from the bookkeeping whose record is gone."""
        self.redis.zrem(QUEUED, job_id)
        self.redis.zrem(RUNNING, job_id)

    def _end_lost(self, job: Job, to: JobStatus, fields: Mapping[str, Any]) -> bool:
        ended = _ended(job) | dict(fields) | {"progress": None}
        return self._move(job.id, to, ended, only_from="running", only_expired=True) is not None

    def _end(self, claim: Claim, to: JobStatus, fields: Mapping[str, Any]) -> None:
        # Only from running: a lost job that waits again still has the number of its last attempt.
        ended = _ended(claim.job) | dict(fields)
        moved = self._move(claim.job.id, to, ended, only_from="running", fence=claim.attempt)
        if moved is None:
            raise AttemptSuperseded(f"Attempt {claim.attempt} no longer has job {claim.job.id}.")

    def _move(
        self,
        job_id: str,
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
            keys=[_key(job_id), QUEUED, RUNNING, _published_key(job_id)],
            args=[
                job_id,
                to,
                f",{','.join(sorted(allowed))},",
                "" if fence is None else fence,
                lease_seconds,
                "1" if only_expired else "0",
                "" if expires_at is None else int(expires_at.timestamp()),
                *_pairs(fields),
            ],
        )
        return int(attempt) if found.decode() in allowed else None

    def _now(self) -> float:
        seconds, microseconds = self.redis.time()
        return seconds + microseconds / 1e6


def _ended(job: Job) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "ended_at": now,
        "expires_at": now + timedelta(seconds=job.request["ttl_seconds"]),
    }
