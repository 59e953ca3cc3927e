"""Shared self-attention and shared group norm: what a StyleAligned plan installs.

Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024,
arXiv 2312.02133, equations 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.attention.merged import Group, merged_attention
from core.attention.rows import Readers, RowMap

_EPSILON = 1e-5


@dataclass(frozen=True)
class SharedAttention:
    """An attention processor in which rows read others as a `RowMap` says.

    Rows that read a pool (themselves in it) attend to it plainly, whatever is set below.

    adain_queries, adain_keys, adain_values: give a reader's own features the mean and
    deviation of the first row it reads, before attending.
    attend: read the other rows' keys and values; without it only AdaIN is applied.
    score_scale, score_shift: applied to the scores of keys that are read from other rows.
    """

    rows: RowMap
    attend: bool = True
    adain_queries: bool = True
    adain_keys: bool = True
    adain_values: bool = False
    score_scale: float = 1.0
    score_shift: float = 0.0

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Self-attention of hidden_states (rows, tokens, channels), same shape out.

        Raises ValueError for another number of rows than the map's, or for a use that
        isn't plain self-attention.
        """
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("shared attention is self-attention without a mask")
        if len(hidden_states) != len(self.rows):
            raise ValueError(f"{len(hidden_states)} rows came, {len(self.rows)} were planned")
        queries, keys, values = (
            _split_heads(project(hidden_states), attn.heads)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        output = torch.cat([self._attend(run, queries, keys, values) for run in self.rows.runs()])
        merged = output.transpose(1, 2).flatten(2)
        projected: Tensor = attn.to_out[1](attn.to_out[0](merged))
        if attn.residual_connection:
            projected = projected + hidden_states
        scaled: Tensor = projected / attn.rescale_output_factor
        return scaled

    def _attend(self, run: Readers, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        scale = 1 / math.sqrt(queries.shape[-1])
        if run.rows.start in run.reads:
            pool = Group(_pooled(keys, run.reads), _pooled(values, run.reads), scale)
            return merged_attention(queries[run.rows], [pool])
        own_q, own_k, own_v = queries[run.rows], keys[run.rows], values[run.rows]
        if run.reads:
            first = slice(run.reads[0], run.reads[0] + 1)
            own_q = adain(own_q, queries[first]) if self.adain_queries else own_q
            own_k = adain(own_k, keys[first]) if self.adain_keys else own_k
            own_v = adain(own_v, values[first]) if self.adain_values else own_v
        groups = [Group(own_k, own_v, scale)]
        if self.attend:
            groups += [
                Group(
                    keys[read : read + 1],
                    values[read : read + 1],
                    scale * self.score_scale,
                    self.score_shift,
                )
                for read in run.reads
            ]
        return merged_attention(own_q, groups)


def _pooled(features: Tensor, reads: Sequence[int]) -> Tensor:
    """The tokens of several rows as those of one: (1, heads, rows x tokens, head_dim)."""
    return features[list(reads)].transpose(0, 1).flatten(1, 2)[None]


def _split_heads(features: Tensor, heads: int) -> Tensor:
    """(rows, tokens, channels) -> (rows, heads, tokens, head_dim)."""
    rows, tokens, _ = features.shape
    return features.view(rows, tokens, heads, -1).transpose(1, 2)


def adain(features: Tensor, style: Tensor) -> Tensor:
    """`features` with the mean and deviation of `style`, over tokens, head by head.

    Source: Huang and Belongie, ICCV 2017, equation 8. Unbiased variance, 1e-5 inside the
    root, statistics in float32 at least.
    features: (rows, heads, tokens, head_dim); style: (rows or 1, heads, tokens, head_dim).
    """
    precise = torch.promote_types(features.dtype, torch.float32)
    mean, deviation = _moments(features.to(precise))
    style_mean, style_deviation = _moments(style.to(precise))
    shifted = (features.to(precise) - mean) / deviation * style_deviation + style_mean
    return shifted.to(features.dtype)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(features, dim=-2, keepdim=True)
    return mean, (variance + _EPSILON).sqrt()


def shared_group_norm(norm: torch.nn.GroupNorm, rows: RowMap) -> Callable[[Tensor], Tensor]:
    """A forward for `norm` with statistics of the union of a row and the rows it reads.

    The moments of each row are taken once and merged (law of total variance); no feature
    map is concatenated. Equal token counts make the merge a plain mean.
    The forward takes and gives (rows, channels, …). It raises ValueError for another
    number of rows than the map's.
    """
    unions = [list({index, *row.reads}) for index, row in enumerate(rows.rows)]

    def forward(features: Tensor) -> Tensor:
        if len(features) != len(unions):
            raise ValueError(f"{len(features)} rows came, {len(unions)} were planned")
        precise = torch.promote_types(features.dtype, torch.float32)
        grouped = features.to(precise).reshape(len(unions), norm.num_groups, -1)
        variance, mean = torch.var_mean(grouped, dim=-1, correction=0)
        centres, variances = [], []
        for union in unions:
            centre = mean[union].mean(0)
            centres.append(centre)
            variances.append((variance[union] + (mean[union] - centre).square()).mean(0))
        centre, spread = torch.stack(centres)[..., None], torch.stack(variances)[..., None]
        normalised = (grouped - centre) * (spread + norm.eps).rsqrt()
        output = normalised.reshape(features.shape).to(features.dtype)
        if norm.affine:
            trailing = (1, -1) + (1,) * (features.ndim - 2)
            output = output * norm.weight.view(trailing) + norm.bias.view(trailing)
        return output

    return forward
