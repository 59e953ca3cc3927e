"""How much each target follows each reference, and where."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.attention.shares import Shares


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_even_shares_add_up_to_one_in_proportion_to_the_weights(weights: list[float]) -> None:
    shares = Shares.even(weights).at(64)[0, :, 0]
    assert shares.sum().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(shares / shares[0], torch.tensor(weights) / weights[0], rtol=1e-4)


def test_masks_that_overlap_share_by_weight_and_gaps_are_nobodys() -> None:
    masks = torch.tensor([[[[1.0, 1.0, 0.0, 0.5]], [[0.0, 1.0, 0.0, 0.0]]]])
    shares = Shares.masked(masks, [1, 3]).maps[0, :, 0]
    assert torch.allclose(shares[0], torch.tensor([1, 0.25, 0, 0.5]))
    assert torch.allclose(shares[1], torch.tensor([0, 0.75, 0, 0]))


def test_maps_are_averaged_down_to_a_layers_tokens() -> None:
    masks = torch.zeros(1, 1, 8, 16)
    masks[..., :8] = 1
    assert Shares.masked(masks, [1]).at(8)[0, 0].tolist() == [1, 1, 0, 0, 1, 1, 0, 0]


def test_maps_of_another_shape_than_the_layers_are_an_error() -> None:
    with pytest.raises(ValueError, match="don't fit a layer of 7 tokens"):
        Shares.masked(torch.ones(1, 1, 8, 8), [1]).at(7)
