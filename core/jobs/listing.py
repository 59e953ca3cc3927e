"""An owner's jobs, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from redis import Redis

from core.contract.jobs import Job, JobStatus
from core.jobs.record import decode, encode, job_key, owned_key

_AT_ONCE = 100
_MOST_LOOKED_AT = 1000
"""Of one page: few jobs among many may fit a filter, and no request may read them all."""


@dataclass(frozen=True)
class Filter:
    """Which jobs are wanted."""

    status: JobStatus | None = None
    technique: str | None = None


@dataclass(frozen=True)
class Page:
    """Some jobs, without their files, and the entry after which the next page begins."""

    jobs: list[Job]
    last: str | None


def page_of(redis: Redis, owner: str, wanted: Filter, limit: int, after: str | None = None) -> Page:
    """At most `limit` jobs of `owner`, from the one after the entry `after`.

    A page can be short, and even empty, though there are more: `last` is None at the end only.
    """
    found: list[str] = []
    last = after
    for _ in range(_MOST_LOOKED_AT // _AT_ONCE):
        entries = _entries(redis, owner, last)
        for entry, fits in zip(entries, _which_fit(redis, owner, entries, wanted), strict=True):
            last = entry
            if fits:
                found.append(entry.partition(":")[2])
            if len(found) == limit:
                break
        if len(entries) < _AT_ONCE and (not entries or last == entries[-1]):
            last = None
        if last is None or len(found) == limit:
            break
    return Page(_read(redis, found), last)


def _entries(redis: Redis, owner: str, after: str | None) -> list[str]:
    newest = "+" if after is None else f"({after}"
    found = redis.zrevrangebylex(owned_key(owner), newest, "-", start=0, num=_AT_ONCE)
    return [entry.decode() for entry in cast(list[bytes], found)]


def _which_fit(redis: Redis, owner: str, entries: list[str], wanted: Filter) -> list[bool]:
    """Whether each entry's job is wanted. Those whose record has expired leave the set."""
    with redis.pipeline(transaction=False) as pipe:
        for entry in entries:
            pipe.hmget(job_key(entry.partition(":")[2]), "status", "technique")
        records: list[list[bytes | None]] = pipe.execute()
    expired = [e for e, (status, _) in zip(entries, records, strict=True) if status is None]
    if expired:
        redis.zrem(owned_key(owner), *expired)
    values = [(wanted.status, 0), (wanted.technique, 1)]
    asked = [(encode(value).encode(), place) for value, place in values if value is not None]
    return [
        record[0] is not None and all(record[place] == value for value, place in asked)
        for record in records
    ]


def _read(redis: Redis, job_ids: list[str]) -> list[Job]:
    with redis.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hgetall(job_key(job_id))
        return [decode(fields) for fields in pipe.execute() if b"id" in fields]
