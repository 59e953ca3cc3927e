"""k-means on any device, all its starts at once.

Sources: Lloyd, IEEE Transactions on Information Theory 28 (1982); Arthur and Vassilvitskii
(k-means++), SODA 2007. Draws, stopping and empty clusters are as in scikit-learn's `KMeans`, so
that it gives the same clusters.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

MOST_ITERATIONS = 300
TOLERANCE = 1e-4
"""A start has ended when its centres move less than this share of the points' mean variance."""


def k_means(points: Tensor, clusters: int, starts: int, seed: int) -> Tensor:
    """The cluster of each point by the best of some starts, int64 (points,), on their device.

    points: (points, features), at least as many as clusters. Which number a cluster gets is
    arbitrary, but the same for the same seed.
    """
    points = points.double()
    points = points - points.mean(dim=0)
    return lloyd(points, starting_centres(points, clusters, starts, seed))


def starting_centres(points: Tensor, clusters: int, starts: int, seed: int) -> Tensor:
    """Centres that are far apart, (starts, clusters, features): greedy k-means++.

    Each is the best of a few points drawn by their squared distance from the centres before. The
    numbers are drawn on the CPU, so every device begins alike.
    """
    tries, count = 2 + int(math.log(clusters)), len(points)
    draws = np.random.RandomState(seed)
    # Start by start, as if one came after the other.
    drawn = [
        (draws.random_sample(), draws.random_sample((clusters - 1, tries))) for _ in range(starts)
    ]
    first = torch.tensor([min(int(one * count), count - 1) for one, _ in drawn])
    shares = torch.tensor(np.array([rest for _, rest in drawn])).to(points)
    centres = [points[first.to(points.device)]]  # each (starts, features)
    nearest = _distances(points, centres[0][:, None])[..., 0]  # (starts, points)
    for index in range(clusters - 1):
        sums = nearest.cumsum(dim=1)
        wanted = shares[:, index] * nearest.sum(dim=1, keepdim=True)
        tried = torch.searchsorted(sums, wanted).clamp_max(count - 1)  # (starts, tries)
        reached = _distances(points, points[tried]).transpose(1, 2)  # (starts, tries, points)
        reached = torch.minimum(reached, nearest[:, None])
        best = reached.sum(dim=2).argmin(dim=1, keepdim=True)
        nearest = reached.take_along_dim(best[..., None], dim=1)[:, 0]
        centres.append(points[tried.gather(1, best)[:, 0]])
    return torch.stack(centres, dim=1)


def lloyd(points: Tensor, centres: Tensor) -> Tensor:
    """The cluster of each point, (points,), of the start that ends with its points the nearest.

    points: (points, features). centres: (starts, clusters, features).
    """
    limit = TOLERANCE * points.var(dim=0, correction=0).mean()
    centres, going = centres.clone(), torch.arange(len(centres), device=points.device)
    for _ in range(MOST_ITERATIONS):
        moved = _means(points, centres[going])
        shifts = (moved - centres[going]).square().sum(dim=(1, 2))
        centres[going] = moved
        going = going[shifts > limit]
        if not len(going):
            break
    distances, labels = _distances(points, centres).min(dim=2)
    return labels[distances.sum(dim=1).argmin()]


def _means(points: Tensor, centres: Tensor) -> Tensor:
    """The mean of the points nearest to each centre; none's is a point far from all centres."""
    distances, labels = _distances(points, centres).min(dim=2)
    numbers = torch.arange(centres.shape[1], device=points.device)
    members = (labels[:, None] == numbers[:, None]).to(points)  # (starts, clusters, points)
    empty = members.sum(dim=2) == 0
    for start in empty.any(dim=1).nonzero()[:, 0].tolist():
        lonely = distances[start].topk(int(empty[start].sum())).indices
        members[start, :, lonely] = 0
        members[start, empty[start].nonzero()[:, 0], lonely] = 1
    # Flat, so that the points are not copied for each start.
    sums = (members.flatten(0, 1) @ points).view_as(centres)
    return sums / members.sum(dim=2)[..., None].clamp_min(1)


def _distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared, (starts, points, centres), of centres (starts, centres, features)."""
    # Flat, so that the points are not copied for each start.
    products = (centres.flatten(0, 1) @ points.T).view(*centres.shape[:2], -1)
    lengths = points.square().sum(dim=1) + centres.square().sum(dim=2)[..., None]
    return (lengths - 2 * products).clamp_min(0).transpose(1, 2)
