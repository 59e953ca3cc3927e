"""Edit-friendly inversion on tiny random models of every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.contract.models import Family
from core.diffusion.ddpm_inversion import (
    NoiseSpace,
    ddpm_inversion,
    ddpm_sampling,
)
from core.diffusion.denoise import Guidance, scheduler_for
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts
from tests.tiny_models import tiny_model

STEPS = 6


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")


def noise(steps: int = STEPS) -> Tensor:
    return torch.randn(steps, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def picture() -> Tensor:
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))


def guided(model: DiffusionModel, scale: float) -> Guidance:
    return Guidance(encode_prompts(model, ["a cat"]), encode_prompts(model, [""]), scale)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("scale", [1.0, 3.5])
def test_sampling_gives_the_picture_again(family: Family, scale: float, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, family)
    space = ddpm_inversion(model, picture(), noise(), guided(model, scale))
    again = ddpm_sampling(model, space, guided(model, scale), STEPS)
    # The last step's noise map is 0; what it held is of the size of the noise that is left.
    scheduler = scheduler_for(model, STEPS)
    left = float((1 - scheduler.alphas_cumprod[scheduler.timesteps[-1]]).sqrt())
    assert (again - picture()).abs().max() < 8 * left < 0.4


def test_batches_of_timesteps_change_nothing(sd1: DiffusionModel) -> None:
    one, many = (
        ddpm_inversion(sd1, picture(), noise(), guided(sd1, 3.5), batch=batch) for batch in (1, 4)
    )
    assert torch.equal(one.latents, many.latents)
    assert (one.noise - many.noise).abs().max() < 1e-4 * many.noise.abs().max()


def test_skipped_steps_are_not_computed_and_change_none_of_the_rest(sd1: DiffusionModel) -> None:
    done: list[int] = []
    whole = ddpm_inversion(sd1, picture(), noise(), guided(sd1, 1.0))
    rest = ddpm_inversion(
        sd1, picture(), noise(), guided(sd1, 1.0), skip=2, batch=3, after_batch=done.append
    )
    assert (len(rest.latents), len(rest.noise)) == (STEPS - 1, STEPS - 2)
    assert torch.equal(rest.latents, whole.latents[2:])
    assert torch.allclose(rest.noise, whole.noise[2:], atol=1e-4)
    assert done == [3, 4]


def test_the_last_of_the_latents_is_the_picture(sd1: DiffusionModel) -> None:
    space: NoiseSpace = ddpm_inversion(sd1, picture(), noise(), guided(sd1, 1.0))
    assert torch.equal(space.latents[-1:], picture())
    assert not space.noise[-1].any()
