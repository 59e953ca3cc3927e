"""What a reference's own pass through the UNet leaves for the targets to read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

_EPSILON = 1e-5


@dataclass(frozen=True)
class Moments:
    """Mean and deviation of some features over tokens, (rows, heads, 1, head_dim)."""

    mean: Tensor
    deviation: Tensor


@dataclass(frozen=True)
class Features:
    """One layer's self-attention features of a reference, a row for each half of the batch.

    keys, values: (halves, heads, tokens, head_dim). The queries are kept as moments only.
    """

    keys: Tensor
    values: Tensor
    query_moments: Moments
    key_moments: Moments
    value_moments: Moments


@dataclass(frozen=True)
class NormMoments:
    """Mean and variance of a norm's groups, (halves, groups) each, over `size` values each."""

    mean: Tensor
    variance: Tensor
    size: int


@dataclass(frozen=True)
class Memory:
    """One reference, layer by layer; written anew at every step."""

    attention: dict[str, Features] = field(default_factory=dict)
    norms: dict[torch.nn.GroupNorm, NormMoments] = field(default_factory=dict)


def moments(features: Tensor, weights: Tensor | None = None) -> Moments:
    """Moments over tokens: unbiased variance, 1e-5 inside the root, in float32 at least.

    features: (rows, heads, tokens, head_dim). weights: how much each token counts, (rows or
    1, tokens), all alike if absent. The variance divides by the sum of weights less their
    mean, which for equal weights is the unbiased one.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    if weights is None:
        variance, mean = torch.var_mean(features, dim=-2, keepdim=True)
        return Moments(mean, (variance + _EPSILON).sqrt())
    counted = weights[:, None, :, None].to(features.dtype)
    total = counted.sum(-2, keepdim=True).clamp_min(torch.finfo(features.dtype).tiny)
    mean = (features * counted).sum(-2, keepdim=True) / total
    squares = ((features - mean).square() * counted).sum(-2, keepdim=True)
    variance = squares / (total * (1 - 1 / features.shape[-2]))
    return Moments(mean, (variance + _EPSILON).sqrt())
