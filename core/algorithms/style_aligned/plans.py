"""What a `sharing` installs in the UNet: in the references' passes, and in the targets'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.attention.control import AttentionPlan
from core.attention.layers import AttentionLayer, self_attention_layers, spread
from core.attention.memory import Memory
from core.attention.shares import Shares
from core.attention.sharing import (
    Following,
    Pooled,
    Remembering,
    following_norm,
    pooled_norm,
    remembering_norm,
)
from core.contract.style_aligned import Sharing

Layers = Sequence[AttentionLayer]


def shared_layers(unet: Any, sharing: Sharing) -> Layers:
    """The layers that share: a fraction of all, evenly spread."""
    return spread(self_attention_layers(unet), sharing.layers)


def remembering_plan(layers: Layers, sharing: Sharing, memory: Memory) -> AttentionPlan:
    """For a reference's own pass: everything as it is, and what it is kept in `memory`."""
    return AttentionPlan(
        processors={layer.name: Remembering(layer.name, memory) for layer in layers},
        norms=(lambda norm: remembering_norm(norm, memory)) if sharing.group_norm else None,
    )


def following_plan(
    layers: Layers,
    sharing: Sharing,
    memories: Sequence[Memory],
    shares: Shares,
    score_shifts: Sequence[float],
    *,
    halves: int,
) -> AttentionPlan:
    """For the targets' pass: read what the references of this step left in `memories`.

    score_shifts: one for each reference, beside `sharing.score_shift`.
    Differs from the paper's code in that layer norm is never shared: over concatenated
    tokens a norm a token changes nothing.
    """
    return AttentionPlan(
        processors={
            layer.name: Following(
                layer.name,
                memories,
                shares,
                halves,
                attend=sharing.attention,
                adain_queries=sharing.adain_queries,
                adain_keys=sharing.adain_keys,
                adain_values=sharing.adain_values,
                score_scale=sharing.score_scale,
                score_shifts=[sharing.score_shift + shift for shift in score_shifts],
            )
            for layer in layers
        },
        norms=(lambda norm: following_norm(norm, memories, shares, halves))
        if sharing.group_norm
        else None,
    )


def pooled_plan(layers: Layers, sharing: Sharing, *, halves: int) -> AttentionPlan:
    """For full sharing: one pass over the reference, first in each half, and the targets."""
    processor = Pooled(halves)
    return AttentionPlan(
        processors={layer.name: processor for layer in layers},
        norms=(lambda norm: pooled_norm(norm, halves)) if sharing.group_norm else None,
    )
