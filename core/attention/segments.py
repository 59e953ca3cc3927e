"""Self-segmentation: clusters of self-attention, named by cross-attention.

Source: Patashnik et al., "Localizing Object-level Shape Variations with Text-to-Image Diffusion
Models", ICCV 2023, arXiv 2303.11306, section 4.2; as used by Alaluf et al., arXiv 2311.03335.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.attention.grids import Grid
from core.attention.k_means import k_means

BACKGROUND = -1
"""In place of a noun's index: the cluster is none of them."""

STARTS = 10
"""Starts of k-means, the best of which counts."""


def cluster_tokens(self_attention: Tensor, segments: int, grid: Grid, seed: int) -> Tensor:
    """k-means over the rows of a self-attention map (tokens, tokens).

    Returns the cluster of each token, int64 (height, width), 0 to segments - 1. Which number a
    cluster gets is arbitrary, but the same for the same seed.
    """
    return k_means(self_attention, segments, STARTS, seed).cpu().reshape(grid)


def noun_map(cross_attention: Tensor, tokens: Sequence[int]) -> Tensor:
    """How much each place of a cross-attention map (height, width, text tokens) is a noun.

    tokens: positions of all the noun's tokens in the text; their maps are averaged.
    Returns (height, width), (m - |min m|) / max m, at most 1.
    Differs from the paper's code in that a noun may have several tokens.
    """
    heat = cross_attention[..., list(tokens)].float().mean(dim=-1)
    normalised: Tensor = (heat - heat.min().abs()) / heat.max()
    return normalised


def noun_scores(labels: Tensor, nouns: Sequence[Tensor]) -> Tensor:
    """The mean of each noun's map in each cluster, float32 (clusters, nouns).

    labels: (height, width). nouns: maps whose sides divide those of the labels; they are
    repeated to their size. A cluster without tokens scores 0.
    """
    places = torch.nn.functional.one_hot(labels.flatten()).float()  # (tokens, clusters)
    maps = torch.stack([_repeated(heat.cpu(), labels.shape).flatten() for heat in nouns], dim=1)
    return (places.T @ maps) / places.sum(dim=0)[:, None].clamp_min(1)


def named_above(scores: Tensor, threshold: float) -> Tensor:
    """The best noun of each cluster, or BACKGROUND at a score of `threshold` or less.

    The rule of arXiv 2303.11306. scores: (clusters, nouns). Returns int64 (clusters,).
    """
    best, noun = scores.max(dim=1)
    return torch.where(best > threshold, noun, BACKGROUND)


def contrast_of_best(scores: Tensor) -> Tensor:
    """Each cluster's best score over the mean of all clusters' but the highest, (clusters,).

    scores: (clusters, nouns), of two clusters at least.
    """
    best = scores.max(dim=1).values
    others: Tensor = best.sort().values[:-1].mean()
    return best / others


def named_by_contrast(scores: Tensor, ratio: float) -> Tensor:
    """The best noun of each cluster where `contrast_of_best` is above `ratio`, or BACKGROUND.

    The rule of cross-image attention's code. Returns int64 (clusters,).
    """
    return torch.where(contrast_of_best(scores) > ratio, scores.argmax(dim=1), BACKGROUND)


def mask_of(labels: Tensor, named: Tensor, nouns: Sequence[int]) -> Tensor:
    """Where a token's cluster is one of `nouns`, bool of the shape of `labels`."""
    return torch.isin(named[labels], torch.tensor(list(nouns)))


def _repeated(heat: Tensor, shape: Sequence[int]) -> Tensor:
    """`heat` at a size that is a whole multiple of its own, each value repeated.

    Raises ValueError for a size that isn't.
    """
    times = [wanted // side for wanted, side in zip(shape, heat.shape, strict=True)]
    repeated = heat.repeat_interleave(times[0], 0).repeat_interleave(times[1], 1)
    if repeated.shape != tuple(shape):
        raise ValueError(f"a map of {tuple(heat.shape)} does not fill {tuple(shape)}")
    return repeated
