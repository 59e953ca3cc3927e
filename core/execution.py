"""Run one effective request to finished files: what worker and command line share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.catalog import Technique
from core.contract.jobs import Artifact, JobWarning
from core.contract.pictures import Report, Surroundings
from core.contract.requests import JobRequest
from core.diffusion.model import DiffusionModel
from core.storage.cache import MAX_REFERENCE_BYTES, DiskCache
from core.storage.images import ImageStore
from core.storage.pictures import describe, encode

_VERSIONED = ("attention-please", "diffusers", "torch", "transformers")


def execute(
    technique: Technique, model: DiffusionModel, request: JobRequest, around: Surroundings
) -> Iterator[tuple[Artifact, bytes]]:
    """Yield each file of the job as soon as it is made, described.

    `request` is effective (`JobRequest.resolve`). Raises JobFailure.
    """
    recipe = recipe_of(technique, model, request)
    for picture in technique.load()(model, request, around):
        data = encode(picture.image, request.output, recipe)
        yield (
            describe(
                picture.stem, picture.kind, picture.image, data, request.output, picture.metadata
            ),
            data,
        )


@dataclass(frozen=True)
class Remarks:
    """What a technique has to say of a job beside its pictures."""

    warnings: list[JobWarning] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What outlives a job and is read by later ones."""

    images: ImageStore
    references: DiskCache

    @classmethod
    def under(cls, data_dir: Path) -> Kept:
        """In a data directory."""
        return cls(
            images=ImageStore(data_dir / "images"),
            references=DiskCache(data_dir / "references", MAX_REFERENCE_BYTES),
        )

    def around(
        self, owner: str, model: DiffusionModel, report: Report, remarks: Remarks
    ) -> Surroundings:
        """The surroundings of one job of `owner`; what it remarks goes into `remarks`."""

        def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
            parts = [owner, model.fingerprint, str(model.device.type), str(model.dtype), key]
            digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
            about = {"owner": owner, "model": model.spec.name} | dict(note)
            return self.references.get_or_make(f"ref_{digest}", make, about)

        return Surroundings(
            report=report,
            image=lambda image: self.images.open(owner, image.upload),
            cached=cached,
            warn=remarks.warnings.append,
            measure=remarks.measures.__setitem__,
        )


def recipe_of(technique: Technique, model: DiffusionModel, request: JobRequest) -> dict[str, Any]:
    """All it takes to make the same picture again; nothing of when or for whom."""
    return {
        "technique": technique.name,
        "request": request.model_dump(
            mode="json", exclude={"metadata", "priority", "deadline_seconds", "ttl_seconds"}
        ),
        "model": {"name": model.spec.name, "fingerprint": model.fingerprint},
        "device": model.device.type,
        "versions": {package: version(package) for package in _VERSIONED},
    }
