"""What the routes stand on: the job record, the queue, the files, the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from redis import Redis

from core.contract.models import ModelCatalog, load_catalog
from core.contract.settings import Settings
from core.jobs.broker import connect
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.places import Places
from core.storage.secret import signing_secret


@dataclass(frozen=True)
class Backends:
    """Opened once, when the service starts."""

    settings: Settings
    redis: Redis
    jobs: JobStore
    queue: JobQueue
    places: Places
    models: ModelCatalog
    secret: bytes
    """Signs artifact URLs."""


@contextmanager
def opened(settings: Settings) -> Iterator[Backends]:
    """The backends of a deployment; Redis need not answer yet.

    Raises OSError or ValueError where the models file or the data directory is unusable.
    """
    redis = connect(settings.redis_url)
    try:
        yield Backends(
            settings=settings,
            redis=redis,
            jobs=JobStore(redis),
            queue=JobQueue(redis, settings.pool),
            places=Places.under(settings.data_dir),
            models=load_catalog(settings.models_file),
            secret=signing_secret(settings),
        )
    finally:
        redis.close()


def _backends(request: Request) -> Backends:
    return cast(Backends, request.app.state.backends)


WithBackends = Annotated[Backends, Depends(_backends)]
