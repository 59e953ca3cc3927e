"""Merging of attention maps into segments, on maps that have them."""

from __future__ import annotations

import torch
from torch import Tensor

from core.attention.merging import aggregated, divergence, merge_tokens

GRID = (8, 8)


def of_regions(regions: Tensor, leak: float = 0.05) -> Tensor:
    """A map (tokens, tokens) in which each token reads its own region, and all others a little."""
    flat = regions.flatten()
    own = (flat[:, None] == flat[None]).float() + leak
    return own / own.sum(dim=1, keepdim=True)


def halves(side: int) -> Tensor:
    return (torch.arange(side) >= side // 2).long().expand(side, side)


def test_divergence_is_the_symmetric_kl_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    forth = (p * (p / q).log()).sum()
    back = (q * (q / p).log()).sum()
    torch.testing.assert_close(divergence(p, q)[0, 0], (forth + back) / 2)


def test_regions_are_found_without_a_number_of_them_and_the_largest_is_0() -> None:
    regions = torch.zeros(8, 8, dtype=torch.long)
    regions[:3, :3], regions[5:, 5:] = 1, 2
    regions[5:, :2] = 3
    found = merge_tokens(of_regions(regions), GRID, 0.5, most=16)
    assert found.max() == 3
    for region in range(4):
        assert len(set(found[regions == region].tolist())) == 1
    assert (found[regions == 0] == 0).all()


def test_a_high_threshold_makes_all_one() -> None:
    assert merge_tokens(of_regions(halves(8)), GRID, 100, most=16).max() == 0


def test_of_too_many_segments_the_largest_are_kept() -> None:
    regions = torch.arange(8)[:, None].expand(8, 8)
    found = merge_tokens(of_regions(regions), GRID, 0.1, most=3)
    assert sorted(set(found.flatten().tolist())) == [0, 1, 2]


def test_maps_of_all_resolutions_become_one_whose_rows_sum_to_1() -> None:
    maps = {(8, 8): of_regions(halves(8)), (4, 4): of_regions(halves(4))}
    whole = aggregated(maps, GRID)
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(64))
    assert (merge_tokens(whole, GRID, 0.3, most=16) == halves(8)).all()
