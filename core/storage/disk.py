"""The artifact store on a local or shared disk."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from core.contract.artifacts import ARTIFACT_NAME

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")


class DiskStore:
    """Files at `root/<job>/<attempt>/<name>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, job_id: str, attempt: int, name: str, data: bytes) -> None:
        """Store a file whole or not at all."""
        write_whole(self._path(job_id, attempt, name), data)

    def open(self, job_id: str, attempt: int, name: str) -> BinaryIO:
        """Read a file. Raises FileNotFoundError."""
        return self._path(job_id, attempt, name).open("rb")

    def delete(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def discard(self, job_id: str, attempt: int, keep: Collection[str] = ()) -> None:
        """Remove the files of one attempt but those named."""
        folder = self._folder(job_id) / str(attempt)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in keep:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty
            folder.rmdir()

    def untouched(self, seconds: float) -> list[str]:
        """Ids of jobs with files, none of them written in the last `seconds`."""
        since = time.time() - seconds
        return [
            folder.name
            for folder in (self.root.iterdir() if self.root.is_dir() else ())
            if _JOB_ID.fullmatch(folder.name) and _last_written(folder) < since
        ]

    def check(self) -> None:
        """Raise OSError if files can't be written."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as probe:
            probe.write(b"ok")

    def _folder(self, job_id: str) -> Path:
        # Ids and names come from the record, but a path is never built from the unchecked.
        if not _JOB_ID.fullmatch(job_id):
            raise FileNotFoundError(job_id)
        return self.root / job_id

    def _path(self, job_id: str, attempt: int, name: str) -> Path:
        if not ARTIFACT_NAME.fullmatch(name):
            raise FileNotFoundError(name)
        return self._folder(job_id) / str(attempt) / name


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _last_written(folder: Path) -> float:
    """When a job's folder or one of its attempts last changed, in Unix time."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: aside, synced, then renamed. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".writing-{secrets.token_hex(8)}")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
