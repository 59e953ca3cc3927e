"""Which workers are alive, and what they hold warm. Each renews its entry or vanishes."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import datetime
from typing import cast

from pydantic import BaseModel, ConfigDict
from redis import Redis

from core.jobs.record import PREFIX

_ENTRY = PREFIX + "worker:"
_NAMES = PREFIX + "workers"  # of all that announced themselves, so that no one has to scan


class WorkerInfo(BaseModel):
    """What a worker tells about itself."""

    model_config = ConfigDict(frozen=True)

    name: str
    pool: str
    device: str
    warm_models: tuple[str, ...]
    since: datetime
    room_bytes: int | None = None
    """What a run may take of its device, beside the weights; None where there is no limit."""


def new_name() -> str:
    """A name for this process, which no other worker has or had."""
    return f"{socket.gethostname()}-{os.getpid()}-{int(time.time())}"


def is_here(worker: WorkerInfo) -> bool:
    """Whether the worker runs on this machine, or in this container."""
    return worker.name.rsplit("-", 2)[0] == socket.gethostname()


def announce(redis: Redis, worker: WorkerInfo, ttl_seconds: float) -> None:
    """Say that `worker` is alive for the next `ttl_seconds`."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.set(_ENTRY + worker.name, worker.model_dump_json(), px=int(ttl_seconds * 1000))
        pipe.sadd(_NAMES, worker.name)
        pipe.execute()


def withdraw(redis: Redis, name: str) -> None:
    """Say that a worker has stopped."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.delete(_ENTRY + name)
        pipe.srem(_NAMES, name)
        pipe.execute()


def alive(redis: Redis, pool: str | None = None) -> list[WorkerInfo]:
    """The workers that are alive, of one pool or of all, by name."""
    names = sorted(name.decode() for name in cast(set[bytes], redis.smembers(_NAMES)))
    if not names:
        return []
    entries = cast(list[bytes | None], redis.mget([_ENTRY + name for name in names]))
    # Who vanished is forgotten here; should it come back, it announces itself again.
    if vanished := [name for name, entry in zip(names, entries, strict=True) if entry is None]:
        redis.srem(_NAMES, *vanished)
    workers = [WorkerInfo.model_validate(json.loads(entry)) for entry in entries if entry]
    return [worker for worker in workers if pool is None or worker.pool == pool]
