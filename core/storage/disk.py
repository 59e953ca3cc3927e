"""Blobs on a local or shared disk."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from core.storage.blobs import ANY_BYTES, Blob


@dataclass(frozen=True)
class DiskBlobs:
    """Files at `root/<name>`."""

    root: Path

    def put(self, name: str, data: bytes, media_type: str = ANY_BYTES) -> None:
        """Store a file whole or not at all; it has no media type. Raises OSError."""
        write_whole(self.root / name, data)

    def read(self, name: str) -> bytes:
        """All of a file. Raises FileNotFoundError."""
        return (self.root / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        """A file to be read. Raises FileNotFoundError."""
        return (self.root / name).open("rb")

    def look(self, name: str) -> Blob:
        """Size and time of a file. Raises FileNotFoundError."""
        return _seen(name, (self.root / name).stat())

    def under(self, folder: str = "") -> Iterator[Blob]:
        """The files below a folder."""
        for where, _, names in os.walk(self.root / folder, onerror=_raise_unless_gone):
            for path in (Path(where, name) for name in names):
                with suppress(FileNotFoundError):
                    yield _seen(path.relative_to(self.root).as_posix(), path.stat())

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, and the folders that they leave empty."""
        for path in (self.root / name for name in names):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # until one is not empty
                for folder in path.parents[: len(path.relative_to(self.root).parts) - 1]:
                    folder.rmdir()

    def link(self, name: str, seconds: int) -> str | None:
        """None: nobody but us reads this disk."""
        return None

    def check(self) -> None:
        """Raise OSError if files can't be written."""
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as probe:
            probe.write(b"ok")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: aside, synced, then renamed. Raises OSError."""
    aside = path.with_name(f".writing-{secrets.token_hex(8)}")
    file = _new_file(aside)
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _new_file(path: Path) -> BinaryIO:
    for _ in range(3):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # `remove` found the folder empty meanwhile
            return path.open("xb")
    return path.open("xb")


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _seen(name: str, status: os.stat_result) -> Blob:
    return Blob(name, status.st_size, status.st_mtime)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
