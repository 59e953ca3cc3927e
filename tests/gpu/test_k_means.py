"""k-means on a CUDA device gives the clusters of the CPU."""

from __future__ import annotations

import pytest
import torch

from core.attention.k_means import k_means, lloyd, starting_centres
from tests.unit.attention.test_k_means import maps, same_parts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.mark.parametrize("clusters", [2, 5, 16])
@pytest.mark.parametrize("seed", range(4))
def test_from_the_same_seed_the_clusters_are_the_cpus(seed: int, clusters: int) -> None:
    points = maps(seed, tokens=400)
    on_gpu = k_means(points.cuda(), clusters, 10, seed)
    assert on_gpu.is_cuda
    assert same_parts(on_gpu.cpu(), k_means(points, clusters, 10, seed))


def test_from_the_same_centres_the_labels_are_the_cpus() -> None:
    points = maps(0, tokens=400).double()
    centres = starting_centres(points, 5, 1, seed=0)
    assert torch.equal(lloyd(points.cuda(), centres.cuda()).cpu(), lloyd(points, centres))
