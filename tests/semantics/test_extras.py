"""What stands beside the built-in model does what it is for: the masker, the ControlNet, the snail.

Trends with slack: the model cards have the exact figures, over more samples and more steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionPipeline

from training.character import NAME
from training.evaluate import sample
from training.evaluate_character import prompts
from training.evaluate_control import measure_control
from training.judge import Judge, load_judge
from training.masker import Masker
from training.masking import measure_masker
from training.probe import Probe, load_probe
from training.word import WORD, load_word

MODELS = Path(__file__).parents[2] / "models"
ADAPTERS = MODELS / "tiny-world-adapters"
STEPS = 8


@pytest.fixture
def pipeline() -> Any:
    return StableDiffusionPipeline.from_pretrained(MODELS / "tiny-world")


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge(MODELS / "tiny-world-judge")


@pytest.fixture(scope="module")
def probe(judge: Judge) -> Probe:
    return load_probe(ADAPTERS / "snail-judge.safetensors", judge)


def test_the_masker_finds_things_as_drawn_and_as_decoded(masker: Masker) -> None:
    vae = AutoencoderKL.from_pretrained(MODELS / "tiny-world" / "vae")
    for accuracy in measure_masker(masker, vae, count=40).values():
        assert accuracy.iou > 0.88


def test_things_are_drawn_where_the_edges_are(pipeline: Any, masker: Masker, judge: Judge) -> None:
    control = ControlNetModel.from_pretrained(MODELS / "tiny-world-canny")
    accuracy, _ = measure_control(pipeline, control, masker, judge, count=12, steps=STEPS)
    assert accuracy["1.0"].iou > accuracy["none"].iou + 0.1
    assert accuracy["1.0"].style > 0.7


def test_the_snail_is_drawn_with_its_lora_and_not_without(pipeline: Any, probe: Probe) -> None:
    said = prompts(NAME)[::4]
    without = probe.shows(sample(pipeline, said, seed=1, steps=STEPS)) > 0.5
    pipeline.load_lora_weights(ADAPTERS / "snail-lora")
    shown = probe.shows(sample(pipeline, said, seed=1, steps=STEPS)) > 0.5
    assert shown.float().mean() > without.float().mean() + 0.3


def test_the_new_word_is_one_that_the_model_reads(pipeline: Any) -> None:
    before = sample(pipeline, ["a red fish on grass"], seed=1, steps=2)
    load_word(pipeline, ADAPTERS / "snail-word" / "learned_embeds.safetensors")
    assert torch.equal(sample(pipeline, ["a red fish on grass"], seed=1, steps=2), before)
    said = sample(pipeline, [f"a red {WORD} on grass"], seed=1, steps=2)
    assert not torch.allclose(said, before, atol=1e-2)
