"""Clusters of planted attention maps, and their names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.attention.segments import (
    BACKGROUND,
    cluster_tokens,
    contrast_of_best,
    mask_of,
    named_above,
    named_by_contrast,
    noun_map,
    noun_scores,
)


def planted() -> tuple[Tensor, Tensor]:
    """Self-attention of an 8 x 8 picture that is left, right top and right bottom; its parts."""
    parts = torch.zeros(8, 8, dtype=torch.int64)
    parts[:4, 4:], parts[4:, 4:] = 1, 2
    same = (parts.flatten()[:, None] == parts.flatten()).float()
    noise = 0.01 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    return same / same.sum(-1, keepdim=True) + noise / 64, parts


def test_planted_parts_are_found() -> None:
    attention, parts = planted()
    labels = cluster_tokens(attention, 3, (8, 8), seed=0)
    pairs = set(zip(labels.flatten().tolist(), parts.flatten().tolist(), strict=True))
    assert len(pairs) == 3
    assert torch.equal(cluster_tokens(attention, 3, (8, 8), seed=0), labels)


def test_a_nouns_map_is_the_mean_of_its_tokens_normalised() -> None:
    cross = torch.rand(4, 4, 6, generator=torch.Generator().manual_seed(1))
    heat = cross[..., [2, 3]].mean(-1)
    expected = (heat - heat.min()) / heat.max()
    assert torch.allclose(noun_map(cross, [2, 3]), expected)


def test_scores_are_means_inside_clusters_of_maps_half_the_size() -> None:
    labels = torch.zeros(4, 4, dtype=torch.int64)
    labels[:, 2:] = 1
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert torch.equal(noun_scores(labels, [left, 1 - left]), torch.tensor([[1.0, 0], [0, 1.0]]))
    with pytest.raises(ValueError, match="does not fill"):
        noun_scores(labels, [torch.ones(3, 3)])


def test_the_rules_name_what_fits_and_leave_the_rest_to_the_background() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.6], [0.2, 0.1], [0.1, 0.1]])
    assert named_above(scores, 0.35).tolist() == [0, 1, BACKGROUND, BACKGROUND]
    assert torch.allclose(contrast_of_best(scores), torch.tensor([3.0, 2.0, 2 / 3, 1 / 3]))
    assert named_by_contrast(scores, 1.4).tolist() == [0, 1, BACKGROUND, BACKGROUND]
    labels = torch.tensor([[0, 1], [2, 3]])
    named = named_by_contrast(scores, 1.4)
    assert mask_of(labels, named, [0]).tolist() == [[True, False], [False, False]]
    assert mask_of(labels, named, [0, 1]).tolist() == [[True, True], [False, False]]
