"""How far an attempt's loop is, kept beside its files for the attempt after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from core.contract.artifacts import CHECKPOINT
from core.jobs.store import Claim
from core.storage.artifacts import ArtifactStore

log = logging.getLogger(__name__)


class HandedBack(Exception):
    """The run ended at a checkpoint because its worker has to go."""


class CheckpointFiles:
    """The checkpoints of one attempt. Each takes the place of the one before."""

    def __init__(
        self, artifacts: ArtifactStore, claim: Claim, every: int, leaving: Callable[[], bool]
    ) -> None:
        """every: steps from one to the next; 0 is none. leaving: whether the worker has to go."""
        self._artifacts, self._claim = artifacts, claim
        self._every, self._leaving = every, leaving
        self._steps = 0

    def earlier(self) -> Iterator[bytes]:
        """What earlier attempts left, the last one's first."""
        for attempt in range(self._claim.attempt - 1, 0, -1):
            try:
                yield self._artifacts.read(self._claim.job.id, attempt, CHECKPOINT)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning("checkpoint of job %s not read: %s", self._claim.job.id, error)

    def offer(self, save: Callable[[], bytes]) -> None:
        """Keep what `save` gives every few steps. Raises HandedBack where the worker has to go."""
        leaving = self._leaving()
        self._steps += 1
        if leaving or (self._every and self._steps % self._every == 0):
            try:
                self._artifacts.put(self._claim.job.id, self._claim.attempt, CHECKPOINT, save())
            except OSError as error:
                # Without one the next attempt does more again, and nothing is lost.
                log.warning("no more checkpoints of job %s: %s", self._claim.job.id, error)
                self._every = 0  # a storage that is silent would hold up the loop each time
        if leaving:
            raise HandedBack
