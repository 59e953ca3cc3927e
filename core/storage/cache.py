"""What could be made again, kept within bounds, the least recently used going first."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.storage.blobs import Blob, Blobs

log = logging.getLogger(__name__)

_NOTE = ".json"
_READ_AT_ONCE = 16


@dataclass(frozen=True)
class Cache:
    """Entries at `<owner>/<key>`, each with a JSON note beside it.

    The note is written anew at each use, so its time is that of the last one. Several processes
    and machines may share one: entries appear whole, and losing a race means computing twice.
    """

    blobs: Blobs
    max_bytes: int

    def get_or_make(
        self, owner: str, key: str, make: Callable[[], bytes], note: Mapping[str, Any]
    ) -> bytes:
        """The entry of `key`, made and kept if it isn't there.

        A storage that does not answer costs the time to make it, never the job.
        """
        name = f"{owner}/{key}"
        kept = self._kept(name)
        data = make() if kept is None else kept
        try:
            if kept is None:
                self.blobs.put(name, data)
            said = json.dumps(note, sort_keys=True).encode()
            self.blobs.put(name + _NOTE, said, "application/json")
            if kept is None:
                self._shrink(name)
        except OSError as error:
            log.warning("%s could not be kept: %s", name, error)
        return data

    def note(self, owner: str, key: str) -> dict[str, Any] | None:
        """The note of an entry. Raises OSError."""
        try:
            note: dict[str, Any] = json.loads(self.blobs.read(f"{owner}/{key}{_NOTE}"))
        except FileNotFoundError:
            return None
        return note

    def notes(self, owner: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Keys and notes of an owner, the most recently used first. Raises OSError."""
        blobs = {blob.name: blob for blob in self.blobs.under(owner)}
        names = [name for name in blobs if name + _NOTE in blobs]
        names.sort(key=lambda name: blobs[name + _NOTE].written_at, reverse=True)
        keys = [name.removeprefix(f"{owner}/") for name in names]
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:  # each may be a request to far away
            for key, note in zip(keys, pool.map(partial(self.note, owner), keys), strict=True):
                if note is not None:
                    yield key, note

    def _kept(self, name: str) -> bytes | None:
        try:
            return self.blobs.read(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("%s could not be read: %s", name, error)
        return None

    def _shrink(self, newest: str) -> None:
        """Remove what was used longest ago, but never the newest."""
        blobs = {blob.name: blob for blob in self.blobs.under()}

        def used_at(blob: Blob) -> float:
            return blobs.get(blob.name + _NOTE, blob).written_at

        entries = [blob for blob in blobs.values() if not blob.name.endswith(_NOTE)]
        size = sum(blob.size_bytes for blob in entries)
        for blob in sorted(entries, key=used_at):
            if size <= self.max_bytes:
                return
            if blob.name != newest:
                size -= blob.size_bytes
                self.blobs.remove([blob.name + _NOTE, blob.name])
