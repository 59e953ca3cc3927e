"""Keeps one worker process alive and reaps what dead ones leave. It never loads torch."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from redis import Redis
from redis.exceptions import RedisError

from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from worker.reaper import reap

log = logging.getLogger(__name__)

_REAP_EVERY_SECONDS = 2.0
_STEADY_SECONDS = 20.0
"""A child that lived this long was no failure to start, and is replaced at once."""
_LONGEST_PAUSE_SECONDS = 30.0


class Supervisor:
    """Starts the child, replaces it when it dies, runs the reaper, passes on SIGTERM."""

    def __init__(self, settings: Settings, grace_seconds: float = 30.0) -> None:
        redis = Redis.from_url(settings.redis_url, socket_timeout=5)
        self.settings = settings
        self.grace_seconds = grace_seconds
        self.store = JobStore(redis)
        self.queue = JobQueue(redis, settings.pool)
        self.child: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.failures = 0
        self.stopping = False

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        next_start = next_reap = 0.0
        while not self.stopping:
            now = time.monotonic()
            if self.child is not None and self.child.poll() is not None:
                next_start = now + self._bury(now)
            if self.child is None and now >= next_start:
                self._start(now)
            if now >= next_reap:
                self._reap()
                next_reap = now + _REAP_EVERY_SECONDS
            time.sleep(0.2)
        self._end_child()

    def _start(self, now: float) -> None:
        # A session of its own: Ctrl-C in the terminal reaches the supervisor alone.
        self.child = subprocess.Popen(
            [sys.executable, "-m", "worker.child"],
            env=os.environ | self.settings.environment(),  # the child reads what we read
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

    def _reap(self) -> None:
        try:
            reap(self.store, self.queue, self.settings.max_attempts)
        except RedisError as error:
            log.warning("the broker does not answer: %s", error)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _end_child(self) -> None:
        """Let the child finish its job within the grace, then end it: its job is given back."""
        if self.child is None or self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(self.grace_seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def main(settings: Settings) -> None:
    """Supervise one worker with these settings."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    Supervisor(settings).run()
