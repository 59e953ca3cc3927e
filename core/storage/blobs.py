"""Named bytes: what artifacts, pictures and kept references stand on, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

ANY_BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Blob:
    """What is known of a blob without its bytes."""

    name: str
    size_bytes: int
    written_at: float
    """Unix time of the last `put`, by the clock of where it lies."""


class Blobs(Protocol):
    """Bytes by name: a relative path of plain names with `/` between them.

    Who calls has checked the names. Everything raises OSError, and none waits for long: minutes
    for what is large, seconds for a storage that is silent.
    """

    def put(self, name: str, data: bytes, media_type: str = ANY_BYTES) -> None:
        """Store durably, whole or not at all, over what was there."""
        ...

    def read(self, name: str) -> bytes:
        """All of a blob, of one `put`. Raises FileNotFoundError."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A blob that is read part by part, and not put again meanwhile. Raises FileNotFoundError.

        The parts are in memory one after the other.
        """
        ...

    def look(self, name: str) -> Blob:
        """What is there under a name. Raises FileNotFoundError."""
        ...

    def under(self, folder: str = "") -> Iterator[Blob]:
        """Everything whose name begins with `folder` and a slash, in no order; "" is everything.

        On a disk that is also what writers left that died.
        """
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove blobs. Missing ones are fine."""
        ...

    def link(self, name: str, seconds: int) -> str | None:
        """A URL by which anyone may read a blob for so long; None where there are none."""
        ...

    def check(self) -> None:
        """Raise OSError if nothing can be written."""
        ...
