"""Contrasted attention: the map of cross-image attention, sharpened about its mean.

Source: Alaluf et al., "Cross-Image Attention for Zero-Shot Appearance Transfer", SIGGRAPH
2024, arXiv 2311.03335, section 3.3 ("attention map contrasting").
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from core.attention.merged import attention_with_log_sum

_log = logging.getLogger(__name__)

_CHUNK_SCORES = 2**20
"""Scores held at once: 4 MiB in float32, which stays near the processor's caches."""

_SMALLEST = 1e-30
"""Stands for a weight of 0 where its logarithm is taken. Weights that count are above 1 / N."""

_NARROWEST_FUSED = 16
"""Features a head that FlexAttention needs."""


def contrasted_attention(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, contrast: float
) -> Tensor:
    """Attention with the map A replaced by A' = clip(c (A - 1/N) + 1/N, 0, 1).

    1/N is the mean of a row of A over its N keys. Rows of A' are not normalised again, as in
    the paper's code: they sum to 1 or more, so a contrast above 1 also adds energy.

    queries: (batch, heads, queries, head_dim); keys, values: (batch, heads, N, head_dim).
    scale: factor of the scores, usually 1 / sqrt(head_dim). contrast: c >= 0; 1 changes nothing.
    values may have another width. Returns (batch, heads, queries, width) in the dtype of
    `queries`. No map of queries x N is kept.
    """
    wide = queries.dtype != torch.float64 and queries.shape[-1] >= _NARROWEST_FUSED
    if queries.is_cuda and wide and (flex := _compiled_flex()) is not None:
        return _fused(flex, queries, keys, values, scale, contrast)
    return _chunked(queries, keys, values, scale, contrast)


def _chunked(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, contrast: float
) -> Tensor:
    """Head by head, a chunk of queries at a time, in float32 at least.

    A chunk sees all keys, so its softmax (one pass for the sums, one for the weights) is
    complete, and the contrast is applied in place before the weights meet the values.
    """
    precise = torch.promote_types(queries.dtype, torch.float32)
    tokens = keys.shape[2]
    step = max(1, _CHUNK_SCORES // tokens)
    output = queries.new_empty((*queries.shape[:-1], values.shape[-1]))
    for row in range(queries.shape[0]):
        for head in range(queries.shape[1]):
            head_keys = (keys[row, head].to(precise) * scale).T
            head_values = values[row, head].to(precise)
            for start in range(0, queries.shape[2], step):
                chunk = queries[row, head, start : start + step].to(precise)
                weights = (chunk @ head_keys).softmax(dim=-1)
                weights.mul_(contrast).add_((1 - contrast) / tokens).clamp_(0, 1)
                output[row, head, start : start + step] = weights @ head_values
    return output


def _fused(
    flex: Any, queries: Tensor, keys: Tensor, values: Tensor, scale: float, contrast: float
) -> Tensor:
    """The same by FlexAttention, which tiles over queries and keys.

    The first pass gives each query's log-sum-exp l. In the second a score s becomes log A',
    with A = exp(s - l), and the softmax of those is A' over its sum; the sum is the second
    pass's own log-sum-exp, which takes the normalisation back.

    flex: `flex_attention`, compiled where it should be fast.
    """
    from torch.nn.attention.flex_attention import AuxRequest

    # Tensors, because a number in a compiled score function is compiled into it.
    strength = torch.tensor(contrast, device=queries.device)
    mean = torch.tensor(1 / keys.shape[2], device=queries.device)
    _, log_sum = attention_with_log_sum(queries, keys, values, scale)
    log_sum = log_sum.contiguous()

    def contrasted(
        score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor
    ) -> Tensor:
        weight = torch.exp(score - log_sum[batch, head, query])
        sharpened = strength * (weight - mean) + mean
        return torch.log(torch.clamp(sharpened, _SMALLEST, 1.0))

    output, aux = flex(
        queries, keys, values, score_mod=contrasted, scale=scale, return_aux=AuxRequest(lse=True)
    )
    row_sums: Tensor = aux.lse.exp()
    unnormalised: Tensor = output * row_sums[..., None]
    return unnormalised.to(queries.dtype)


@cache
def _compiled_flex() -> Any | None:
    """FlexAttention compiled, or None where this machine can't: it takes a C compiler."""
    from torch._dynamo.exc import TorchDynamoException
    from torch.nn.attention.flex_attention import flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    probe = torch.zeros(1, 1, 128, 32, device="cuda", dtype=torch.float16)
    try:
        _fused(compiled, probe, probe, probe, 1.0, 1.0)
    except TorchDynamoException:
        _log.warning("contrasted attention runs in chunks, which is slower", exc_info=True)
        return None
    return compiled
