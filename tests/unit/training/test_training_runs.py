"""The trainers, on networks and datasets small enough to run in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from training.dataset import draw, load, pack, unpack
from training.diffusion import DiffusionOptions, train_denoiser
from training.distributed import CPU, Worker
from training.export import export
from training.latents import decode, encode, finish_vae
from training.run import read_checkpoint
from training.tokenizer import save_tokenizer
from training.vae import VaeOptions, build_vae, train_vae
from training.world import Content, Thing

TINY = DiffusionOptions(channels=(32, 64), minutes=60, batch=2, steps=2)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("scenes")
    list(draw(folder, count=8, seed=0, size=64, processes=1))
    latents = np.random.default_rng(0).normal(size=(8, 4, 16, 16)).astype(np.float16)
    np.save(folder / "latents.npy", latents)
    return folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def vae_folder(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("vae")
    options = VaeOptions(channels=(8, 8, 8), minutes=0.01, batch=2)
    train_vae(Worker(), options, scenes, folder)
    finish_vae(scenes, folder)
    return folder


def test_a_content_survives_the_dataset() -> None:
    for things in ((Thing("cat", "red"),), (Thing("cat", "red"), Thing("boat", "pink"))):
        content = Content(things, "neon", "sea")
        assert unpack(pack(content)) == content


def test_an_interrupted_run_continues_at_its_step(
    scenes: Path, tokenizer: Path, tmp_path: Path
) -> None:
    train_denoiser(Worker(), TINY, scenes, tokenizer, tmp_path)
    first = read_checkpoint(tmp_path, CPU)
    train_denoiser(Worker(), replace(TINY, steps=5), scenes, tokenizer, tmp_path)
    second = read_checkpoint(tmp_path, CPU)
    assert (first["step"], second["step"]) == (2, 5)
    assert second["seconds"] > first["seconds"]
    optimizer_steps = {int(one["step"]) for one in second["optimizer"]["state"].values()}
    assert optimizer_steps == {5}


def test_a_finished_run_changes_nothing(scenes: Path, tokenizer: Path, tmp_path: Path) -> None:
    train_denoiser(Worker(), TINY, scenes, tokenizer, tmp_path)
    first = read_checkpoint(tmp_path, CPU)
    train_denoiser(Worker(), TINY, scenes, tokenizer, tmp_path)
    second = read_checkpoint(tmp_path, CPU)
    pairs = zip(first["average"], second["average"], strict=True)
    assert all(torch.equal(before, after) for before, after in pairs)


def test_standardising_a_vae_keeps_its_pictures(scenes: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build_vae(VaeOptions(channels=(8, 8, 8))).save_pretrained(tmp_path)
    pictures = load(scenes).pictures
    before = AutoencoderKL.from_pretrained(tmp_path)
    with torch.no_grad():
        before.register_to_config(scaling_factor=1.0)
        expected = decode(before, encode(before, pictures))
    finish_vae(scenes, tmp_path)
    vae = AutoencoderKL.from_pretrained(tmp_path)
    latents = encode(vae, pictures)
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(decode(vae, latents), expected, atol=1e-4)


def test_an_export_loads_as_a_stable_diffusion_pipeline(
    scenes: Path, tokenizer: Path, vae_folder: Path, tmp_path: Path
) -> None:
    train_denoiser(Worker(), TINY, scenes, tokenizer, tmp_path / "run")
    export(tmp_path / "run", tokenizer, vae_folder, tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model")
    picture = pipeline(
        "a red cat", height=64, width=64, num_inference_steps=2, output_type="np"
    ).images[0]
    assert picture.shape == (64, 64, 3)
    assert np.isfinite(picture).all()
