"""What a technique gives back, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from core.contract.jobs import Progress

Report = Callable[[Progress], None]
"""Called at every step. Raises JobFailure when the run has to end: canceled, too late, lost."""


@dataclass(frozen=True)
class Picture:
    """One finished picture of a job."""

    stem: str
    """Its artifact's name without the suffix, such as `image-000`."""
    kind: str
    """image, reference or grid."""
    image: Image.Image
    metadata: dict[str, Any] = field(default_factory=dict)
