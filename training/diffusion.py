"""Trains the denoiser on latents: noise prediction with grounded words, by the wall clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.clock import Clock, trapezoid
from training.dataset import LATENT_FACTOR, Dataset, load, unpack
from training.denoiser import Denoiser, build_denoiser
from training.distributed import Worker
from training.grounding import grounding_loss
from training.noise import SNR_LIMIT, noised
from training.run import Average, Progress, Run
from training.tokenizer import CaptionEncoder
from training.world import SUBJECTS, caption

REPORT_EVERY = 50


@dataclass(frozen=True)
class DiffusionOptions:
    """How the denoiser is built and trained; `batch` is that of one process.

    minutes: the whole run, over interruptions. steps: stops earlier, for tests.
    """

    size: int = 64
    channels: tuple[int, ...] = (64, 128, 160)
    minutes: float = 80.0
    batch: int = 16
    learning_rate: float = 8e-4
    grounding_weight: float = 0.05
    caption_dropout: float = 0.1
    snr_limit: float = SNR_LIMIT
    average_decay: float = 0.999
    seed: int = 0
    save_every: int = 250
    steps: int | None = None


@dataclass(frozen=True)
class Batch:
    """Latents (n, 4, cells, cells), masks (n, 2, cells, cells) and tokens (n, length)."""

    latents: Tensor
    masks: Tensor
    ids: Tensor
    things: Tensor
    nouns: Tensor


def train_denoiser(
    worker: Worker, options: DiffusionOptions, scenes: Path, tokenizer: Path, folder: Path
) -> None:
    """Trains, or continues from the folder's checkpoint, until the minutes or steps are used up."""
    encoder = CaptionEncoder(tokenizer)
    run = _new_run(options, encoder, worker)
    progress = run.resume(folder, worker.device)
    # Another stretch of the run draws other noise and other scenes.
    torch.manual_seed(options.seed + progress.step * worker.count + worker.rank + 1)
    batches = _batches(load(scenes), encoder, options, worker, progress.step)
    clock = Clock(options.minutes * 60, progress.seconds)
    while (fraction := worker.agreed(clock.fraction)) < 1 and progress.step != options.steps:
        rate = options.learning_rate * trapezoid(fraction, progress.step, warm_up=300)
        losses = _step(run, next(batches), rate, options, worker)
        run.average.update(run.denoiser, progress.step)
        images = progress.images + options.batch * worker.count
        progress = Progress(progress.step + 1, images, clock.elapsed)
        if worker.leads and progress.step % REPORT_EVERY == 0:
            print(
                f"denoiser {fraction:.4f} {progress}"
                f" noise {losses[0]:.4f} grounding {losses[1]:.4f}",
                flush=True,
            )
        if worker.leads and progress.step % options.save_every == 0:
            run.save(folder, progress, options)
    if worker.leads:
        run.save(folder, progress, options)


def _new_run(options: DiffusionOptions, encoder: CaptionEncoder, worker: Worker) -> Run:
    """All processes start from the same weights."""
    torch.manual_seed(options.seed)
    cells = options.size // LATENT_FACTOR
    denoiser = build_denoiser(options.channels, cells, encoder, worker.device)
    optimizer = torch.optim.AdamW(
        denoiser.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    return Run(denoiser, optimizer, Average(denoiser, options.average_decay))


def _step(
    run: Run, batch: Batch, rate: float, options: DiffusionOptions, worker: Worker
) -> tuple[float, float]:
    """One step of the optimizer; the losses of the noise and of the grounding."""
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    noise_loss, ground_loss = _losses(run.denoiser, batch, options, worker)
    run.optimizer.zero_grad(set_to_none=True)
    loss = noise_loss + options.grounding_weight * ground_loss
    loss.backward()  # type: ignore[no-untyped-call]
    worker.average_gradients(run.denoiser.parameters())
    torch.nn.utils.clip_grad_norm_(run.denoiser.parameters(), 1.0)
    run.optimizer.step()
    return noise_loss.item(), ground_loss.item()


def _losses(
    denoiser: Denoiser, batch: Batch, options: DiffusionOptions, worker: Worker
) -> tuple[Tensor, Tensor]:
    """The error of the noise, and of the grounding."""
    noisy = noised(batch.latents)
    with worker.autocast():
        predicted = denoiser(noisy.latents, noisy.timesteps, batch.ids)
    grounding = grounding_loss(
        denoiser.maps, batch.masks, batch.things, batch.nouns, noisy.timesteps
    )
    return noisy.error(predicted, options.snr_limit), grounding


def _batches(
    dataset: Dataset, encoder: CaptionEncoder, options: DiffusionOptions, worker: Worker, step: int
) -> Iterator[Batch]:
    if dataset.latents is None:
        raise ValueError("the dataset has no latents: encode it first")
    chance = np.random.default_rng((options.seed, worker.rank, step))
    wording = random.Random(f"{options.seed} {worker.rank} {step}")
    nouns = np.array([encoder.tokenizer.convert_tokens_to_ids(s + "</w>") for s in SUBJECTS])
    while True:
        rows = chance.integers(0, len(dataset), options.batch)
        tokens = [
            encoder(
                ()
                if wording.random() < options.caption_dropout
                else caption(unpack(dataset.contents[row]), wording)
            )
            for row in rows
        ]
        ids = np.stack([token.ids for token in tokens])
        arrays = (
            torch.from_numpy(dataset.latents[rows]).float(),
            torch.from_numpy(dataset.masks[rows]).float() / 255,
            torch.from_numpy(ids),
            torch.from_numpy(np.stack([token.things for token in tokens])),
            torch.from_numpy(np.isin(ids, nouns)),
        )
        yield Batch(*(array.to(worker.device) for array in arrays))
