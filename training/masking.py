"""Trains the masker, and measures it on scenes it has not seen."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.clock import Clock, trapezoid
from training.dataset import HELD_OUT_SEED, Dataset, load
from training.latents import decode, encode
from training.masker import Masker, MaskerNetwork, MaskerOptions, save_masker
from training.scenes import scene
from training.vae import to_unit
from training.world import STYLES

DECODING_CHUNK = 500


@dataclass(frozen=True)
class MaskerTraining:
    """minutes by the wall clock. scenes: how many are learnt from, as drawn and as decoded."""

    minutes: float = 8.0
    batch: int = 32
    learning_rate: float = 4e-3
    scenes: int = 8000
    seed: int = 0


@dataclass(frozen=True)
class MaskerAccuracy:
    """Mean intersection over union of the foreground, on held-out scenes; also a style."""

    iou: float
    styles: dict[str, float]


def train_masker(options: MaskerTraining, scenes: Path, vae_folder: Path, folder: Path) -> None:
    """Half of each batch are drawn pictures, half the same ones as the autoencoder sees them."""
    torch.manual_seed(options.seed)
    architecture = MaskerOptions()
    network = MaskerNetwork(architecture.channels).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    batches = _batches(load(scenes), AutoencoderKL.from_pretrained(vae_folder), options)
    images, masks = next(batches)
    clock = Clock(options.minutes * 60)
    step = 0
    while (fraction := clock.fraction) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * trapezoid(fraction, step, cool_down=0.7)
        images, masks = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        loss = masker_loss(logits.float(), masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 50 == 0:
            print(f"masker {fraction:.3f} step {step} loss {loss.item():.4f}", flush=True)
        step += 1
    save_masker(network, architecture, folder)


def masker_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of the pixels, and one minus a soft intersection over union of each picture."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    shares = logits.sigmoid()
    both = (shares * masks).sum(dim=(1, 2))
    either = (shares + masks - shares * masks).sum(dim=(1, 2))
    return entropy + (1 - (both / either.clamp_min(1)).mean())


def measure_masker(masker: Masker, vae: Any, count: int = 500) -> dict[str, MaskerAccuracy]:
    """On held-out scenes as drawn, and after a round trip through the autoencoder."""
    drawn = [scene(HELD_OUT_SEED + index) for index in range(count)]
    pictures = np.stack([one.picture for one in drawn])
    masks = np.stack([one.masks.any(axis=0) for one in drawn])
    styles = [one.content.style for one in drawn]
    images = {"drawn": to_unit(pictures) / 2 + 0.5, "decoded": decode(vae, encode(vae, pictures))}
    return {
        name: _accuracy(foreground_iou(masker, batch, masks), styles)
        for name, batch in images.items()
    }


def foreground_iou(masker: Masker, images: Tensor, masks: NDArray[np.bool_]) -> list[float]:
    """Per picture: of the pixels more probably foreground than not, and the mask (n, h, w)."""
    found = torch.cat([masker.foreground(chunk) > 0.5 for chunk in torch.split(images, 100)])
    expected = torch.from_numpy(masks)
    both, either = (found & expected).sum(dim=(1, 2)), (found | expected).sum(dim=(1, 2))
    ious: list[float] = (both / either.clamp_min(1)).tolist()
    return ious


def _accuracy(ious: Sequence[float], styles: Sequence[str]) -> MaskerAccuracy:
    by_style = {
        style: [iou for iou, its in zip(ious, styles, strict=True) if its == style]
        for style in STYLES
    }
    means = {style: statistics.mean(its) for style, its in by_style.items() if its}
    return MaskerAccuracy(statistics.mean(ious), means)


def _batches(
    dataset: Dataset, vae: Any, options: MaskerTraining
) -> Iterator[tuple[Tensor, Tensor]]:
    """Images in [0, 1], mirrored and shifted in brightness by chance, and their masks."""
    if dataset.latents is None:
        raise ValueError("the dataset has no latents: encode it first")
    count = min(options.scenes, len(dataset))
    latents = np.array_split(dataset.latents[:count], max(1, count // DECODING_CHUNK))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunks = [decode(vae, torch.tensor(chunk).float()).half() for chunk in latents]
    decoded = torch.cat(chunks)
    drawn = torch.tensor(dataset.pictures[:count]).permute(0, 3, 1, 2)
    # The dataset's row is the scene's seed; its own masks are too coarse.
    size = drawn.shape[-1]
    masks = torch.from_numpy(np.stack([scene(i, size).masks.any(axis=0) for i in range(count)]))
    chance = torch.Generator().manual_seed(options.seed)
    half = options.batch // 2
    while True:
        rows = torch.randint(0, count, (2 * half,), generator=chance)
        images = torch.cat([drawn[rows[:half]].float() / 255, decoded[rows[half:]].float()])
        expected = masks[rows].float()
        if torch.rand((), generator=chance) < 0.5:
            images, expected = images.flip(-1), expected.flip(-1)
        gain = torch.empty(()).uniform_(0.85, 1.1, generator=chance)
        yield images * gain + 0.02 * torch.randn(images.shape, generator=chance), expected
