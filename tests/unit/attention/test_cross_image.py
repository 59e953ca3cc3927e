"""The swap, its schedule, and which layers it is installed in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention

from core.attention.cross_image import (
    CrossImageAttention,
    SwapSchedule,
    decoder_grids,
    swap_plan,
)
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")


@pytest.fixture
def module() -> Attention:
    torch.manual_seed(0)
    return Attention(16, heads=2, dim_head=8)


@torch.no_grad()
def test_only_the_reader_changes_and_it_reads_the_source(module: Attention) -> None:
    states = torch.randn(4, 25, 16)
    plain = module(states)
    module.set_processor(CrossImageAttention(reader=3, source=1, contrast=1.0))
    swapped = module(states)
    assert torch.allclose(swapped[:3], plain[:3], atol=1e-6)
    # With the source's own queries, reading the source is plain attention of the source.
    twice = torch.cat([states[:3], states[1:2]])
    assert torch.allclose(module(twice)[3], plain[1], atol=1e-5)
    assert not torch.allclose(swapped[3], plain[3], atol=1e-3)


@torch.no_grad()
def test_a_reader_in_the_first_row_is_as_good(module: Attention) -> None:
    states = torch.randn(3, 25, 16)
    module.set_processor(CrossImageAttention(reader=0, source=2, contrast=1.67))
    first = module(states)[0]
    module.set_processor(CrossImageAttention(reader=2, source=0, contrast=1.67))
    assert torch.allclose(module(states.flip(0))[2], first, atol=1e-6)


def test_rows_that_are_not_there_and_text_are_refused(module: Attention) -> None:
    module.set_processor(CrossImageAttention(reader=3, source=1, contrast=1.0))
    with pytest.raises(ValueError, match="row 3"):
        module(torch.randn(3, 4, 16))
    with pytest.raises(ValueError, match="without a mask"):
        module(torch.randn(4, 4, 16), encoder_hidden_states=torch.randn(4, 4, 16))


def test_ranges_end_before_their_last_number() -> None:
    schedule = SwapSchedule({(32, 32): range(2, 5), (64, 64): range(2, 7)})
    assert schedule.grids(1) == frozenset()
    assert schedule.grids(2) == {(32, 32), (64, 64)}
    assert schedule.grids(5) == {(64, 64)}
    assert schedule.grids(7) == frozenset()


def test_every_fifth_step_of_a_range_reads_the_structure() -> None:
    schedule = SwapSchedule(structure=range(12))
    assert [step for step in range(20) if schedule.from_structure(step)] == [0, 5, 10]


def test_a_lag_is_the_authors_counter_that_is_set_after_a_step() -> None:
    schedule = SwapSchedule({(8, 8): range(2)}, structure=range(10), lag=1)
    assert [bool(schedule.grids(step)) for step in range(4)] == [True, True, True, False]
    assert [step for step in range(9) if schedule.from_structure(step)] == [0, 1, 6]


def test_the_plan_takes_the_decoders_self_attention_of_a_grid(sd1: DiffusionModel) -> None:
    assert decoder_grids(sd1.unet, (16, 16)) == [(16, 16)]
    processor = CrossImageAttention(0, 1, 1.0)
    names = swap_plan(sd1.unet, (16, 16), frozenset({(16, 16)}), processor).processors
    assert names
    assert all("up_blocks" in name and name.endswith("attn1") for name in names)
    assert not swap_plan(sd1.unet, (16, 16), frozenset({(8, 8)}), processor).processors


def test_grids_follow_latents_that_are_not_square(tmp_path: Path) -> None:
    sdxl = tiny_model(tmp_path, "sdxl")
    assert decoder_grids(sdxl.unet, (16, 24)) == [(8, 12)]
