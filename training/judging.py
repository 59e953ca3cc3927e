"""Trains the judge, and measures it on scenes it has not seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from training.clock import Clock, trapezoid
from training.dataset import HELD_OUT_SEED, NOTHING, Dataset, load, pack
from training.judge import Judge, JudgeNetwork, JudgeOptions, judge_loss, save_judge
from training.latents import decode, encode
from training.scenes import scene
from training.vae import to_unit
from training.world import COLOURLESS_STYLES, STYLES, SUBJECTS


@dataclass(frozen=True)
class JudgeTraining:
    """minutes by the wall clock. decoded: scenes also seen as the VAE gives them back."""

    minutes: float = 4.0
    batch: int = 48
    learning_rate: float = 3e-3
    decoded: int = 6000
    seed: int = 0


@dataclass(frozen=True)
class JudgeAccuracy:
    """Shares in [0, 1] on held-out scenes. Subjects: exactly the present ones are found."""

    subjects: float
    style: float
    colour: float


def train_judge(options: JudgeTraining, scenes: Path, vae_folder: Path, folder: Path) -> None:
    """Half of each batch are drawn pictures, half decoded ones, so that it is fair to samples."""
    torch.manual_seed(options.seed)
    architecture = JudgeOptions()
    network = JudgeNetwork(architecture.channels).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    batches = _batches(load(scenes), AutoencoderKL.from_pretrained(vae_folder), options)
    images, contents = next(batches)
    clock = Clock(options.minutes * 60)
    step = 0
    while (fraction := clock.fraction) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * trapezoid(fraction, step, cool_down=0.7)
        images, contents = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        loss = judge_loss(_floats(logits), *targets(contents))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0:
            print(f"judge {fraction:.3f} step {step} loss {loss.item():.4f}", flush=True)
        step += 1
    save_judge(network, architecture, folder)


def targets(contents: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """What `judge_loss` compares with, from rows of `dataset.pack`."""
    count = len(contents)
    present = torch.zeros(count, len(SUBJECTS))
    colours = torch.full((count, len(SUBJECTS)), -100)
    for row, content in enumerate(contents.tolist()):
        for subject, colour in (content[:2], content[2:4]):
            if subject != NOTHING:
                present[row, subject] = 1
                if STYLES[content[4]] not in COLOURLESS_STYLES:
                    colours[row, subject] = colour
    return present, torch.from_numpy(contents[:, 4].astype(np.int64)), colours


def measure_judge(judge: Judge, vae: Any, count: int = 600) -> dict[str, JudgeAccuracy]:
    """Accuracy on held-out scenes as drawn, and after a round trip through the VAE."""
    drawn = [scene(HELD_OUT_SEED + index) for index in range(count)]
    pictures = np.stack([one.picture for one in drawn])
    contents = np.array([pack(one.content) for one in drawn], np.uint8)
    images = {"drawn": to_unit(pictures) / 2 + 0.5, "decoded": decode(vae, encode(vae, pictures))}
    return {name: _accuracy(judge, batch, contents) for name, batch in images.items()}


def _accuracy(judge: Judge, images: Tensor, contents: NDArray[np.uint8]) -> JudgeAccuracy:
    present, style, colours = targets(contents)
    found = (judge.subjects(images) > 0.5).float()
    told = colours >= 0
    right = judge.colours(images).argmax(dim=2)[told] == colours[told]
    return JudgeAccuracy(
        subjects=(found == present).all(dim=1).float().mean().item(),
        style=(judge.styles(images).argmax(dim=1) == style).float().mean().item(),
        colour=right.float().mean().item(),
    )


def _batches(
    dataset: Dataset, vae: Any, options: JudgeTraining
) -> Iterator[tuple[Tensor, NDArray[np.uint8]]]:
    """Images in [0, 1] a little shifted in brightness, and their rows of contents."""
    chance = np.random.default_rng(options.seed)
    if dataset.latents is None:
        raise ValueError("the dataset has no latents: encode it first")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = torch.tensor(dataset.latents[: options.decoded]).float()
        decoded = decode(vae, latents)
    half = options.batch // 2
    while True:
        drawn_rows = chance.integers(0, len(dataset), half)
        decoded_rows = chance.integers(0, len(decoded), half)
        drawn = to_unit(dataset.pictures[drawn_rows]) / 2 + 0.5
        images = torch.cat([drawn, decoded[torch.from_numpy(decoded_rows)]])
        images = images * random.uniform(0.85, 1.1) + 0.02 * torch.randn_like(images)
        yield images, dataset.contents[np.concatenate([drawn_rows, decoded_rows])]


def _floats(logits: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    subjects, styles, colours = logits
    return subjects.float(), styles.float(), colours.float()
