"""Where pictures are kept: the protocol, and how a name is made safe."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import BinaryIO, Protocol

CHECKPOINT = "checkpoint.pt"
"""Beside the files of an attempt, and never published: how far its loop is."""

ARTIFACT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

PREVIEW = "preview.jpg"
"""Beside the files of a running attempt, and never published: how far its pictures are."""


class ArtifactStore(Protocol):
    """Files of jobs, written under one attempt each.

    Writing makes nothing visible. A file counts once the job record names it and the attempt
    that made it, which one compare-and-set does; so a late attempt can write but never be
    seen.
    """

    def put(self, job_id: str, attempt: int, name: str, data: bytes) -> None:
        """Store a file durably, whole or not at all. Raises OSError."""
        ...

    def open(self, job_id: str, attempt: int, name: str) -> BinaryIO:
        """Read a file. Raises FileNotFoundError."""
        ...

    def delete(self, job_id: str) -> None:
        """Remove all files of a job. Missing files are fine."""
        ...

    def discard(self, job_id: str, attempt: int, keep: Collection[str] = ()) -> None:
        """Remove the files of one attempt but those named. Missing files are fine."""
        ...

    def untouched(self, seconds: float) -> list[str]:
        """Ids of jobs with files, none of them written in the last `seconds`."""
        ...

    def check(self) -> None:
        """Raise OSError if files can't be written."""
        ...
