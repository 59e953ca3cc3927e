"""Puts the trained parts together as a diffusers pipeline folder, in half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor2_0

from training.dataset import LATENT_FACTOR
from training.denoiser import Denoiser, build_denoiser, build_scheduler
from training.diffusion import DiffusionOptions
from training.run import Average, read_checkpoint
from training.tokenizer import CaptionEncoder


def trained_denoiser(run: Path, tokenizer: Path) -> Denoiser:
    """The averaged weights of a run's latest checkpoint."""
    cpu = torch.device("cpu")
    state = read_checkpoint(run, cpu)
    options: DiffusionOptions = state["options"]
    cells = options.size // LATENT_FACTOR
    denoiser = build_denoiser(options.channels, cells, CaptionEncoder(tokenizer), cpu)
    average = Average(denoiser, options.average_decay)
    average.weights = state["average"]
    average.copy_to(denoiser)
    return denoiser


def export(run: Path, tokenizer: Path, vae: Path, folder: Path) -> None:
    """Writes the complete pipeline: `StableDiffusionPipeline.from_pretrained(folder)` loads it."""
    denoiser = trained_denoiser(run, tokenizer)
    denoiser.unet.set_attn_processor(AttnProcessor2_0())
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae),
        text_encoder=denoiser.text_encoder,
        tokenizer=CaptionEncoder(tokenizer).tokenizer,
        unet=denoiser.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    _load_text_encoder_in_float32(folder)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokenizer, folder / "tokenizer")


def _load_text_encoder_in_float32(folder: Path) -> None:
    """diffusers loads float32 by default, transformers what the configuration says: agree."""
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text()) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2) + "\n")
