"""Small pictures of what a job is drawing, kept beside its files for who follows its events."""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Callable

import torch
from PIL import Image
from redis.exceptions import RedisError

from core.contract.artifacts import PREVIEW
from core.contract.errors import NumericsFailure
from core.jobs.store import Claim, JobStore
from core.storage.artifacts import ArtifactStore

log = logging.getLogger(__name__)

_EVERY_SECONDS = 0.5
_SIDE = 256


class Previews:
    """The previews of one attempt. Each takes the place of the one before."""

    def __init__(
        self, store: JobStore, artifacts: ArtifactStore, claim: Claim, lease_seconds: float
    ) -> None:
        self._store, self._artifacts = store, artifacts
        self._claim, self._lease_seconds = claim, lease_seconds
        self._count = 0
        self._last = 0.0

    def offer(self, draw: Callable[[], Image.Image]) -> None:
        """Keep what `draw` makes, unless the last one is from just now. No failure ends a job."""
        if time.monotonic() - self._last < _EVERY_SECONDS:
            return
        job_id, attempt = self._claim.job.id, self._claim.attempt
        try:
            self._artifacts.put(job_id, attempt, PREVIEW, _small(draw()))
            self._store.note_preview(self._claim, self._lease_seconds, self._count + 1)
            self._count += 1
        except OSError as error:
            log.warning("no more previews of job %s: %s", job_id, error)
            self._last = math.inf  # a storage that is silent would hold up every step
            return
        except (RedisError, NumericsFailure, torch.OutOfMemoryError) as error:
            # What is expected in the midst of a run may not be drawn where its end can.
            log.warning("no preview of job %s: %s", job_id, error)
        self._last = time.monotonic()


def _small(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.thumbnail((_SIDE, _SIDE))
    image.save(data, "JPEG", quality=80)
    return data.getvalue()
