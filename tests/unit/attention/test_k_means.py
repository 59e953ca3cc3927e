"""k-means gives the clusters that scikit-learn's gives."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from core.attention.k_means import k_means, lloyd, starting_centres


def maps(seed: int, tokens: int = 64, sharpness: float = 3.0) -> Tensor:
    """Something like self-attention: positive rows that add up to 1."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(tokens, 6, generator=generator)
    return (sharpness * features @ features.T / 6).softmax(dim=-1)


def same_parts(one: Tensor, other: Tensor) -> bool:
    """Whether the labels differ in their order at most."""
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.parametrize("seed", range(8))
def test_from_the_same_centres_the_clusters_are_scikit_learns(seed: int) -> None:
    points = maps(seed).double()
    centres = starting_centres(points, 5, 1, seed)
    theirs = KMeans(5, init=centres[0].numpy(), n_init=1).fit_predict(points.numpy())
    assert lloyd(points, centres).tolist() == theirs.tolist()


@pytest.mark.parametrize("clusters", [2, 5, 16])
@pytest.mark.parametrize("seed", range(6))
def test_from_the_same_seed_the_clusters_are_scikit_learns(seed: int, clusters: int) -> None:
    points = maps(seed, tokens=100)
    theirs = KMeans(clusters, n_init=10, random_state=seed).fit_predict(points.double().numpy())
    assert same_parts(k_means(points, clusters, 10, seed), torch.from_numpy(theirs))


def test_a_cluster_that_runs_empty_begins_again_far_from_the_others() -> None:
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0]]).double()
    centres = torch.tensor([[[0.0], [5.0], [100.0]]]).double()
    theirs = KMeans(3, init=centres[0].numpy(), n_init=1).fit_predict(points.numpy())
    assert lloyd(points, centres).tolist() == theirs.tolist() == [0, 0, 1, 1, 2]


def test_points_that_are_all_alike_are_one_cluster() -> None:
    assert set(k_means(torch.ones(9, 4), 3, 10, 0).tolist()) == {0}
