"""Small pictures of what a job is drawing, kept beside its files for who follows its events."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable

from PIL import Image
from redis.exceptions import RedisError

from core.contract.artifacts import PREVIEW, ArtifactStore
from core.jobs.store import Claim, JobStore

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
        data = io.BytesIO()
        image = draw()
        image.thumbnail((_SIDE, _SIDE))
        image.save(data, "JPEG", quality=80)
        self._last, self._count = time.monotonic(), self._count + 1
        job_id, attempt = self._claim.job.id, self._claim.attempt
        try:
            self._artifacts.put(job_id, attempt, PREVIEW, data.getvalue())
            self._store.note_preview(self._claim, self._lease_seconds, self._count)
        except (OSError, RedisError) as error:
            log.warning("no preview of job %s: %s", job_id, error)
