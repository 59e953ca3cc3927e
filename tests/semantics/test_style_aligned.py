"""StyleAligned on the built-in model brings the reference's style and keeps the subjects.

`python -m benchmarks.style_distance` measures the same over more sets and steps.
"""

from __future__ import annotations

import pytest

from benchmarks.style_distance import Figures, load, measure, style_sets

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def figures() -> dict[str, Figures]:
    model, judge = load()
    return measure(model, judge, style_sets(10, targets=3), steps=12)


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


def test_a_given_pictures_style_is_brought_too() -> None:
    model, judge = load()
    figures = measure(model, judge, style_sets(6, targets=3), steps=12, given=True)
    assert figures["shared"].distance < 0.7 * figures["independent"].distance
    assert figures["shared"].subject_accuracy > figures["independent"].subject_accuracy - 0.15
