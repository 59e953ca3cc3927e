"""A cache of bytes on disk, bounded, the least recently used going first."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.storage.disk import write_whole


@dataclass(frozen=True)
class DiskCache:
    """Entries at `root/<key>`, each with a JSON note at `root/<key>.json`.

    Several processes may use one folder: files appear whole, and losing a race means
    computing twice.
    """

    root: Path
    max_bytes: int

    def get_or_make(self, key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        """The entry of `key`, made and kept if it isn't there."""
        path = self.root / key
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            os.utime(path)
            return data
        data = make()
        write_whole(path.with_suffix(".json"), json.dumps(note, sort_keys=True).encode())
        write_whole(path, data)
        self._shrink()
        return data

    def note(self, key: str) -> dict[str, Any] | None:
        """The note of an entry that is there."""
        path = self.root / key
        try:
            path.stat()
            note: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
        except FileNotFoundError:
            return None
        return note

    def notes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Keys and notes, the most recently used first."""
        for path in reversed(self._by_use()):
            with contextlib.suppress(FileNotFoundError):
                yield path.name, json.loads(path.with_suffix(".json").read_bytes())

    def _by_use(self) -> list[Path]:
        """Entries, the least recently used first."""
        found = []
        for path in self.root.glob("*") if self.root.is_dir() else ():
            if not path.suffix and not path.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path.stat().st_mtime, path))
        return [path for _, path in sorted(found)]

    def _shrink(self) -> None:
        entries = self._by_use()
        sizes = {path: path.stat().st_size for path in entries if path.exists()}
        for path in entries[:-1]:
            if sum(sizes.values()) <= self.max_bytes:
                return
            sizes.pop(path, None)
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
