"""StyleAligned on the built-in model brings the reference's style and keeps the subjects.

`python -m benchmarks.style_distance` measures the same over more sets and steps.
"""

from __future__ import annotations

import pytest

from benchmarks.style_distance import WAYS, Figures, measure, style_sets
from core.diffusion.model import DiffusionModel
from training.judge import Judge

pytestmark = pytest.mark.timeout(600)


STEPS = 10


@pytest.fixture(scope="module")
def figures(world: tuple[DiffusionModel, Judge]) -> dict[str, Figures]:
    return measure(*world, style_sets(6, targets=3), STEPS)


def test_sharing_brings_targets_nearer_to_the_reference(figures: dict[str, Figures]) -> None:
    assert figures["shared"].distance < 0.6 * figures["independent"].distance


def test_without_adain_they_come_less_near(figures: dict[str, Figures]) -> None:
    assert (
        figures["shared"].distance
        < figures["shared, no AdaIN"].distance
        < figures["independent"].distance
    )


def test_subjects_stay_recognisable(figures: dict[str, Figures]) -> None:
    assert figures["shared"].subject_accuracy > figures["independent"].subject_accuracy - 0.10


def test_a_given_pictures_style_is_brought_too(world: tuple[DiffusionModel, Judge]) -> None:
    ways = {way: WAYS[way] for way in ("independent", "shared")}
    figures = measure(*world, style_sets(5, targets=3), STEPS, given=True, ways=ways)
    assert figures["shared"].distance < 0.7 * figures["independent"].distance
    assert figures["shared"].subject_accuracy > figures["independent"].subject_accuracy - 0.15
