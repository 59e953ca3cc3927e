"""FreeU acts inside its block and is gone after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from core.diffusion.free_u import FreeU, free_u, scale_low_frequencies
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1").unet


@torch.no_grad()
def run(unet: Any) -> Tensor:
    torch.manual_seed(0)
    output: Tensor = unet(torch.randn(1, 4, 16, 16), 5, torch.randn(1, 16, 32)).sample
    return output


def test_the_mean_of_a_picture_is_scaled_and_high_frequencies_are_not() -> None:
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    features = (3 + checks)[None, None]
    scaled = scale_low_frequencies(features, threshold=1, scale=0.5)
    assert torch.allclose(scaled, (1.5 + checks)[None, None], atol=1e-5)


@pytest.mark.parametrize("which", ["paper", "diffusers"])
def test_it_acts_inside_its_block_and_leaves_nothing_behind(unet: Any, which: FreeU) -> None:
    before = [dict(block.__dict__) for block in unet.up_blocks]
    hooks = [len(block._forward_pre_hooks) for block in unet.up_blocks]
    plain = run(unet)
    with free_u(unet, which):
        assert not torch.allclose(run(unet), plain, atol=1e-3)
    assert torch.equal(run(unet), plain)
    assert [set(block.__dict__) for block in unet.up_blocks] == [set(names) for names in before]
    assert [len(block._forward_pre_hooks) for block in unet.up_blocks] == hooks


def test_off_is_off(unet: Any) -> None:
    plain = run(unet)
    with free_u(unet, "off"):
        assert torch.equal(run(unet), plain)
