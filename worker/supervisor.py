"""Keeps one worker process alive and reaps what dead ones leave. It never loads torch."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from redis.exceptions import RedisError

from core.contract.settings import Settings
from core.jobs.broker import connect
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.turns import take_turn
from core.storage.places import Places
from core.telemetry import logs
from worker.leaving import HAND_BACK, HAND_BACK_SECONDS
from worker.reaper import reap, sweep
from worker.webhooks import Webhooks

log = logging.getLogger(__name__)

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads on the CPU sleep while they wait for each other: spinning, a set took 2 minutes
instead of 3 seconds as soon as one other process was busy on 2 cores."""

_REAP_EVERY_SECONDS = 2.0
_SWEEP_EVERY_SECONDS = 600.0
_SWEEP_AFTER_SECONDS = 3600.0
_STEADY_SECONDS = 10.0
"""A child that lived this long was no failure to start, and is replaced at once."""
_LONGEST_PAUSE_SECONDS = 30.0


class Supervisor:
    """Starts the child, replaces it when it dies, runs the reaper, passes on SIGTERM."""

    def __init__(self, settings: Settings) -> None:
        redis = connect(settings.redis_url)
        self.settings = settings
        self.store = JobStore(redis)
        self.queue = JobQueue(redis, settings.pool)
        self.places = Places.of(settings)
        self.webhooks = Webhooks(settings) if settings.send_webhooks else None
        self.child: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.failures = 0
        self.stopping = False
        self.broker_away = False
        self.spare_until = 0.0

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        next_start = next_reap = 0.0
        threading.Thread(target=self._sweep_forever, name="sweeper", daemon=True).start()
        if self.webhooks is not None:
            self.webhooks.start()
        try:
            while not self.stopping:
                now = time.monotonic()
                if self.child is not None and self.child.poll() is not None:
                    next_start = now + self._bury(now)
                if self.child is None and now >= next_start:
                    self._start(now)
                if now >= next_reap:
                    self._tend(self._reap)
                    next_reap = now + _REAP_EVERY_SECONDS
                time.sleep(0.2)
        finally:
            if self.webhooks is not None:
                self.webhooks.stop()
            self._end_child()
            if self.webhooks is not None:
                self.webhooks.wait()

    def _reap(self) -> None:
        """Give back what dead workers had.

        While the broker was away nobody could renew a lease, so the living get time for it first.
        """
        if self.broker_away:
            self.store.redis.ping()
            self.broker_away = False
            self.spare_until = time.monotonic() + self.settings.lease_seconds
        if time.monotonic() >= self.spare_until:
            reap(self.store, self.queue, self.settings.max_attempts)

    def _sweep_forever(self) -> None:
        """In a thread of its own, since a bucket may take minutes to list."""
        while True:
            time.sleep(_SWEEP_EVERY_SECONDS)
            self._tend(self._sweep)

    def _sweep(self) -> None:
        bucket = self.settings.storage_url
        # One for all: what is cheap on a disk is a request for every thousand objects of a bucket.
        if bucket is None or take_turn(self.store.redis, f"sweep {bucket}", _SWEEP_EVERY_SECONDS):
            sweep(self.store, self.places.artifacts, _SWEEP_AFTER_SECONDS)
            self.places.images.sweep()

    def _start(self, now: float) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the supervisor alone.
        self.child = subprocess.Popen(
            [sys.executable, "-m", "worker.child", str(os.getpid())],
            env=_WAITING | os.environ | self.settings.environment(),  # it reads what we read
            start_new_session=True,
        )
        self.started_at = now
        log.info("worker process %d started", self.child.pid)

    def _bury(self, now: float) -> float:
        """Note a dead child. Returns the seconds to wait before the next one."""
        assert self.child is not None
        log.warning("worker process %d ended with %s", self.child.pid, self.child.returncode)
        self.child = None
        self.failures = 0 if now - self.started_at > _STEADY_SECONDS else self.failures + 1
        pause = 2.0 ** (self.failures - 2)
        return min(pause, _LONGEST_PAUSE_SECONDS) if self.failures > 1 else 0.0

    def _tend(self, work: Callable[[], None]) -> None:
        """Do a round of work; no failure of it may end the supervisor."""
        try:
            work()
        except RedisError as error:
            log.warning("the broker does not answer: %s", error)
            self.broker_away = True
        except OSError as error:
            log.warning("the storage does not answer: %s", error)
        except Exception:
            log.exception("a round of reaping failed")

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _end_child(self) -> None:
        """Let the child finish its job; if it takes too long, hand it back; then end it.

        The lease of a job that even then goes on ends, and another supervisor gives it back.
        """
        if self.child is None or self.child.poll() is not None:
            return
        asked = ((signal.SIGTERM, self.settings.drain_seconds), (HAND_BACK, HAND_BACK_SECONDS))
        for number, patience in asked:
            self.child.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(patience)
                return
        self.child.kill()
        self.child.wait()


def main(settings: Settings) -> None:
    """Supervise one worker with these settings."""
    logs.configure(settings.log_format)
    Supervisor(settings).run()
