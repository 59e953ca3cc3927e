"""Into an attention layer's heads and out of them again: what every processor here begins with."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def project(attn: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, values of a self-attention layer.

    hidden_states: (rows, tokens, channels). Returns (rows, heads, tokens, head_dim) each.
    """
    rows, tokens, _ = hidden_states.shape
    queries, keys, values = (
        projection(hidden_states).view(rows, tokens, attn.heads, -1).transpose(1, 2)
        for projection in (attn.to_q, attn.to_k, attn.to_v)
    )
    return queries, keys, values


def finish(attn: Any, output: Tensor, hidden_states: Tensor) -> Tensor:
    """What the layer makes of its heads' `output` (rows, heads, tokens, head_dim)."""
    projected: Tensor = attn.to_out[1](attn.to_out[0](output.transpose(1, 2).flatten(2)))
    if attn.residual_connection:
        projected = projected + hidden_states
    scaled: Tensor = projected / attn.rescale_output_factor
    return scaled
