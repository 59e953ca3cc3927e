"""Control, a new character and panoramas do on the built-in model what they are for.

`python -m benchmarks.guided_sets` measures the same over more sets and steps.
"""

from __future__ import annotations

import pytest

from benchmarks.guided_sets import Judges, character, control, panorama
from benchmarks.style_distance import load, style_sets
from core.diffusion.model import DiffusionModel

pytestmark = pytest.mark.timeout(600)

STEPS = 12


@pytest.fixture(scope="module")
def world() -> tuple[DiffusionModel, Judges]:
    model, judge = load()
    return model, Judges.load(judge)


def test_with_control_things_stand_where_the_edges_say(
    world: tuple[DiffusionModel, Judges],
) -> None:
    found = control(*world, style_sets(4, targets=2), STEPS)
    assert found["structure IoU with control"].mean > found["structure IoU without"].mean + 0.1


def test_with_the_lora_the_character_appears_and_without_it_does_not(
    world: tuple[DiffusionModel, Judges],
) -> None:
    found = character(*world, style_sets(4, targets=2), STEPS)
    with_lora, without = (found[f"snails, {way}"] for way in ("LoRA, shared", "no LoRA, shared"))
    assert with_lora.mean > without.mean + 0.2


def test_each_side_of_a_panorama_in_two_styles_is_nearer_to_its_own_reference(
    world: tuple[DiffusionModel, Judges],
) -> None:
    found = panorama(*world, style_sets(4, targets=2), STEPS)
    assert found["to its own reference"].mean < found["to the other's"].mean
