"""Between the autoencoder and the denoiser: latents of unit variance, computed once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import LATENT_FACTOR, load
from training.vae import to_unit

ENCODING_CHUNK = 500
ENCODING_BATCH = 25
STANDARD_SCENES = 1000


@torch.no_grad()
def standardise(vae: Any, pictures: NDArray[np.uint8]) -> None:
    """Gives each latent channel mean 0 and variance 1 over the pictures (n, h, w, 3).

    The shift and scale are folded into the 1 x 1 convolutions on both sides of the latents, so
    that the pictures do not change and `scaling_factor` is 1. A channel with an offset or another
    scale than its neighbours would be noised unevenly by the diffusion schedule.
    """
    vae.register_to_config(scaling_factor=1.0)
    means = torch.cat([encode(vae, chunk) for chunk in np.array_split(pictures, 20)])
    mean, std = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    shift = torch.cat([mean / std, 2 * std.log()])
    scale = torch.cat([std, torch.ones_like(std)])
    vae.quant_conv.weight /= scale.view(-1, 1, 1, 1)
    vae.quant_conv.bias.copy_(vae.quant_conv.bias / scale - shift)
    vae.post_quant_conv.bias += (vae.post_quant_conv.weight[:, :, 0, 0] * mean).sum(dim=1)
    vae.post_quant_conv.weight *= std.view(1, -1, 1, 1)


def finish_vae(scenes: Path, folder: Path) -> None:
    """Standardises the VAE of a folder over the first scenes of a dataset."""
    vae = AutoencoderKL.from_pretrained(folder)
    standardise(vae, load(scenes).pictures[:STANDARD_SCENES])
    vae.save_pretrained(folder)


@torch.no_grad()
def encode(vae: Any, pictures: NDArray[np.uint8]) -> Tensor:
    """The mean latents (n, 4, h / 4, w / 4), times the scaling factor."""
    latents = [
        vae.encode(to_unit(batch)).latent_dist.mean
        for batch in np.array_split(pictures, max(1, len(pictures) // ENCODING_BATCH))
    ]
    scaled: Tensor = torch.cat(latents).float() * vae.config.scaling_factor
    return scaled


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Tensor:
    """Pictures (n, 3, h, w) in [0, 1] from scaled latents."""
    decoded = [
        vae.decode(batch / vae.config.scaling_factor).sample.float()
        for batch in torch.split(latents, ENCODING_BATCH)
    ]
    return (torch.cat(decoded) / 2 + 0.5).clamp(0, 1)


def encode_dataset(scenes: Path, vae: Path, processes: int) -> Iterator[int]:
    """Writes the dataset's latents.npy; yields how many scenes are done."""
    count, side = load(scenes).pictures.shape[:2]
    cells = side // LATENT_FACTOR
    open_memmap(scenes / "latents.npy", "w+", np.float16, (count, 4, cells, cells))
    done = 0
    # Forked children of a process that has used torch can hang: start them afresh.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        work = partial(_encode_chunk, scenes, vae)
        for encoded in pool.map(work, range(0, count, ENCODING_CHUNK)):
            done += encoded
            yield done


def _encode_chunk(scenes: Path, vae_folder: Path, start: int) -> int:
    torch.set_num_threads(1)
    vae = AutoencoderKL.from_pretrained(vae_folder)
    pictures = load(scenes).pictures[start : start + ENCODING_CHUNK]
    latents = open_memmap(scenes / "latents.npy", "r+")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents[start : start + len(pictures)] = encode(vae, pictures).half().numpy()
    return len(pictures)
