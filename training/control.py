"""Trains a ControlNet for edges beside the finished denoiser, after Zhang et al. (2023), arXiv
2302.05543: a copy of the UNet's encoder that is shown the edges and adds to the frozen UNet."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from diffusers.models.attention_processor import AttnProcessor2_0
from numpy.typing import NDArray
from torch import Tensor

from training.clock import Clock, trapezoid
from training.dataset import Dataset, load, unpack
from training.distributed import Worker
from training.edges import load_edges, to_hint
from training.frozen import Frozen, load_frozen
from training.grounding import PlainAttention
from training.noise import noised
from training.tokenizer import CaptionEncoder
from training.world import Word, caption

REPORT_EVERY = 50


@dataclass(frozen=True)
class ControlOptions:
    """hint_channels: widths on the way from the edges to the latents' resolution, each half as fine
    as the one before. flat_share: how often the edges are those of the scene drawn flat; else they
    are of a style by chance, with its textures. shortened: captions cut off at a word.
    steps: stops earlier, for tests."""

    hint_channels: tuple[int, ...] = (16, 32, 64)
    minutes: float = 45.0
    batch: int = 16
    learning_rate: float = 6e-4
    flat_share: float = 0.6
    caption_dropout: float = 0.1
    shortened: float = 0.15
    seed: int = 0
    save_every: int = 400
    steps: int | None = None


@dataclass(frozen=True)
class Batch:
    """Latents (n, 4, cells, cells), token ids (n, length), hints (n, 3, size, size)."""

    latents: Tensor
    ids: Tensor
    hints: Tensor


def build_control(unet: Any, hint_channels: tuple[int, ...]) -> Any:
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=hint_channels)
    control.set_attn_processor(PlainAttention())
    return control.train()


def train_control(
    worker: Worker, options: ControlOptions, scenes: Path, edges: Path, model: Path, folder: Path
) -> None:
    """Trains for `options.minutes`; writes the ControlNet to the folder now and then, and last."""
    torch.manual_seed(options.seed)
    frozen = load_frozen(model, worker.device)
    control = build_control(frozen.unet, options.hint_channels).to(worker.device)
    optimizer = torch.optim.AdamW(
        control.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    torch.manual_seed(options.seed + worker.rank + 1)
    batches = _batches(load(scenes), load_edges(edges), frozen.tokens, options, worker)
    clock = Clock(options.minutes * 60)
    step, smoothed = 0, 0.0
    while (fraction := worker.agreed(clock.fraction)) < 1 and step != options.steps:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * trapezoid(fraction, step, cool_down=0.4)
        loss = control_loss(frozen, control, next(batches), worker)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        worker.average_gradients(control.parameters())
        torch.nn.utils.clip_grad_norm_(control.parameters(), 1.0)
        optimizer.step()
        smoothed += (loss.item() - smoothed) / min(step + 1, 200)
        if worker.leads and step % REPORT_EVERY == 0:
            print(f"control {fraction:.3f} step {step} loss {smoothed:.4f}", flush=True)
        if worker.leads and (step + 1) % options.save_every == 0:
            save_control(control, folder)
        step += 1
    if worker.leads:
        save_control(control, folder)
        print(f"control: {step * options.batch * worker.count} images", flush=True)


def control_loss(frozen: Frozen, control: Any, batch: Batch, worker: Worker) -> Tensor:
    """The error of the noise, as the denoiser was trained with."""
    noisy = noised(batch.latents)
    with worker.autocast():
        with torch.no_grad():
            text = frozen.text_encoder(batch.ids).last_hidden_state
        down, middle = control(noisy.latents, noisy.timesteps, text, batch.hints, return_dict=False)
        predicted = frozen.unet(
            noisy.latents,
            noisy.timesteps,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
        ).sample
    return noisy.error(predicted)


def save_control(control: Any, folder: Path) -> None:
    """In half precision: `ControlNetModel.from_pretrained(folder)` loads it."""
    saved = copy.deepcopy(control).half()
    saved.set_attn_processor(AttnProcessor2_0())
    saved.save_pretrained(folder, safe_serialization=True)


def shortened(words: Sequence[Word], options: ControlOptions, rng: random.Random) -> Sequence[Word]:
    """The words, the first few of them, or none: edges have to do where words are missing."""
    chance = rng.random()
    if chance < options.caption_dropout:
        return ()
    if chance < options.caption_dropout + options.shortened:
        return words[: rng.randint(1, len(words))]
    return words


def _batches(
    dataset: Dataset,
    edges: NDArray[np.uint8],
    encoder: CaptionEncoder,
    options: ControlOptions,
    worker: Worker,
) -> Iterator[Batch]:
    if dataset.latents is None:
        raise ValueError("the dataset has no latents: encode it first")
    chance = np.random.default_rng((options.seed, worker.rank))
    wording = random.Random(f"control {options.seed} {worker.rank}")
    while True:
        rows = chance.integers(0, len(edges), options.batch)
        styled = (chance.random(options.batch) >= options.flat_share).astype(int)
        bits = np.unpackbits(edges[rows, styled], axis=-1)
        captions = [caption(unpack(dataset.contents[row]), wording) for row in rows]
        ids = np.stack([encoder(shortened(words, options, wording)).ids for words in captions])
        latents = torch.from_numpy(dataset.latents[rows]).float()
        arrays = (latents, torch.from_numpy(ids), to_hint(bits.astype(np.bool_)))
        yield Batch(*(array.to(worker.device) for array in arrays))
