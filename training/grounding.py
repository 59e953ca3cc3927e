"""Ties words to places: cross-attention maps are supervised by the exact masks of the things.

After TokenCompose (Wang et al., 2023, arXiv 2312.03626). Without it the first text positions
become a sink and words bear no relation to regions; with it, the maps of the nouns are labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.tokenizer import NOWHERE
from training.world import BACKGROUND

# Coarser layers see a thing in one or two cells, too few to place a word.
COARSEST_GROUNDED = 8
# Above this timestep the latents hardly show where anything is.
GROUNDED_TIMESTEPS = 800
BCE_WEIGHT = 0.3


class PlainAttention:
    """Softmax attention by plain products, as a diffusers attention processor.

    Faster than the fused kernel in bfloat16 on a CPU. Where there is a list for them, `cross_maps`
    collects the probabilities of cross-attention averaged over heads, (batch, queries, tokens), and
    `self_maps` those of self-attention, (batch, queries, queries).
    """

    def __init__(
        self, cross_maps: list[Tensor] | None = None, self_maps: list[Tensor] | None = None
    ) -> None:
        self.cross_maps = cross_maps
        self.self_maps = self_maps

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        probabilities = (query @ key.transpose(-1, -2) * attn.scale).float().softmax(dim=-1)
        maps = self.self_maps if encoder_hidden_states is None else self.cross_maps
        if maps is not None:
            maps.append(probabilities.mean(dim=1))
        mixed = probabilities.to(value.dtype) @ value
        output: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return output


def grounding_loss(
    maps: Sequence[Tensor], masks: Tensor, things: Tensor, nouns: Tensor, timesteps: Tensor
) -> Tensor:
    """How far the attention of the naming words lies outside what they name.

    maps: per layer, (batch, queries, tokens). masks: (batch, 2, cells, cells) in [0, 1].
    things: (batch, tokens), see `Tokens`. nouns: bool (batch, tokens). timesteps: (batch,).

    For token k with map A and mask M: (1 - sum(A M) / sum(A))^2, and for nouns also a cross-entropy
    of A against M, which asks for the whole thing. Colours share their noun's mask, so they are
    spared the second term: two tokens cannot both have all of the attention.
    """
    naming = (things != NOWHERE) & (timesteps < GROUNDED_TIMESTEPS)[:, None]
    losses = []
    for layer in maps:
        cells = round(layer.shape[1] ** 0.5)
        if cells < COARSEST_GROUNDED:
            continue
        target = token_masks(masks, things, cells)
        attention = layer.transpose(1, 2).float()
        inside = (attention * target).sum(-1) / attention.sum(-1).clamp_min(1e-6)
        loss = (1 - inside) ** 2
        entropy = functional.binary_cross_entropy(
            attention.clamp(1e-5, 1 - 1e-5), target, reduction="none"
        )
        loss = loss + BCE_WEIGHT * entropy.mean(-1) * nouns
        losses.append((loss * naming).sum() / naming.sum().clamp_min(1))
    return torch.stack(losses).mean()


def token_masks(masks: Tensor, things: Tensor, cells: int) -> Tensor:
    """(batch, tokens, cells * cells): 1 where the thing that a token names covers the cell."""
    pooled = functional.adaptive_avg_pool2d(masks, cells).flatten(2)
    shown = (pooled > 0.4).float()
    background = (pooled.sum(dim=1, keepdim=True) < 0.2).float()
    regions = torch.cat([shown, background], dim=1)
    index = torch.where(things == BACKGROUND, torch.full_like(things, 2), things.clamp_min(0))
    return regions.gather(1, index[..., None].expand(-1, -1, regions.shape[-1]))
