"""Measures the built-in model: what its samples show, and what its parts can do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.dataset import HELD_OUT_SEED
from training.judge import Judge
from training.judging import JudgeAccuracy, measure_judge
from training.latents import decode, encode
from training.regions import RegionAccuracy, measure_regions
from training.scenes import scene
from training.vae import to_unit
from training.world import (
    BACKGROUNDS,
    COLOUR_NAMES,
    COLOURLESS_STYLES,
    STYLES,
    SUBJECTS,
    Content,
    Thing,
    plain_caption,
)

STEPS = 25
GUIDANCE = 5.0
SAMPLING_BATCH = 12


@dataclass(frozen=True)
class SampleAccuracy:
    """Shares in [0, 1], by the judge.

    subject: one subject, the most probable is the prompted one. style: likewise. colour: of the
    prompted subject, blueprints aside. both, either: of two prompted subjects, those whose presence
    is above one half. pair_colour: colour of the present ones of two, blueprints aside.
    """

    subject: float
    style: float
    colour: float
    both: float
    either: float
    pair_colour: float
    singles: int
    pairs: int


@dataclass(frozen=True)
class Evaluation:
    samples: SampleAccuracy
    regions: RegionAccuracy
    judge: dict[str, JudgeAccuracy]
    vae_psnr: float


def evaluate(pipeline: Any, judge: Judge) -> tuple[Evaluation, Tensor]:
    """All measures, and the samples of every subject in every style, (120, 3, h, w) in [0, 1]."""
    accuracy, pictures = measure_samples(pipeline, judge)
    evaluation = Evaluation(
        samples=accuracy,
        regions=measure_regions(pipeline),
        judge=measure_judge(judge, pipeline.vae),
        vae_psnr=measure_vae(pipeline.vae),
    )
    return evaluation, pictures


def measure_samples(pipeline: Any, judge: Judge, seed: int = 0) -> tuple[SampleAccuracy, Tensor]:
    singles, pairs = single_contents(seed), pair_contents(seed)
    one = sample(pipeline, [plain_caption(content) for content in singles], seed)
    two = sample(pipeline, [plain_caption(content) for content in pairs], seed)
    styles = torch.tensor([STYLES.index(content.style) for content in singles])
    subjects = torch.tensor([SUBJECTS.index(c.things[0].subject) for c in singles])
    present = found_things(judge, two, pairs)
    accuracy = SampleAccuracy(
        subject=_share(judge.subjects(one).argmax(dim=1) == subjects),
        style=_share(judge.styles(one).argmax(dim=1) == styles),
        colour=_share(right_colours(judge, one, singles)[_coloured(singles)]),
        both=_share(present.all(dim=1)),
        either=_share(present.any(dim=1)),
        pair_colour=_share(right_colours(judge, two, pairs)[present & _coloured(pairs)[:, None]]),
        singles=len(singles),
        pairs=len(pairs),
    )
    return accuracy, one


def found_things(judge: Judge, pictures: Tensor, contents: Sequence[Content]) -> Tensor:
    """bool (n, things): the judge sees each thing's subject."""
    subjects = [[SUBJECTS.index(thing.subject) for thing in c.things] for c in contents]
    return judge.subjects(pictures).gather(1, torch.tensor(subjects)) > 0.5


def right_colours(judge: Judge, pictures: Tensor, contents: Sequence[Content]) -> Tensor:
    """bool (n, things): the judge sees each thing's subject, were it there, in its colour."""
    subjects = [[SUBJECTS.index(thing.subject) for thing in c.things] for c in contents]
    colours = [[COLOUR_NAMES.index(thing.colour) for thing in c.things] for c in contents]
    judged = judge.colours(pictures).argmax(dim=2).gather(1, torch.tensor(subjects))
    return judged == torch.tensor(colours)


def _coloured(contents: Sequence[Content]) -> Tensor:
    return torch.tensor([content.style not in COLOURLESS_STYLES for content in contents])


def single_contents(seed: int) -> list[Content]:
    """Every subject in every style, style by style; colours and backgrounds by chance."""
    rng = random.Random(seed)
    return [
        Content((Thing(subject, rng.choice(COLOUR_NAMES)),), style, rng.choice(BACKGROUNDS))
        for style in STYLES
        for subject in SUBJECTS
    ]


def pair_contents(seed: int, count: int = 60) -> list[Content]:
    rng = random.Random(seed)
    contents = []
    for index in range(count):
        subjects, colours = rng.sample(SUBJECTS, 2), rng.sample(COLOUR_NAMES, 2)
        things = tuple(Thing(s, c) for s, c in zip(subjects, colours, strict=True))
        contents.append(Content(things, STYLES[index % len(STYLES)], rng.choice(BACKGROUNDS)))
    return contents


def sample(pipeline: Any, prompts: Sequence[str], seed: int, steps: int = STEPS) -> Tensor:
    """One picture a prompt, (n, 3, h, w) in [0, 1]; the noise of row i depends on seed and i."""
    pipeline.set_progress_bar_config(disable=True)
    batches = []
    for start in range(0, len(prompts), SAMPLING_BATCH):
        rows = range(start, min(start + SAMPLING_BATCH, len(prompts)))
        pictures = pipeline(
            [prompts[row] for row in rows],
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(seed * 100_003 + row) for row in rows],
            output_type="pt",
        ).images
        batches.append(pictures.float().cpu())
    return torch.cat(batches)


def measure_vae(vae: Any, count: int = 300) -> float:
    """Mean PSNR in dB of held-out pictures after a round trip."""
    pictures = np.stack([scene(HELD_OUT_SEED + index).picture for index in range(count)])
    original = to_unit(pictures) / 2 + 0.5
    errors = (original - decode(vae, encode(vae, pictures))).square().mean(dim=(1, 2, 3))
    return (-10 * errors.log10()).mean().item()


def _share(right: Tensor) -> float:
    return right.float().mean().item()
