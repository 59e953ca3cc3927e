"""How a job lies in Redis: the names of its keys, and its fields as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from core.contract.jobs import Job

PREFIX = "attention-please:"
RUNNING = PREFIX + "running"
DEADLINES = PREFIX + "deadlines"
OUTBOX = PREFIX + "outbox"
DEAD = PREFIX + "dead"
TALLY = PREFIX + "tally"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def job_key(job_id: str) -> str:
    """The hash of a job's fields."""
    return f"{PREFIX}job:{job_id}"


def published_key(job_id: str) -> str:
    """The list of a job's files, in the order in which they were finished."""
    return f"{job_key(job_id)}:published"


def line_keys(pool: str) -> tuple[str, str, str]:
    """Who waits in a pool (ids by their place), how far each flow is, and how many of whom."""
    line = f"{PREFIX}line:{pool}"
    return line, f"{line}:flows", f"{line}:owners"


def deliveries_key(job_id: str) -> str:
    """The hash of what a job's webhook is told: `count`, and `1:event` and so on of each."""
    return f"{job_key(job_id)}:deliveries"


def delivery_id(job_id: str, number: int | str = "") -> str:
    """Id of a job's delivery of this number; without one, how all of them begin."""
    return f"msg_{job_id.removeprefix('job_')}_{number}"


def owned_key(owner: str) -> str:
    """The sorted set of an owner's jobs."""
    return f"{PREFIX}owned:{owner}"


def owned_entry(job: Job) -> str:
    """The job's entry there. Entries have one score, and their text is in order of time."""
    return f"{(job.created_at - _EPOCH) // timedelta(microseconds=1):017d}:{job.id}"


def encode(value: Any) -> str:
    """The text of one field."""
    return json.dumps(value, default=_jsonable, ensure_ascii=False)


def pairs(fields: Mapping[str, Any]) -> list[str]:
    """Names and texts in turn, as HSET takes them."""
    return [text for name, value in fields.items() for text in (name, encode(value))]


def decode(fields: Mapping[bytes, bytes], published: Sequence[bytes] = ()) -> Job:
    """The job of a hash and of the list of its files."""
    # A file made again by a later attempt takes the place of the earlier one.
    artifacts = {entry["name"]: entry for entry in map(json.loads, published)}
    record = {key.decode(): json.loads(value) for key, value in fields.items()}
    return Job.model_validate(record | {"artifacts": list(artifacts.values())})


def _jsonable(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value)} does not go into a job record")
