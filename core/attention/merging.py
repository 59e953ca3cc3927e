"""Segments without a number of them: attention maps of all resolutions, merged.

Source: Tian et al., "Diffuse, Attend, and Segment" (DiffSeg), CVPR 2024, arXiv 2308.12469.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.attention.grids import Grid

ANCHORS = 16
"""Anchors a side of the grid, as in the paper; fewer where there are fewer tokens."""

ROUNDS = 3
"""Rounds of merging, the first of which gathers tokens around the anchors."""

_LEAST = 1e-8


def aggregated(maps: Mapping[Grid, Tensor], grid: Grid) -> Tensor:
    """One self-attention map of all resolutions, (tokens, tokens) of `grid`, its rows sum to 1.

    maps: (tokens, tokens) of each grid. Keys are interpolated and queries repeated; a map weighs
    as much as it has tokens a side. Differs from the paper in `grid`, which bounds the memory:
    there it is 64 x 64 tokens.
    """
    total = torch.zeros(grid[0] * grid[1], grid[0] * grid[1])
    for own, found in maps.items():
        keys = found.float().cpu().reshape(-1, 1, *own)
        keys = torch.nn.functional.interpolate(keys, grid, mode="bilinear").flatten(1)
        keys = keys / keys.sum(dim=1, keepdim=True)
        places = torch.nn.functional.interpolate(
            torch.arange(own[0] * own[1]).reshape(1, 1, *own).float(), grid, mode="nearest"
        )
        total += own[0] * keys[places.flatten().long()]
    return total / total.sum(dim=1, keepdim=True)


def divergence(one: Tensor, others: Tensor) -> Tensor:
    """Symmetric KL divergence of each of `one` (n, tokens) to each of `others` (m, tokens).

    Their rows are probabilities. Returns (n, m), (KL(p, q) + KL(q, p)) / 2.
    """
    p, q = one.clamp_min(_LEAST), others.clamp_min(_LEAST)
    own, their = (p * p.log()).sum(1), (q * q.log()).sum(1)
    return (own[:, None] - p @ q.log().T + their[None] - p.log() @ q.T) / 2


def merge_tokens(attention: Tensor, grid: Grid, threshold: float, most: int) -> Tensor:
    """Segments of an aggregated map (tokens, tokens), int64 of the shape of `grid`.

    threshold: rows nearer than this, in symmetric KL divergence, are one; a higher one gives
    fewer segments. most: of these segments the ones with the most tokens are kept, and share the
    tokens of the others. The segments are numbered by size, the largest is 0.
    """
    rows, columns = (
        torch.linspace(0, side - 1, min(ANCHORS, side)).round().long() for side in grid
    )
    anchors = attention[(rows[:, None] * grid[1] + columns).flatten()]
    near = (divergence(anchors, attention) < threshold).float()
    proposals = near @ attention / near.sum(dim=1, keepdim=True).clamp_min(1)
    for _ in range(ROUNDS - 1):
        proposals = _merged(proposals, threshold)
    kept = proposals[_by_size(proposals.argmax(dim=0), len(proposals))[:most]]
    labels = kept.argmax(dim=0)
    order = _by_size(labels, len(kept))
    return torch.argsort(order)[labels].reshape(grid)


def _merged(proposals: Tensor, threshold: float) -> Tensor:
    """Each proposal with all that are near it and in none before, as their mean."""
    near = divergence(proposals, proposals) < threshold
    free = torch.ones(len(proposals), dtype=torch.bool)
    means = []
    for index in range(len(proposals)):
        if free[index]:
            joined = near[index] & free
            joined[index] = True
            means.append(proposals[joined].mean(dim=0))
            free &= ~joined
    return torch.stack(means)


def _by_size(labels: Tensor, count: int) -> Tensor:
    """The labels from the one of the most tokens to that of the fewest; unused ones left out."""
    sizes = torch.bincount(labels, minlength=count)
    order = sizes.argsort(descending=True, stable=True)
    return order[sizes[order] > 0]
