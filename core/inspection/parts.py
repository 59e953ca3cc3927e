"""A picture's parts from the attention that was watched, and which label each has.

Source: Patashnik et al., ICCV 2023, arXiv 2303.11306.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.attention.edges import labels_in_pixels
from core.attention.segments import (
    BACKGROUND,
    named_above,
    noun_map,
    noun_scores,
)


@dataclass(frozen=True)
class Part:
    """One segment of a picture.

    value: its number in the map. label: None is background, or no label was looked for.
    scores: how well each label fits, at most 1. mask: bool (height, width) in pixels.
    """

    value: int
    label: str | None
    scores: Mapping[str, float]
    mask: NDArray[np.bool_]

    @property
    def score(self) -> float | None:
        """That of the best label; None where none was looked for."""
        return max(self.scores.values(), default=None)

    @property
    def name(self) -> str:
        return self.label or ("background" if self.scores else "segment")

    @property
    def area(self) -> int:
        """Pixels."""
        return int(self.mask.sum())


def parts_of(
    segments: Tensor,
    text: Tensor,
    positions: Mapping[str, Sequence[int]],
    threshold: float,
    picture: NDArray[np.uint8],
    box: tuple[int, int, int, int] | None = None,
) -> list[Part]:
    """The parts of an RGB picture (height, width, 3), the largest first, numbered from 0.

    segments: of each token, int64 (grid). text: how much each place reads of each token of the
    text, (grid, text tokens). positions: of each label's tokens; one without any scores 0.
    A segment whose pixels all went to others is left out.
    box: what of the picture is wanted, (left, top, right, bottom) in pixels; all by default.
    """
    scores = torch.zeros(int(segments.max()) + 1, len(positions))
    found = {i: list(p) for i, p in enumerate(positions.values()) if p}
    if found:
        maps = [noun_map(text, tokens) for tokens in found.values()]
        scores[:, list(found)] = noun_scores(segments, maps)
    named = named_above(scores, threshold).tolist() if positions else [BACKGROUND] * len(scores)
    labels = list(positions)
    pixels = labels_in_pixels(segments, picture)
    if box is not None:
        left, top, right, bottom = box
        pixels = pixels[top:bottom, left:right]
    sizes = np.bincount(pixels.flatten(), minlength=len(scores))
    order = [int(one) for one in np.argsort(-sizes, kind="stable") if sizes[one]]
    return [
        Part(
            value,
            None if named[one] == BACKGROUND else labels[named[one]],
            {label: float(scores[one, index]) for index, label in enumerate(labels)},
            np.asarray(pixels == one),
        )
        for value, one in enumerate(order)
    ]


def mask_of_label(parts: Sequence[Part], label: str) -> NDArray[np.bool_]:
    """The pixels of all parts with a label, (height, width)."""
    masks = [part.mask for part in parts if part.label == label]
    return np.asarray(np.logical_or.reduce(masks) if masks else np.zeros_like(parts[0].mask))
