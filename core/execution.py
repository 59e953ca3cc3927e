"""From a model and an effective request to finished files: what worker and command line share."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from core.catalog import Technique
from core.contract.errors import (
    ImageUnreachable,
    InvalidImage,
    ModelUnavailable,
    StorageUnavailable,
)
from core.contract.images import Upload
from core.contract.jobs import Artifact, JobWarning, Progress
from core.contract.models import ModelSpec
from core.contract.pictures import File, Report, Surroundings
from core.contract.requests import JobRequest, Output
from core.diffusion.model import DiffusionModel
from core.outbound.fetching import Limits, fetch
from core.outbound.guard import Guard
from core.outbound.links import fetched
from core.storage.images import MAX_SIZE_BYTES
from core.storage.pictures import describe, describe_file, encode
from core.storage.places import Places
from core.weights.hub import Told, with_weights_here
from core.weights.parts import WeightsMissing

log = logging.getLogger(__name__)

_OF_THE_RUN = {"metadata", "priority", "deadline_seconds", "ttl_seconds", "previews", "webhook"}
"""Fields of a request that no pixel depends on."""

_VERSIONED = ("attention-please", "diffusers", "torch", "transformers")


def execute(
    technique: Technique, model: DiffusionModel, request: JobRequest, around: Surroundings
) -> Generator[tuple[Artifact, bytes]]:
    """Yield each file of the job as soon as it is made, described.

    `request` is effective (`JobRequest.resolve`). Close it where it isn't read to its end, so
    that the model is left as it was found. Raises JobFailure.
    """
    recipe = recipe_of(technique, model, request)
    with closing(technique.load()(model, request, around)) as files:
        for made in files:
            if isinstance(made, File):
                yield describe_file(made), made.data
            else:
                output = Output() if made.exact else request.output
                data = encode(made.image, output, recipe)
                yield describe(made, data, output), data


@dataclass(frozen=True)
class Remarks:
    """What a technique has to say of a job beside its files."""

    warnings: list[JobWarning] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)


def brought(spec: ModelSpec, told: Told = lambda here, whole: None) -> ModelSpec:
    """`spec` for `load_model`, its weights fetched where they are not here.

    told: the bytes that are here, and the whole, meanwhile; it may raise. Raises ModelUnavailable.
    """
    try:
        return with_weights_here(spec, told)
    except WeightsMissing as missing:
        log.error("model %s: %s", spec.name, missing)  # callers are told of no path
        detail = f"The weights of {spec.name} are not here."
        raise ModelUnavailable(detail, retryable=missing.retryable) from missing


def surroundings(
    places: Places, owner: str, model: DiffusionModel, report: Report, remarks: Remarks
) -> Surroundings:
    """The surroundings of one job of `owner` on `model`; what it remarks goes into `remarks`."""

    def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        parts = [owner, model.fingerprint, str(model.device.type), str(model.dtype), key]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        listed = {"model": model.spec.name} | dict(note) if note else {}
        return places.references.get_or_make(owner, f"ref_{digest}", make, listed)

    def image(named: Upload) -> Image.Image:
        with storage_failures("A picture of the job could not be read."):
            return places.images.open(owner, named.upload)

    return Surroundings(
        report=report,
        image=image,
        cached=cached,
        warn=remarks.warnings.append,
        measure=remarks.measures.__setitem__,
    )


def with_fetched_images(
    request: JobRequest, places: Places, owner: str, guard: Guard | None, report: Report
) -> JobRequest:
    """An effective request whose pictures are all stored as uploads of `owner`.

    guard: None where no picture may be fetched. report: called before each.
    Raises ImageUnreachable, InvalidImage or StorageUnavailable.
    """
    count = itertools.count()

    def fetched_image(url: str) -> Upload:
        if guard is None:
            raise ImageUnreachable("Pictures are not fetched by their URL here.")
        done = next(count)
        report(Progress(stage="fetching", step=done, steps=done + 1, fraction=0.0))
        data = fetch(guard, url, Limits(MAX_SIZE_BYTES))
        try:
            with storage_failures("A picture of the job could not be stored."):
                return Upload(upload=places.images.put(owner, data).id)
        except InvalidImage as error:
            raise InvalidImage(f"What is at {urlsplit(url).hostname}: {error.detail}") from None

    return fetched(request, fetched_image)


@contextmanager
def storage_failures(detail: str) -> Iterator[None]:
    """A block in which an OSError can only be the storage's: it ends the job as that."""
    try:
        yield
    except OSError as error:
        log.error("the storage failed: %s", error)
        raise StorageUnavailable(detail) from error


def recipe_of(technique: Technique, model: DiffusionModel, request: JobRequest) -> dict[str, Any]:
    """All it takes to make the same picture again; nothing of when or for whom."""
    return {
        "technique": technique.name,
        "request": request.model_dump(mode="json", exclude=_OF_THE_RUN),
        "model": {"name": model.spec.name, "fingerprint": model.fingerprint},
        "device": model.device.type,
        "versions": {package: version(package) for package in _VERSIONED},
    }
