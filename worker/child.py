"""The process that holds the models and runs jobs. The supervisor starts it and replaces it.

`python -m worker.child [PARENT]` runs one alone, without anything to replace it; it stops
when its parent is no longer the process PARENT.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import SimpleWorker

from core.contract.errors import AttemptSuperseded
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.diffusion.model import best_device, quiet_loading
from core.jobs import workers
from core.jobs.broker import connect, connect_to_block
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.outbound.guard import Guard
from core.outbound.rules import Rules
from core.storage.places import Places
from core.telemetry import logs, traces
from worker.drawing import Drawing
from worker.leaving import HAND_BACK
from worker.memory import limited
from worker.runner import Pulse, Runner
from worker.task import serve_with
from worker.warm import WarmModels

log = logging.getLogger(__name__)

STALLED = 70
"""Exit code of a worker that killed itself because a step never came."""

_RQ_TTL_SECONDS = 30


class WarmWorker(SimpleWorker):  # type: ignore[misc]
    """An RQ worker that runs jobs in its own process, so that CUDA and models stay warm.

    RQ's SimpleWorker sends no heartbeat while a job runs and gives it a lease of its whole
    timeout. Here a thread sends them (`Heart`), with a short one.
    """

    max_connection_wait_time = 2.0  # seconds between looks for a broker that is away, not 60

    def get_heartbeat_ttl(self, job: Any, working_time: float = 0.0) -> int:
        """Seconds that RQ's own bookkeeping believes a running job without a heartbeat."""
        return _RQ_TTL_SECONDS


class Heart(threading.Thread):
    """Tells the broker every third of a lease that this worker, and its job, are alive.

    It also watches the steps: a heartbeat alone would hide a hung GPU. When none has ended
    for `stall_seconds` the process ends itself, hard, and the supervisor starts another.
    """

    def __init__(self, worker: WarmWorker, runner: Runner, settings: Settings, parent: int) -> None:
        super().__init__(name="heart", daemon=True)
        self.worker, self.runner, self.settings = worker, runner, settings
        # Its own connection: the worker's may be blocked in a pop.
        self.redis = connect(settings.redis_url)
        self.store = JobStore(self.redis)
        self.since = datetime.now(UTC)
        self.parent = parent
        self.stopped = threading.Event()

    def run(self) -> None:
        period = self.settings.lease_seconds / 3
        while not self.stopped.wait(period):
            self._stop_without_parent()
            self._stop_if_stalled()
            try:
                self.beat()
            except RedisError as error:
                log.warning("no heartbeat: %s", error)
            except Exception:  # without this thread the worker would be given up for lost
                log.exception("no heartbeat")

    def beat(self) -> None:
        """Announce the worker, and renew the lease of its job."""
        info = workers.WorkerInfo(
            name=self.worker.name,
            pool=self.settings.pool,
            device=str(self.runner.drawing.models.device),
            warm_models=self.runner.drawing.models.names(),
            since=self.since,
            room_bytes=self.runner.drawing.memory.room_bytes,
        )
        workers.announce(self.redis, info, ttl_seconds=self.settings.lease_seconds * 2)
        claim = self.runner.pulse.claim
        if claim is not None:
            with suppress(AttemptSuperseded):  # the runner finds out at its next step
                self.store.beat(claim, self.settings.lease_seconds)
        for execution in list(self.worker.executions.values()):
            self.worker.maintain_heartbeats(execution.job, execution)

    def stop(self) -> None:
        """Stop beating and withdraw the announcement."""
        self.stopped.set()
        self.join(self.settings.lease_seconds)  # a beat under way would announce it again
        with suppress(RedisError):
            workers.withdraw(self.redis, self.worker.name)

    def _stop_if_stalled(self) -> None:
        if (found := self.runner.pulse.silent_for()) is None:
            return
        claim, seconds = found
        if seconds > self.settings.stall_seconds:
            log.critical("no step for %.0f s in job %s", seconds, claim.job.id)
            os._exit(STALLED)  # a hung kernel lets nothing gentler through

    def _stop_without_parent(self) -> None:
        if os.getppid() != self.parent:
            log.warning("the supervisor is gone: finishing and stopping")
            self.parent = os.getppid()
            os.kill(os.getpid(), signal.SIGTERM)


def main(settings: Settings, parent: int) -> None:
    """Load the models, then take jobs until told to stop (SIGTERM finishes the one in hand).

    parent: id of the process without which this one is to stop.
    """
    logs.configure(settings.log_format)
    traces.configure("worker")
    quiet_loading()
    store_connection = connect(settings.redis_url)
    _await_broker(store_connection)  # before the models: they take long to load for nothing
    catalog = load_catalog(settings.models_file)
    device = best_device(settings.device)
    memory = limited(device, settings.memory_bytes)
    models = WarmModels(catalog, device, settings.max_models)
    drawing = Drawing(models, memory, Needs(store_connection))
    warm = settings.warm_models
    for name in catalog.warm_in(settings.pool) if warm is None else warm:
        drawing.warm_up(name)
    memory.begin()
    runner = Runner(
        store=JobStore(store_connection),
        queue=JobQueue(store_connection, settings.pool),
        places=Places.of(settings),
        drawing=drawing,
        lease_seconds=settings.lease_seconds,
        pulse=Pulse(),
        checkpoint_steps=settings.checkpoint_steps,
        guard=Guard(Rules.of(settings)) if settings.fetch_images else None,
    )
    serve_with(runner)
    signal.signal(HAND_BACK, lambda *_: runner.leaving.set())
    worker = WarmWorker(
        [settings.pool],
        name=workers.new_name(),
        connection=connect_to_block(settings.redis_url),
        serializer="json",
        worker_ttl=_RQ_TTL_SECONDS,
        log_job_description=False,
    )
    worker.log_result_lifespan = False
    heart = Heart(worker, runner, settings, parent)
    heart.beat()
    heart.start()
    try:
        worker.work(logging_level="WARNING")
    finally:
        heart.stop()


def _await_broker(redis: Redis) -> None:
    while True:
        try:
            redis.ping()
            return
        except RedisError as error:
            log.warning("waiting for the broker: %s", error)
            time.sleep(1)


if __name__ == "__main__":
    main(Settings(), parent=int(sys.argv[1]) if sys.argv[1:] else os.getppid())
