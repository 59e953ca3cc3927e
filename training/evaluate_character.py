"""Measures the adapters: how often the character is drawn when it is named, and in which style."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.character import NAME
from training.evaluate import STEPS, sample
from training.judge import Judge
from training.probe import Probe
from training.word import WORD, load_word
from training.world import (
    BACKGROUNDS,
    COLOUR_NAMES,
    STYLES,
    SUBJECTS,
    Content,
    Thing,
    plain_caption,
)

MEASURED_STYLES = STYLES[:8]
SEEDS = 8


@dataclass(frozen=True)
class CharacterAccuracy:
    """Shares in [0, 1]: samples that show the character by the probe, and their style by the judge.
    others: samples of prompts that name a subject of the world and show it still, by the judge."""

    shown: float
    style: float
    others: float


def measure_adapters(
    pipeline: Any, lora: Path, word: Path, probe: Probe, judge: Judge, steps: int = STEPS
) -> tuple[dict[str, CharacterAccuracy], dict[str, Tensor]]:
    """With neither, the word, both and the LoRA; and the samples, styles down, seeds across.

    The pipeline is left with both loaded.
    """
    pictures, others = {}, {}
    load_word(pipeline, word)
    for name in ("neither", "word", "both", "lora"):
        if name == "both":
            pipeline.load_lora_weights(lora)
        said = WORD if name in ("word", "both") else NAME
        pictures[name] = sample(pipeline, prompts(said), seed=0, steps=steps)
        others[name] = sample(pipeline, other_prompts(), seed=0, steps=steps)
    accuracy = {name: _accuracy(pictures[name], others[name], probe, judge) for name in pictures}
    return accuracy, pictures


def prompts(said: str) -> list[str]:
    """Style by style, with colours and backgrounds by chance."""
    rng = random.Random(0)
    return [
        plain_caption(
            Content((Thing(said, rng.choice(COLOUR_NAMES)),), style, rng.choice(BACKGROUNDS))
        )
        for style in MEASURED_STYLES
        for _ in range(SEEDS)
    ]


def other_prompts() -> list[str]:
    """Each subject of the world once."""
    return [
        f"a {COLOUR_NAMES[i % len(COLOUR_NAMES)]} {subject} in {STYLES[i % len(STYLES)]} style"
        for i, subject in enumerate(SUBJECTS)
    ]


def _accuracy(pictures: Tensor, others: Tensor, probe: Probe, judge: Judge) -> CharacterAccuracy:
    styles = torch.arange(len(MEASURED_STYLES)).repeat_interleave(SEEDS)
    subjects = judge.subjects(others).argmax(dim=1) == torch.arange(len(SUBJECTS))
    return CharacterAccuracy(
        shown=(probe.shows(pictures) > 0.5).float().mean().item(),
        style=(judge.styles(pictures).argmax(dim=1) == styles).float().mean().item(),
        others=subjects.float().mean().item(),
    )
