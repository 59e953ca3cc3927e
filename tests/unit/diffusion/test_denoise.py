"""Loading, text, the loop and decoding, against diffusers' own pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.contract.errors import ModelUnavailable
from core.contract.models import Family
from core.diffusion.denoise import Guidance, denoise, guided, starting_noise
from core.diffusion.images import decode_image, decode_pixels, grid
from core.diffusion.model import DiffusionModel, best_device, load_model
from core.diffusion.prompts import encode_prompts
from tests.tiny_models import save_tiny, spec_of, tiny_model

PROMPTS = ["a cat", "a house, neon"]


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DiffusionModel:
    family: Family = request.param
    return tiny_model(tmp_path_factory.mktemp(family), family)


@pytest.mark.parametrize("scale", [5.0, 1.0])
def test_the_loop_draws_what_diffusers_draws(model: DiffusionModel, scale: float) -> None:
    noise = torch.cat([starting_noise(model, seed, 64, 64) for seed in (1, 2)])
    guidance = Guidance(encode_prompts(model, PROMPTS), encode_prompts(model, ["", ""]), scale)
    latents = denoise(model, noise, guided(model, guidance), steps=3)
    ours = np.stack([np.asarray(decode_image(model, picture[None])) for picture in latents])
    theirs = model.pipeline(
        PROMPTS,
        latents=noise,
        num_inference_steps=3,
        guidance_scale=scale,
        height=64,
        width=64,
        output_type="np",
    ).images
    assert np.abs(ours / 255 - theirs).max() < 1 / 255


def test_the_empty_prompt_is_zeros_where_the_model_wants_it(model: DiffusionModel) -> None:
    encoded = encode_prompts(model, ["a cat", ""])
    zeros = model.spec.family == "sdxl"
    assert bool((encoded.text[1] == 0).all()) == zeros
    assert encoded.text[0].abs().max() > 0
    if encoded.pooled is not None:
        assert encoded.pooled[1].abs().max() == 0
        assert encoded.pooled[0].abs().max() > 0


def test_noise_depends_on_nothing_but_seed_and_size(model: DiffusionModel) -> None:
    torch.manual_seed(0)
    one = starting_noise(model, 7, 64, 32)
    torch.manual_seed(1)
    assert torch.equal(one, starting_noise(model, 7, 64, 32))
    assert one.shape == (1, 4, 8, 16)
    assert not torch.equal(one, starting_noise(model, 8, 64, 32))


def test_a_vae_that_overflows_in_half_precision_is_widened_and_put_back(
    model: DiffusionModel, tmp_path: Path
) -> None:
    save_tiny(tmp_path, "sdxl")
    spec = spec_of(tmp_path, "sdxl").model_copy(update={"dtype": "float16"})
    half = load_model(spec, torch.device("cpu"))
    before = {name: value.clone() for name, value in half.vae.state_dict().items()}
    pixels = decode_pixels(half, torch.randn(1, 4, 16, 16).half())
    assert pixels.dtype == torch.float32
    after = half.vae.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    half.vae.decode = _out_of_memory
    with pytest.raises(torch.OutOfMemoryError):
        decode_pixels(half, torch.randn(1, 4, 16, 16).half())
    assert {value.dtype for value in half.vae.state_dict().values()} == {torch.float16}
    assert not any(parameter.is_inference() for parameter in half.vae.parameters())


def _out_of_memory(*_: Any) -> Any:
    raise torch.OutOfMemoryError("too large")


def test_the_fingerprint_tells_weights_apart(model: DiffusionModel, tmp_path: Path) -> None:
    again = load_model(model.spec, torch.device("cpu"))
    assert again.fingerprint == model.fingerprint
    other: Family = "sd2" if model.spec.family == "sd1" else "sd1"
    assert tiny_model(tmp_path, other).fingerprint != model.fingerprint


def test_weights_that_are_not_there_are_said_to_be_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="The weights of tiny can't be loaded"):
        load_model(spec_of(tmp_path / "nothing", "sd1"), torch.device("cpu"))


def test_the_device_is_the_one_asked_for() -> None:
    assert best_device("cpu").type == "cpu"
    assert best_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(("count", "size"), [(1, (8, 6)), (2, (18, 6)), (5, (18, 22))])
def test_a_grid_is_nearly_square(count: int, size: tuple[int, int]) -> None:
    assert grid([Image.new("RGB", (8, 6))] * count).size == size
