"""Where a deployment keeps its files: three folders, of the data directory or of a bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.contract.errors import NotFound
from core.contract.settings import Settings
from core.contract.stored import KeptReference, Stored
from core.storage.artifacts import ArtifactStore
from core.storage.blobs import Blobs
from core.storage.cache import Cache
from core.storage.disk import DiskBlobs
from core.storage.images import ImageStore

MAX_REFERENCE_BYTES = 2_000_000_000
"""Inverted references that are kept; one of SDXL in 50 steps takes 7 MB."""


@dataclass(frozen=True)
class Places:
    """What outlives a process: files of jobs, uploaded pictures, inverted references."""

    artifacts: ArtifactStore
    images: ImageStore
    references: Cache

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """Those of a deployment. Opens nothing yet.

        Raises ValueError where there is to be a bucket and the extra `s3` is not installed.
        """
        if settings.storage_url is None:
            return cls.under(settings.data_dir)
        try:
            from core.storage.bucket import BucketBlobs
        except ModuleNotFoundError:
            raise ValueError("Object storage needs the extra: attention-please[s3].") from None
        return cls._in(partial(BucketBlobs.of, settings))

    @classmethod
    def under(cls, data_dir: Path) -> Places:
        """Those of a data directory."""
        return cls._in(lambda folder: DiskBlobs(data_dir / folder))

    @classmethod
    def _in(cls, folder: Callable[[str], Blobs]) -> Places:
        return cls(
            artifacts=ArtifactStore(folder("artifacts")),
            images=ImageStore(folder("images")),
            references=Cache(folder("references"), MAX_REFERENCE_BYTES),
        )

    def stored(self, owner: str) -> Stored:
        """What requests of `owner` may name."""
        return Stored(partial(self.images.see, owner), partial(self._reference, owner))

    def kept_references(self, owner: str) -> list[tuple[str, KeptReference]]:
        """The references of `owner` and their ids, the most recently used first."""
        return [
            (key, KeptReference.model_validate(note))
            for key, note in self.references.notes(owner)
            if note
        ]

    def _reference(self, owner: str, reference_id: str) -> KeptReference:
        note = self.references.note(owner, reference_id)
        if not note:
            raise NotFound(f"There is no reference {reference_id}, or it is no longer kept.")
        return KeptReference.model_validate(note)
