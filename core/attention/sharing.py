"""Shared self-attention and shared group norm: what StyleAligned installs in a UNet.

Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024,
arXiv 2312.02133, equations 4 and 5.

A reference goes through the UNet in a pass of its own, in which `Remembering` processors
keep its features. The targets' pass then reads them with `Following` processors. That gives
what one batch of both gives, since a reference never depends on the targets; and references
may have other sizes, other weights, or serve many batches of targets.

A batch of n pictures under classifier-free guidance has 2 n rows, [uncond…, cond…]: two
halves. Each half of the targets follows its own half of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.attention.heads import finish, project
from core.attention.memory import Features, Memory, Moments, NormMoments, moments
from core.attention.merged import Group, merged_attention
from core.attention.shares import Shares


@dataclass(frozen=True)
class Remembering:
    """Plain self-attention that keeps the layer's features. `layer` is its name."""

    layer: str
    memory: Memory

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Self-attention of (halves, tokens, channels); the same shape out."""
        queries, keys, values = project(attn, hidden_states)
        self.memory.attention[self.layer] = Features(
            keys, values, moments(queries), moments(keys), moments(values)
        )
        own = Group(keys, values, _scale(queries))
        return finish(attn, merged_attention(queries, [own]), hidden_states)


@dataclass(frozen=True)
class Following:
    """Self-attention of targets that also read what references left in memory.

    shares: how much of each reference; a share's logarithm is added to its keys' scores.
    adain_queries, adain_keys, adain_values: give targets' own features the references'
    means and deviations before attending.
    attend: read the references' keys and values; without it only AdaIN is applied.
    score_scale: factor of the scores of references' keys.
    score_shifts: added to those scores, a number for each reference.
    """

    layer: str
    memories: Sequence[Memory]
    shares: Shares
    halves: int
    attend: bool = True
    adain_queries: bool = True
    adain_keys: bool = True
    adain_values: bool = False
    score_scale: float = 1.0
    score_shifts: Sequence[float] = (0.0,)

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Self-attention of (halves x targets, tokens, channels); the same shape out."""
        features = project(attn, hidden_states)
        halves = [
            self._attend(half, *parts)
            for half, parts in enumerate(
                zip(*(part.chunk(self.halves) for part in features), strict=True)
            )
        ]
        return finish(attn, torch.cat(halves), hidden_states)

    def _attend(self, half: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        remembered = [memory.attention[self.layer] for memory in self.memories]
        shares = self.shares.at(queries.shape[2])
        if self.adain_queries:
            queries = adain(queries, [_row(r.query_moments, half) for r in remembered], shares)
        if self.adain_keys:
            keys = adain(keys, [_row(r.key_moments, half) for r in remembered], shares)
        if self.adain_values:
            values = adain(values, [_row(r.value_moments, half) for r in remembered], shares)
        scale = _scale(queries)
        groups = [Group(keys, values, scale)]
        if self.attend:
            groups += [
                Group(
                    kept.keys[half : half + 1],
                    kept.values[half : half + 1],
                    scale * self.score_scale,
                    shift + shares[:, None, index].log(),
                )
                for index, (kept, shift) in enumerate(
                    zip(remembered, self.score_shifts, strict=True)
                )
            ]
        return merged_attention(queries, groups)


@dataclass(frozen=True)
class Pooled:
    """Full sharing: every row of a half attends to the tokens of all its rows."""

    halves: int

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Self-attention of (halves x pictures, tokens, channels); the same shape out."""
        features = project(attn, hidden_states)
        outputs = [
            merged_attention(queries, [Group(_pool(keys), _pool(values), _scale(queries))])
            for queries, keys, values in zip(
                *(part.chunk(self.halves) for part in features), strict=True
            )
        ]
        return finish(attn, torch.cat(outputs), hidden_states)


def _pool(features: Tensor) -> Tensor:
    """The tokens of several rows as those of one: (1, heads, rows x tokens, head_dim)."""
    return features.transpose(0, 1).flatten(1, 2)[None]


def _scale(queries: Tensor) -> float:
    return 1 / math.sqrt(queries.shape[-1])


def _row(kept: Moments, half: int) -> Moments:
    return Moments(kept.mean[half : half + 1], kept.deviation[half : half + 1])


def adain(features: Tensor, styles: Sequence[Moments], shares: Tensor) -> Tensor:
    """`features` moved towards the moments of `styles`, over tokens, head by head.

    Source: Huang and Belongie, ICCV 2017, equation 8; for several styles the mean of what
    each would give, weighted by its share. A style that has a share in some places only
    replaces the moments that the features have there.

    features: (rows, heads, tokens, head_dim). styles: (1, heads, 1, head_dim) each.
    shares: (rows or 1, styles, tokens or 1), adding up to at most 1 over styles.
    """
    precise = features.to(torch.promote_types(features.dtype, torch.float32))
    own = moments(precise) if shares.shape[-1] == 1 else None
    moved = precise * (1 - shares.sum(1))[:, None, :, None]
    for index, style in enumerate(styles):
        share = shares[:, index]
        here = own or moments(precise, share)
        styled = (precise - here.mean) / here.deviation * style.deviation + style.mean
        moved = moved + styled * share[:, None, :, None]
    return moved.to(features.dtype)


def remembering_norm(norm: torch.nn.GroupNorm, memory: Memory) -> Callable[[Tensor], Tensor]:
    """A forward for `norm` that does what it does, and keeps the moments of its groups."""

    def forward(features: Tensor) -> Tensor:
        memory.norms[norm] = _norm_moments(norm, features)
        return torch.nn.functional.group_norm(
            features, norm.num_groups, norm.weight, norm.bias, norm.eps
        )

    return forward


def following_norm(
    norm: torch.nn.GroupNorm, memories: Sequence[Memory], shares: Shares, halves: int
) -> Callable[[Tensor], Tensor]:
    """A forward for `norm` with statistics of the union of a target and its references.

    A reference counts by its number of values times its share. Takes and gives
    (halves x targets, channels, …).
    """

    def forward(features: Tensor) -> Tensor:
        own = _norm_moments(norm, features)
        overall = shares.overall().to(own.mean.dtype)
        rows = len(features) // halves
        others = [memory.norms[norm] for memory in memories]
        weights = [overall[:, i].expand(rows).repeat(halves) for i in range(len(others))]
        spread = [
            NormMoments(
                other.mean.repeat_interleave(rows, 0),
                other.variance.repeat_interleave(rows, 0),
                other.size,
            )
            for other in others
        ]
        return _normalised(norm, features, _union(own, spread, weights))

    return forward


def pooled_norm(norm: torch.nn.GroupNorm, halves: int) -> Callable[[Tensor], Tensor]:
    """A forward for `norm` with statistics of the union of each row and its half's first."""

    def forward(features: Tensor) -> Tensor:
        own = _norm_moments(norm, features)
        rows = len(features) // halves
        first = NormMoments(
            own.mean[::rows].repeat_interleave(rows, 0),
            own.variance[::rows].repeat_interleave(rows, 0),
            own.size,
        )
        ones = torch.ones(len(features), dtype=own.mean.dtype, device=own.mean.device)
        return _normalised(norm, features, _union(own, [first], [ones]))

    return forward


def _norm_moments(norm: torch.nn.GroupNorm, features: Tensor) -> NormMoments:
    precise = torch.promote_types(features.dtype, torch.float32)
    grouped = features.to(precise).reshape(len(features), norm.num_groups, -1)
    variance, mean = torch.var_mean(grouped, dim=-1, correction=0)
    return NormMoments(mean, variance, grouped.shape[-1])


def _union(
    own: NormMoments, others: Sequence[NormMoments], weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean and variance, (rows, groups) each, of all values together (law of total variance).

    weights: (rows,) for each of `others`, how often each of its values counts.
    """
    parts = [own, *others]
    counts = [torch.full_like(own.mean[:, :1], own.size)]
    counts += [weight[:, None] * part.size for weight, part in zip(weights, others, strict=True)]
    total = torch.stack(counts).sum(0)
    mean = torch.stack([n * p.mean for n, p in zip(counts, parts, strict=True)]).sum(0) / total
    squares = [
        n * (p.variance + (p.mean - mean).square()) for n, p in zip(counts, parts, strict=True)
    ]
    return mean, torch.stack(squares).sum(0) / total


def _normalised(
    norm: torch.nn.GroupNorm, features: Tensor, statistics: tuple[Tensor, Tensor]
) -> Tensor:
    mean, variance = statistics
    grouped = features.to(mean.dtype).reshape(*mean.shape, -1)
    normalised = (grouped - mean[..., None]) * (variance[..., None] + norm.eps).rsqrt()
    output = normalised.reshape(features.shape).to(features.dtype)
    if norm.affine:
        trailing = (1, -1) + (1,) * (features.ndim - 2)
        output = output * norm.weight.view(trailing) + norm.bias.view(trailing)
    return output
