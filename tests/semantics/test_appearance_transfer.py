"""Appearance transfer on the built-in model keeps shapes, takes looks and finds subjects.

Trends with slack: `python -m benchmarks.appearance_transfer` measures the same over more pairs.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.appearance_pairs import make_pairs
from benchmarks.appearance_transfer import (
    NO_SWAP,
    NOWHERE,
    Figures,
    figures,
    masks_found,
    measure,
    reconstruction,
)
from core.diffusion.model import DiffusionModel
from training.judge import Judge
from training.masker import Masker

pytestmark = pytest.mark.timeout(600)

PAIRS = 8
WAYS: dict[str, dict[str, Any]] = {
    "both": {},
    "swap alone": {"ranges": {"adain": NOWHERE}},
    "AdaIN alone": {"ranges": NO_SWAP},
}


@pytest.fixture(scope="module")
def found(world: tuple[DiffusionModel, Judge], masker: Masker) -> dict[str, Figures]:
    pairs = make_pairs(PAIRS)
    outcomes, _ = measure(*world, masker, pairs, WAYS)
    return {way: figures(of_way, pairs) for way, of_way in outcomes.items()}


def test_the_shape_stays_the_structures(found: dict[str, Figures]) -> None:
    assert found["both"].iou > 0.65


def test_colours_come_nearer_to_the_appearances(found: dict[str, Figures]) -> None:
    assert found["both"].nearer > 0.8
    assert found["both"].distance < 0.5 * found["both"].before


def test_attention_alone_brings_the_look_too(found: dict[str, Figures]) -> None:
    assert found["swap alone"].distance < 0.7 * found["swap alone"].before


def test_the_swap_brings_styles_that_adain_does_not(found: dict[str, Figures]) -> None:
    both, adain_alone = found["both"].style_seen, found["AdaIN alone"].style_seen
    assert both is not None
    assert adain_alone is not None
    assert both > adain_alone


def test_subjects_are_found_while_the_pictures_are_drawn(
    world: tuple[DiffusionModel, Judge],
) -> None:
    assert masks_found(world[0], make_pairs(5), "threshold")["mean"] > 0.6


def test_pictures_come_back_within_the_autoencoders_own_error(
    world: tuple[DiffusionModel, Judge],
) -> None:
    errors = reconstruction(world[0], make_pairs(2))
    beyond = errors["inverted at guidance 1, beyond the autoencoder"]
    assert beyond < errors["autoencoder"]
