"""The built-in model draws what its prompts say, as the judge sees it.

Trends with slack: the model card has the exact figures, over more samples and more steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from training.evaluate import found_things, pair_contents, sample, single_contents
from training.judge import Judge, load_judge
from training.judging import measure_judge
from training.regions import measure_regions
from training.world import STYLES, SUBJECTS, plain_caption

MODELS = Path(__file__).parents[2] / "models"
STEPS = 8


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return StableDiffusionPipeline.from_pretrained(MODELS / "tiny-world")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(MODELS / "tiny-world-judge")


def test_the_judge_knows_the_world_as_drawn_and_as_decoded(pipeline: Any, judge: Judge) -> None:
    for accuracy in measure_judge(judge, pipeline.vae, count=100).values():
        assert accuracy.subjects > 0.9
        assert accuracy.style > 0.95


def test_samples_show_the_subject_and_the_style_of_their_prompts(
    pipeline: Any, judge: Judge
) -> None:
    # Two in five of the pairs of subject and style: all subjects, all styles.
    every = enumerate(single_contents(seed=1))
    contents = [content for i, content in every if (i + i // len(SUBJECTS)) % 5 < 2]
    pictures = sample(pipeline, [plain_caption(c) for c in contents], seed=1, steps=STEPS)
    subjects = torch.tensor([SUBJECTS.index(c.things[0].subject) for c in contents])
    styles = torch.tensor([STYLES.index(c.style) for c in contents])
    assert len(contents) >= 48
    assert (judge.subjects(pictures).argmax(dim=1) == subjects).float().mean() > 0.85
    assert (judge.styles(pictures).argmax(dim=1) == styles).float().mean() > 0.85


def test_two_subjects_mostly_both_appear(pipeline: Any, judge: Judge) -> None:
    contents = pair_contents(seed=1, count=16)
    pictures = sample(pipeline, [plain_caption(c) for c in contents], seed=1, steps=STEPS)
    assert found_things(judge, pictures, contents).all(dim=1).float().mean() > 0.5


def test_nouns_attend_to_their_own_things(pipeline: Any) -> None:
    accuracy = measure_regions(pipeline, count=20)
    assert accuracy.nouns > 0.85
