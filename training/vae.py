"""The autoencoder: SD's AutoencoderKL at an eighth of the width, between pictures and latents."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
from training.dataset import load
from training.distributed import Worker

REPORT_EVERY = 50


@dataclass(frozen=True)
class VaeOptions:
    """How the autoencoder is built and trained; `batch` is that of one process.

    decoder_only: the encoder stays, and with it every latent computed so far.
    """

    size: int = 64
    channels: tuple[int, ...] = (24, 48, 96)
    minutes: float = 15.0
    batch: int = 5
    learning_rate: float = 1.5e-3
    kl_weight: float = 1e-3
    decoder_only: bool = False
    seed: int = 0


def build_vae(options: VaeOptions) -> Any:
    """Three levels, hence a factor of four a side; four latent channels."""
    levels = len(options.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=options.channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=options.size,
        mid_block_add_attention=False,
    )


def to_unit(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 (n, h, w, 3) to float (n, 3, h, w) in [-1, 1]."""
    return torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1 of the pixels, of their differences (edges) and of two coarser scales (colours).

    The coarser scales are compared in opponent colours: in RGB a grey reconstruction is nearly as
    good as a coloured one for long, and the hues come last.
    """
    loss = functional.l1_loss(decoded, pictures)
    for dim in (2, 3):
        loss = loss + functional.l1_loss(decoded.diff(dim=dim), pictures.diff(dim=dim))
    for factor in (2, 4):
        error = opponent_colours(functional.avg_pool2d(decoded - pictures, factor))
        loss = loss + error.abs().mean()
    return loss


def opponent_colours(pictures: Tensor) -> Tensor:
    """RGB (n, 3, h, w) as brightness, red against green and blue against yellow."""
    red, green, blue = pictures.unbind(dim=1)
    return torch.stack([(red + green + blue) / 3, red - green, blue - (red + green) / 2], dim=1)


def train_vae(worker: Worker, options: VaeOptions, scenes: Path, folder: Path) -> None:
    """Trains for `options.minutes` on the pictures of a dataset; writes the VAE to the folder.

    Starts from the VAE that is there, if one is; `training.json` adds the stretches up.
    """
    torch.manual_seed(options.seed)
    exists = (folder / "config.json").exists()
    vae = AutoencoderKL.from_pretrained(folder) if exists else build_vae(options)
    vae.to(worker.device)
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(not options.decoder_only)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    batches = _batches(load(scenes).pictures, options, worker)
    clock = Clock(options.minutes * 60)
    step = 0
    while (fraction := worker.agreed(clock.fraction)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * trapezoid(fraction, step, cool_down=0.6)
        loss, kl = _losses(vae, next(batches).to(worker.device), worker)
        optimizer.zero_grad(set_to_none=True)
        (loss + options.kl_weight * kl).backward()  # type: ignore[no-untyped-call]
        worker.average_gradients(trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if worker.leads and step % REPORT_EVERY == 0:
            print(f"vae {fraction:.3f} step {step} loss {loss:.4f} kl {kl:.2f}", flush=True)
        step += 1
    if worker.leads:
        vae.save_pretrained(folder)
        _add_record(folder, options.minutes, step * options.batch * worker.count)


def _add_record(folder: Path, minutes: float, images: int) -> None:
    path = folder / "training.json"
    before = json.loads(path.read_text()) if path.exists() else {"minutes": 0.0, "images": 0}
    record = {"minutes": before["minutes"] + minutes, "images": before["images"] + images}
    path.write_text(json.dumps(record) + "\n")


def _losses(vae: Any, pictures: Tensor, worker: Worker) -> tuple[Tensor, Tensor]:
    """The error of a round trip, and the KL divergence in nats a latent value."""
    with worker.autocast():
        posterior = vae.encode(pictures).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    kl: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
    return reconstruction_loss(decoded.float(), pictures), kl


def _batches(pictures: NDArray[np.uint8], options: VaeOptions, worker: Worker) -> Iterator[Tensor]:
    random = np.random.default_rng((options.seed, worker.rank))
    while True:
        rows = np.sort(random.choice(len(pictures), options.batch, replace=False))
        yield to_unit(pictures[rows])
