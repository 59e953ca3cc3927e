"""The character probe: whether a picture shows the character, by logistic regression on the judge's
features. Images are float (n, 3, h, w) in [0, 1]."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from training import dataset
from training.character import HELD_OUT_SEED, PROBE_SEED, character_scene
from training.evaluate import sample
from training.judge import Judge
from training.latents import decode, encode
from training.scenes import scene
from training.vae import to_unit
from training.world import (
    BACKGROUNDS,
    COLOUR_NAMES,
    STYLES,
    SUBJECTS,
    Content,
    Thing,
    plain_caption,
)

# Scenes of the world for the probe, away from those that measure it and everything else.
OTHERS_SEED = dataset.HELD_OUT_SEED + 100_000
SKETCHY_STEPS = 12


@dataclass(frozen=True)
class Probe:
    """weight: (features,). bias: ()."""

    judge: Judge
    weight: Tensor
    bias: Tensor

    def shows(self, images: Tensor) -> Tensor:
        """(n,): the probability that the character is there."""
        return (pooled(self.judge, images) @ self.weight + self.bias).sigmoid()


@dataclass(frozen=True)
class ProbeAccuracy:
    """Shares in [0, 1] on held-out pictures. found: of scenes of the character, drawn and decoded,
    the ones where it is seen. spared: of other scenes, those where it is not. spared_samples: the
    same of botched samples, of prompts that name nothing or two subjects as one."""

    found: float
    spared: float
    spared_samples: float


def pooled(judge: Judge, images: Tensor) -> Tensor:
    """(n, features): mean and maximum of the judge's last two stages."""
    chunks = []
    for chunk in torch.split(images, 100):
        stages = judge.features(chunk)[-2:]
        means, peaks = ([pool(s, dim=(2, 3)) for s in stages] for pool in (torch.mean, torch.amax))
        chunks.append(torch.cat([*means, *peaks], dim=1))
    return torch.cat(chunks)


def train_probe(judge: Judge, pipeline: Any, file: Path, count: int = 400) -> Probe:
    """From `count` scenes of the character and twice as many of the world, drawn and decoded; and
    from samples of botched subjects, so that not everything unfamiliar is a snail."""
    features, shown = [], []
    pictures = _pictures(pipeline.vae, count, PROBE_SEED, OTHERS_SEED)
    pictures.append((_botched(pipeline, count // 2, PROBE_SEED), False))
    for images, there in pictures:
        features.append(pooled(judge, images))
        shown += [there] * len(images)
    table = torch.cat(features)
    mean, spread = table.mean(dim=0), table.std(dim=0) + 1e-4
    regression = LogisticRegression(C=0.03, max_iter=2000, class_weight="balanced")
    regression.fit(((table - mean) / spread).numpy(), shown)
    weight = torch.tensor(regression.coef_[0]).float() / spread
    bias = torch.tensor(float(regression.intercept_[0])) - weight @ mean
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": weight, "bias": bias}, file)
    return Probe(judge, weight, bias)


def load_probe(file: Path, judge: Judge) -> Probe:
    weights = load_file(file)
    return Probe(judge, weights["weight"], weights["bias"])


def measure_probe(probe: Probe, pipeline: Any, count: int = 300) -> ProbeAccuracy:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    for images, there in _pictures(pipeline.vae, count, HELD_OUT_SEED, dataset.HELD_OUT_SEED):
        seen[there].append(probe.shows(images) > 0.5)
    botched = probe.shows(_botched(pipeline, count // 4, HELD_OUT_SEED)) > 0.5
    return ProbeAccuracy(
        found=torch.cat(seen[True]).float().mean().item(),
        spared=1 - torch.cat(seen[False]).float().mean().item(),
        spared_samples=1 - botched.float().mean().item(),
    )


def _pictures(vae: Any, count: int, character: int, others: int) -> list[tuple[Tensor, bool]]:
    """Pictures and whether the character is there, as drawn and as the autoencoder has them."""
    with_it = np.stack([character_scene(character + index).picture for index in range(count)])
    without = np.stack([scene(others + index).picture for index in range(2 * count)])
    return [
        (images, there)
        for pictures, there in ((with_it, True), (without, False))
        for images in (to_unit(pictures) / 2 + 0.5, decode(vae, encode(vae, pictures)))
    ]


def _botched(pipeline: Any, count: int, seed: int) -> Tensor:
    """Samples whose subject is some letters, or two subjects in one."""
    rng = random.Random(seed)
    prompts = []
    for index in range(count):
        letters = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 6)))
        named = letters if index % 2 else " ".join(rng.sample(SUBJECTS, 2))
        look = Content(
            (Thing(named, rng.choice(COLOUR_NAMES)),),
            STYLES[index // 2 % len(STYLES)],
            rng.choice(BACKGROUNDS),
        )
        prompts.append(plain_caption(look))
    return sample(pipeline, prompts, seed, steps=SKETCHY_STEPS)
