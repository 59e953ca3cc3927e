"""Sends what is in the outbox: threads of the supervisor, which a slow receiver may hold up."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.exceptions import RedisError

from core.contract.settings import Settings
from core.contract.webhooks import DeliveryStatus, Try
from core.jobs.broker import connect
from core.jobs.outbox import Leased, Outbox
from core.outbound.guard import Guard, Unreachable
from core.outbound.rules import Rules
from core.outbound.sending import owner_secret, send
from core.storage.secret import signing_secret

log = logging.getLogger(__name__)

_GONE = 410


@dataclass(frozen=True)
class Pace:
    """When deliveries are tried. As it is, the last of the tries comes after 21 hours."""

    first_seconds: float = 10.0
    factor: float = 3.0
    longest_seconds: float = 6 * 3600.0
    tries: int = 11
    spread: float = 0.2
    """Part of a pause by which it may be longer or shorter, so that none come in waves."""

    send_seconds: float = 10.0
    """For one try, from the look-up of the name to the answer."""
    lease_seconds: float = 30.0
    """After which another sender tries again what was in the hands of one that died."""
    look_seconds: float = 0.5
    """Between looks into an empty outbox."""
    threads: int = 8
    slow_seconds: float = 2.0
    """An owner whose last try took longer is slow,"""
    slow_at_once: int = 2
    """and gets no more threads than these, so that others' deliveries come through;"""
    put_off_seconds: float = 5.0
    """what is beyond them waits this long before it is looked at again."""

    def pause_after(self, tries: int) -> float | None:
        """Seconds between the try of this number and the next; None where it was the last."""
        if tries >= self.tries:
            return None
        pause = min(self.first_seconds * self.factor ** (tries - 1), self.longest_seconds)
        return pause * random.uniform(1 - self.spread, 1 + self.spread)


class _Lanes:
    """How many threads each owner has, of which a slow one has few."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.lock = threading.Lock()
        self.taken: Counter[str] = Counter()
        self.slow: set[str] = set()

    def enter(self, owner: str) -> bool:
        """Take a thread for `owner`, if it may have one more."""
        with self.lock:
            if owner in self.slow and self.taken[owner] >= self.pace.slow_at_once:
                return False
            self.taken[owner] += 1
            return True

    def leave(self, owner: str, sent: Try | None) -> None:
        """Give it back, after a try or where none came about."""
        with self.lock:
            self.taken[owner] -= 1
            if sent is not None and sent.duration_seconds > self.pace.slow_seconds:
                self.slow.add(owner)
            else:
                self.slow.discard(owner)


class Webhooks:
    """Takes deliveries that are due, one a thread, until it is stopped."""

    def __init__(self, settings: Settings, pace: Pace | None = None) -> None:
        self.outbox = Outbox(connect(settings.redis_url))
        self.guard = Guard(Rules.of(settings))
        self.secret = signing_secret(settings)
        self.pace = pace or Pace()
        self.lanes = _Lanes(self.pace)
        self.stopped = threading.Event()
        self.threads = [
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True)
            for number in range(self.pace.threads)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Take no more deliveries."""
        self.stopped.set()

    def wait(self) -> None:
        """Once stopped, wait for what is being sent; a lease covers what is cut short."""
        until = time.monotonic() + self.pace.send_seconds
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()))

    def deliver_next(self) -> bool:
        """Send one delivery, if one is due, and note how it went. Raises RedisError."""
        leased = self.outbox.lease(self.pace.lease_seconds)
        if leased is None:
            return False
        owner = leased.job.owner
        if not self.lanes.enter(owner):
            self.outbox.put_off(leased, self.pace.put_off_seconds)
            return True
        sent = None
        try:
            sent = self._sent(leased)
        finally:
            self.lanes.leave(owner, sent)
        status, pause = self._outcome(leased, sent)
        self.outbox.settle(leased, sent, status, pause)
        if status == "failed":
            log.warning("delivery %s was given up after %d tries", leased.id, leased.tried + 1)
        return True

    def _sent(self, leased: Leased) -> Try:
        at, began = datetime.now(UTC), time.monotonic()
        secret = owner_secret(self.secret, leased.job.owner)
        body = leased.payload.model_dump_json()
        status_code = reason = None
        try:
            status_code = send(
                self.guard, leased.url, secret, leased.id, body, at, self.pace.send_seconds
            )
        except Unreachable as error:
            reason = error.reason
        seconds = round(time.monotonic() - began, 3)
        return Try(at=at, duration_seconds=seconds, status_code=status_code, reason=reason)

    def _outcome(self, leased: Leased, sent: Try) -> tuple[DeliveryStatus, float]:
        if sent.status_code is not None and 200 <= sent.status_code < 300:
            return "delivered", 0
        pause = self.pace.pause_after(leased.tried + 1)
        if sent.status_code == _GONE or pause is None:
            return "failed", 0
        return "pending", pause

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                found = self.deliver_next()
            except RedisError as error:
                log.warning("the outbox does not answer: %s", error)
                found = False
            except Exception:  # without these threads nobody would be told anything
                log.exception("a delivery failed")
                found = False
            if not found:
                self.stopped.wait(self.pace.look_seconds)
