"""What the routes stand on: the job record, the queue, the files, the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from redis import Redis

from core.contract.artifacts import ArtifactStore
from core.contract.models import ModelCatalog, load_catalog
from core.contract.settings import Settings
from core.jobs.broker import connect
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.storage.cache import MAX_REFERENCE_BYTES, DiskCache
from core.storage.disk import DiskStore
from core.storage.images import ImageStore
from service.signing import signing_secret


@dataclass(frozen=True)
class Backends:
    """Opened once, when the service starts."""

    settings: Settings
    redis: Redis
    jobs: JobStore
    queue: JobQueue
    artifacts: ArtifactStore
    images: ImageStore
    references: DiskCache
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
            artifacts=DiskStore(settings.data_dir / "artifacts"),
            images=ImageStore(settings.data_dir / "images"),
            references=DiskCache(settings.data_dir / "references", MAX_REFERENCE_BYTES),
            models=load_catalog(settings.models_file),
            secret=signing_secret(settings),
        )
    finally:
        redis.close()


def _backends(request: Request) -> Backends:
    return cast(Backends, request.app.state.backends)


WithBackends = Annotated[Backends, Depends(_backends)]
