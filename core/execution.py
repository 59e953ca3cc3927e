"""Run one effective request to finished files: what worker and command line share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from core.catalog import Technique
from core.contract.jobs import Artifact
from core.contract.pictures import Report
from core.contract.requests import JobRequest
from core.diffusion.model import DiffusionModel
from core.storage.pictures import describe, encode

_VERSIONED = ("attention-please", "diffusers", "torch", "transformers")


def execute(
    technique: Technique, model: DiffusionModel, request: JobRequest, report: Report
) -> Iterator[tuple[Artifact, bytes]]:
    """Yield each file of the job as soon as it is made, described.

    `request` is effective (`JobRequest.resolve`). Raises JobFailure.
    """
    recipe = recipe_of(technique, model, request)
    for picture in technique.load()(model, request, report):
        data = encode(picture.image, request.output, recipe)
        yield (
            describe(
                picture.stem, picture.kind, picture.image, data, request.output, picture.metadata
            ),
            data,
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
