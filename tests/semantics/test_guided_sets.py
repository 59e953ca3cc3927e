"""Control, a new character and panoramas do on the built-in model what they are for.

`python -m benchmarks.guided_sets` measures the same over more sets and steps.
"""

from __future__ import annotations

import pytest

from benchmarks.guided_sets import CHARACTER_WAYS, Judges, character, control, panorama
from benchmarks.style_distance import style_sets
from core.diffusion.model import DiffusionModel
from training.judge import Judge

pytestmark = pytest.mark.timeout(600)

STEPS = 8


@pytest.fixture(scope="module")
def judged(world: tuple[DiffusionModel, Judge]) -> tuple[DiffusionModel, Judges]:
    model, judge = world
    return model, Judges.load(judge)


def test_with_control_things_stand_where_the_edges_say(
    judged: tuple[DiffusionModel, Judges],
) -> None:
    found = control(*judged, style_sets(3, targets=2), STEPS)
    assert found["structure IoU with control"].mean > found["structure IoU without"].mean + 0.1


def test_with_the_lora_the_character_appears_and_without_it_does_not(
    judged: tuple[DiffusionModel, Judges],
) -> None:
    ways = {way: CHARACTER_WAYS[way] for way in ("LoRA, shared", "no LoRA, shared")}
    found = character(*judged, style_sets(3, targets=2), STEPS, ways)
    with_lora, without = (found[f"snails, {way}"] for way in ("LoRA, shared", "no LoRA, shared"))
    assert with_lora.mean > without.mean + 0.2


def test_each_side_of_a_panorama_in_two_styles_is_nearer_to_its_own_reference(
    judged: tuple[DiffusionModel, Judges],
) -> None:
    found = panorama(*judged, style_sets(3, targets=2), STEPS)
    assert found["to its own reference"].mean < found["to the other's"].mean
