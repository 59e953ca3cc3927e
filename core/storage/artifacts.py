"""The files of jobs."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO

from core.contract.artifacts import ARTIFACT_NAME
from core.storage.blobs import ANY_BYTES, Blobs

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")


@dataclass(frozen=True)
class ArtifactStore:
    """Files of jobs at `<job>/<attempt>/<name>`. Everything raises OSError.

    Writing makes nothing visible. A file counts once the job record names it and the attempt
    that made it, which one compare-and-set does; so a late attempt can write but never be
    seen.
    """

    blobs: Blobs

    def put(
        self, job_id: str, attempt: int, name: str, data: bytes, media_type: str = ANY_BYTES
    ) -> None:
        """Store a file durably, whole or not at all."""
        self.blobs.put(_name(job_id, attempt, name), data, media_type)

    def read(self, job_id: str, attempt: int, name: str) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        return self.blobs.read(_name(job_id, attempt, name))

    def open(self, job_id: str, attempt: int, name: str) -> BinaryIO:
        """A file that is never put again, part by part. Raises FileNotFoundError."""
        return self.blobs.open(_name(job_id, attempt, name))

    def link(self, job_id: str, attempt: int, name: str, seconds: int) -> str | None:
        """A URL of the storage itself by which anyone may read a file for so long, if it has such.

        Raises FileNotFoundError.
        """
        blob = self.blobs.look(_name(job_id, attempt, name))
        return self.blobs.link(blob.name, seconds)

    def delete(self, job_id: str) -> None:
        """Remove all files of a job. Missing files are fine."""
        self.blobs.remove(blob.name for blob in self.blobs.under(_folder(job_id)))

    def discard(self, job_id: str, attempt: int, keep: Collection[str] = ()) -> None:
        """Remove the files of one attempt but those named. Missing files are fine."""
        folder = f"{_folder(job_id)}/{attempt}"
        kept = {f"{folder}/{name}" for name in keep}
        found = [blob.name for blob in self.blobs.under(folder)]
        self.blobs.remove(name for name in found if name not in kept)

    def untouched(self, seconds: float) -> list[str]:
        """Ids of jobs with files, none of them written in the last `seconds`."""
        written_at: dict[str, float] = {}
        for blob in self.blobs.under():
            job_id = blob.name.partition("/")[0]
            written_at[job_id] = max(blob.written_at, written_at.get(job_id, blob.written_at))
        since = time.time() - seconds
        return [job for job, at in written_at.items() if at < since and _JOB_ID.fullmatch(job)]

    def check(self) -> None:
        """Raise OSError if files can't be written."""
        self.blobs.check()


def _folder(job_id: str) -> str:
    # Ids and names come from the record, but a path is never built from the unchecked.
    if not _JOB_ID.fullmatch(job_id):
        raise FileNotFoundError(job_id)
    return job_id


def _name(job_id: str, attempt: int, name: str) -> str:
    if not ARTIFACT_NAME.fullmatch(name):
        raise FileNotFoundError(name)
    return f"{_folder(job_id)}/{attempt}/{name}"
