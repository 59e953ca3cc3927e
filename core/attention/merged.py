"""Merged attention: one softmax over several groups of keys, without concatenating them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK_SCORES = 2**24
"""Scores held at once where no fused kernel gives the log-sum-exp: 64 MiB in float32."""


@dataclass(frozen=True)
class Group:
    """Keys and values that queries may read together.

    keys, values: (batch or 1, heads, tokens, head_dim). A batch of 1 is read by every row;
    it is never copied. Groups of one call may differ in their number of tokens.
    scale: factor of the scores, usually 1 / sqrt(head_dim).
    bias: added to the group's scores. A number, or one value a query, broadcastable to
    (batch, heads, queries). -inf hides the group from a query.
    """

    keys: Tensor
    values: Tensor
    scale: float
    bias: Tensor | float = 0.0


def merged_attention(queries: Tensor, groups: Sequence[Group]) -> Tensor:
    """Softmax attention of `queries` over the keys of all `groups` as if they were one.

    For group g with output O_g and log-sum-exp l_g of its scores a query,

        out = sum_g exp(l_g + b_g) O_g / sum_g exp(l_g + b_g)

    which equals one softmax over the concatenated keys with b_g added to group g's scores.
    This is the merge of flash attention (Dao et al., arXiv 2205.14135, section 3.1) with a
    bias a group; nothing of size queries x keys is kept.

    queries: (batch, heads, queries, head_dim). Returns the same shape and dtype.
    A query that each of several groups hides has no answer and comes back as NaN.
    Raises ValueError without groups.
    """
    if not groups:
        raise ValueError("merged_attention needs at least one group of keys")
    if len(groups) == 1 and isinstance(groups[0].bias, float | int):
        # A constant cancels in one softmax.
        return _attention(queries, groups[0])
    total: Tensor | None = None
    weight = torch.empty(0)
    for group in groups:
        output, log_sum = attention_with_log_sum(queries, group.keys, group.values, group.scale)
        log_sum = log_sum + group.bias
        output = output.to(log_sum.dtype)
        if total is None:
            total, weight = output, log_sum
            continue
        merged = torch.logaddexp(weight, log_sum)
        # While every group so far is hidden all three are -inf, whose difference is no number.
        floor = merged.clamp_min(torch.finfo(merged.dtype).min)
        total = (
            total * (weight - floor).exp()[..., None] + output * (log_sum - floor).exp()[..., None]
        )
        weight = merged
    assert total is not None
    hidden = torch.isneginf(weight)[..., None]
    return total.masked_fill(hidden, torch.nan).to(queries.dtype)


def _attention(queries: Tensor, group: Group) -> Tensor:
    rows = queries.shape[0]
    return torch.nn.functional.scaled_dot_product_attention(
        queries,
        group.keys.expand(rows, -1, -1, -1),
        group.values.expand(rows, -1, -1, -1),
        scale=group.scale,
    )


def attention_with_log_sum(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention output and the log-sum-exp of its scores for each query.

    queries: (batch, heads, queries, head_dim); keys, values: (batch or 1, heads, tokens,
    head_dim). Returns (batch, heads, queries, head_dim) in the dtype of the queries and
    (batch, heads, queries) in float32, or float64 for float64 queries.
    """
    rows, _, count, width = queries.shape
    keys = keys.expand(rows, -1, -1, -1)
    values = values.expand(rows, -1, -1, -1)
    # Called by name, the kernels don't check what they assume: features next to each other.
    queries, keys, values = (
        x if x.stride(-1) == 1 else x.contiguous() for x in (queries, keys, values)
    )
    # The fused kernels return the log-sum-exp that F.scaled_dot_product_attention throws away.
    if queries.device.type == "cpu":
        output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, scale=scale
        )
        return output, log_sum
    if queries.device.type == "cuda" and queries.dtype != torch.float64 and width % 8 == 0:
        output, log_sum, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            queries, keys, values, None, True, scale=scale
        )
        return output, log_sum[:, :, :count]  # the kernel pads queries to a multiple of 32
    return _chunked_attention(queries, keys, values, scale)


def _chunked_attention(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """The same by plain matrix products, a chunk of queries at a time."""
    rows, heads, count, _ = queries.shape
    precise = torch.promote_types(queries.dtype, torch.float32)
    step = max(1, _CHUNK_SCORES // (rows * heads * keys.shape[2]))
    outputs, log_sums = [], []
    for start in range(0, count, step):
        scores = scale * (queries[:, :, start : start + step].to(precise) @ keys.to(precise).mT)
        log_sum = scores.logsumexp(dim=-1)
        weights = (scores - log_sum[..., None]).exp()
        outputs.append((weights @ values.to(precise)).to(queries.dtype))
        log_sums.append(log_sum)
    return torch.cat(outputs, dim=2), torch.cat(log_sums, dim=2)
