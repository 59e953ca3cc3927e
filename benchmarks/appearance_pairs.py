"""Pairs of drawn scenes for appearance transfer, and what pictures of them are compared by."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.images import Upload
from core.contract.pictures import Surroundings, alone
from training.scenes import Scene, scene
from training.world import BACKGROUNDS, COLOUR_NAMES, STYLES, SUBJECTS, Content, Thing

_STRUCTURE, _APPEARANCE = (f"img_{number:032d}" for number in range(2))


@dataclass(frozen=True)
class Pair:
    """Two scenes of one thing each."""

    structure: Scene
    appearance: Scene
    seed: int

    @property
    def of_one_style(self) -> bool:
        return self.structure.content.style == self.appearance.content.style

    @property
    def of_one_subject(self) -> bool:
        return _subject(self.structure) == _subject(self.appearance)

    def request(self, settings: Mapping[str, Any]) -> AppearanceTransferRequest:
        return AppearanceTransferRequest.model_validate(
            {
                "structure": {"upload": _STRUCTURE},
                "appearance": {"upload": _APPEARANCE},
                "domain": _subject(self.structure),
                "appearance_domain": _subject(self.appearance),
                "seed": self.seed,
                **settings,
            }
        )

    def around(self) -> Surroundings:
        """The surroundings of this pair's jobs, which share their inversions."""
        pictures = {_STRUCTURE: self.structure.picture, _APPEARANCE: self.appearance.picture}
        kept: dict[str, bytes] = {}

        def image(upload: Upload) -> Image.Image:
            return Image.fromarray(pictures[upload.upload])

        def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
            return kept[key] if key in kept else kept.setdefault(key, make())

        return replace(alone(), image=image, cached=cached)


def _subject(one: Scene) -> str:
    return one.content.things[0].subject


def thing_in(one: Scene) -> NDArray[np.bool_]:
    """Where the scene's things are, (height, width)."""
    return np.asarray(one.masks.any(axis=0))


def make_pairs(count: int) -> list[Pair]:
    """`count` pairs, the four kinds in turn; colours and backgrounds always differ."""
    rng = random.Random(0)
    made = []
    for index in range(count):
        subject, other = rng.sample(SUBJECTS, 2)
        style, other_style = rng.sample(STYLES, 2)
        colours, grounds = rng.sample(COLOUR_NAMES, 2), rng.sample(BACKGROUNDS, 2)
        subjects = (subject, subject if index % 2 == 0 else other)
        styles = (style, style if index // 2 % 2 == 0 else other_style)
        structure, appearance = (
            scene(1000 + 2 * index + k, content=Content((Thing(s, c),), look, ground))
            for k, (s, c, look, ground) in enumerate(
                zip(subjects, colours, styles, grounds, strict=True)
            )
        )
        made.append(Pair(structure, appearance, index))
    return made


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def colour_distance(
    picture: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    other: NDArray[np.uint8],
    other_inside: NDArray[np.bool_],
) -> float:
    """Of mean RGB inside the masks; that of black and white is 442, of no mask at all infinite."""
    if not inside.any() or not other_inside.any():
        return float("inf")
    return float(np.linalg.norm(picture[inside].mean(0) - other[other_inside].mean(0)))
