"""Segments of the built-in model meet the scenes' exact masks, and better than colours alone.

Trends with slack: `python -m benchmarks.segmentation` measures the same over more scenes.
"""

from __future__ import annotations

import pytest

from benchmarks.segmentation import figures_of, held_after, summary

pytestmark = pytest.mark.timeout(600)

Figures = dict[str, dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def found() -> Figures:
    return summary([figures_of(index) for index in range(8)])


@pytest.mark.parametrize("method", ["clusters", "merge"])
def test_subjects_are_found_and_named(found: Figures, method: str) -> None:
    assert found[method]["labelled"]["mean"] > 0.7
    assert found[method]["labels"]["mean"] > 0.8


@pytest.mark.parametrize("control", ["RGB", "untrained UNet", "position"])
def test_the_models_attention_beats_clusters_of_something_else(
    found: Figures, control: str
) -> None:
    assert found["clusters"]["labelled"]["mean"] > found[control]["labelled"]["mean"]


def test_heat_is_highest_inside_the_named_thing(found: Figures) -> None:
    assert found["heat maps"]["peaks"]["mean"] > 0.85


def test_what_the_recorder_holds_does_not_grow_with_the_steps() -> None:
    assert held_after(3) == held_after(12)
