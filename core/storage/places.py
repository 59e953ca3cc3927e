"""Where a deployment keeps its files: the folders of the data directory, named once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.contract.errors import NotFound
from core.contract.stored import KeptReference, Stored
from core.storage.cache import DiskCache
from core.storage.disk import DiskStore
from core.storage.images import ImageStore

MAX_REFERENCE_BYTES = 2_000_000_000
"""Inverted references kept on disk; one of SDXL in 50 steps takes 7 MB."""


@dataclass(frozen=True)
class Places:
    """What outlives a process: files of jobs, uploaded pictures, inverted references."""

    artifacts: DiskStore
    images: ImageStore
    references: DiskCache

    @classmethod
    def under(cls, data_dir: Path) -> Places:
        """Those of a data directory."""
        return cls(
            artifacts=DiskStore(data_dir / "artifacts"),
            images=ImageStore(data_dir / "images"),
            references=DiskCache(data_dir / "references", MAX_REFERENCE_BYTES),
        )

    def stored(self, owner: str) -> Stored:
        """What requests of `owner` may name."""
        return Stored(partial(self.images.see, owner), partial(self._reference, owner))

    def kept_references(self, owner: str) -> list[tuple[str, KeptReference]]:
        """The references of `owner` and their ids, the most recently used first."""
        return [
            (key, KeptReference.model_validate(note["reference"]))
            for key, note in self.references.notes()
            if note["owner"] == owner and "reference" in note
        ]

    def _reference(self, owner: str, reference_id: str) -> KeptReference:
        note = self.references.note(reference_id)
        if note is None or note["owner"] != owner or "reference" not in note:
            raise NotFound(f"There is no reference {reference_id}, or it is no longer kept.")
        return KeptReference.model_validate(note["reference"])
