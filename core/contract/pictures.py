"""What a technique gives back, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from core.contract.errors import NotFound
from core.contract.images import Upload
from core.contract.jobs import JobWarning, Progress

Report = Callable[[Progress], None]
"""Called at every step. Raises JobFailure when the run has to end: canceled, too late, lost."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a job's loops leave how far they are."""

    earlier: Callable[[], Iterable[bytes]] = lambda: ()
    """What earlier attempts at the job left, the last one's first."""
    offer: Callable[[Callable[[], bytes]], None] = lambda save: None
    """Offers the state of a loop before a step; `save` gives it, where it is wanted now. It raises
    where the run has to end here, for another worker to go on with."""


@dataclass(frozen=True)
class Surroundings:
    """What a technique may ask for while it runs."""

    report: Report
    image: Callable[[Upload], Image.Image]
    """A picture the request names, in RGB. Raises InvalidImage or NotFound."""
    cached: Callable[[str, Callable[[], bytes], Mapping[str, Any]], bytes]
    """`cached(key, make, note)`: what was made under `key` before, or what `make` gives now.

    The key is of this model and owner already. The note says what a list of references shows;
    an empty one keeps it off that list.
    """
    finished: Callable[[str], Image.Image | None] = lambda stem: None
    """The picture of this stem that an earlier attempt at the job finished, if it did."""
    checkpoints: Checkpoints = Checkpoints()
    warn: Callable[[JobWarning], None] = lambda warning: None
    """Tells the caller of something that did not go as asked, though the job goes on."""
    preview: Callable[[Callable[[], Image.Image]], None] = lambda draw: None
    """Offers a small picture of what is being drawn; `draw` makes it, where it is wanted now."""
    measure: Callable[[str, Any], None] = lambda name, value: None
    """Adds a technique's own figure to the job's measures."""


def _no_image(_: Upload) -> Image.Image:
    raise NotFound("There are no uploaded pictures here.")


def alone(report: Report = lambda progress: None) -> Surroundings:
    """The surroundings outside any job: no uploaded pictures, and nothing is kept."""
    return Surroundings(report, image=_no_image, cached=lambda key, make, note: make())


@dataclass(frozen=True)
class Picture:
    """One finished picture of a job."""

    stem: str
    """Its artifact's name without the suffix, such as `image-000`."""
    kind: str
    """What it is, such as image, reference, output, mask or grid."""
    image: Image.Image
    metadata: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    """Its values mean something, so that it is a PNG whatever the request's output says."""


@dataclass(frozen=True)
class File:
    """One finished file of a job that is no picture."""

    name: str
    kind: str
    media_type: str
    data: bytes


Made = Picture | File
"""What a technique yields."""
