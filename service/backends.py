"""What the routes stand on: the job record, the queue, the files, the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import Redis

from core.contract.models import ModelCatalog, load_catalog
from core.contract.settings import Settings
from core.jobs.broker import connect
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.record import PREFIX
from core.jobs.store import JobStore
from core.jobs.workers import WorkerInfo, alive
from core.storage.places import Places
from core.storage.secret import signing_secret


@dataclass(frozen=True)
class Backends:
    """Opened once, when the service starts."""

    settings: Settings
    redis: Redis
    jobs: JobStore
    needs: Needs
    rates: SlidingWindowCounterRateLimiter
    places: Places
    models: ModelCatalog
    secret: bytes
    """Signs artifact URLs."""

    def queue(self, pool: str) -> JobQueue:
        """The queue of one pool."""
        return JobQueue(self.redis, pool)

    def pool_of(self, model: str | None) -> str:
        """The pool whose workers hold a model. Raises InvalidRequest where there is no such."""
        return self.models.resolve(model).pool or self.settings.pool

    def pools(self) -> list[str]:
        """The pools that jobs go to from here."""
        return self.models.pools(self.settings.pool)

    def workers(self) -> list[WorkerInfo]:
        """The workers of these pools that are alive."""
        pools = self.pools()
        return [worker for worker in alive(self.redis) if worker.pool in pools]


@contextmanager
def opened(settings: Settings) -> Iterator[Backends]:
    """The backends of a deployment; Redis need not answer yet.

    Raises OSError or ValueError where the models file or the storage is unusable.
    """
    redis = connect(settings.redis_url)
    try:
        yield Backends(
            settings=settings,
            redis=redis,
            jobs=JobStore(redis),
            needs=Needs(redis),
            rates=_rate_limiter(redis, settings),
            places=Places.of(settings),
            models=load_catalog(settings.models_file),
            secret=signing_secret(settings),
        )
    finally:
        redis.close()


def _rate_limiter(redis: Redis, settings: Settings) -> SlidingWindowCounterRateLimiter:
    """Counts in the broker, so that all processes count together."""
    pool = redis.connection_pool
    prefix = f"{PREFIX}rate"
    return SlidingWindowCounterRateLimiter(
        RedisStorage(settings.redis_url, connection_pool=pool, key_prefix=prefix)
    )


def _backends(request: Request) -> Backends:
    return cast(Backends, request.app.state.backends)


WithBackends = Annotated[Backends, Depends(_backends)]
