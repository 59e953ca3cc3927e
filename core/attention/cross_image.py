"""Cross-image attention: one row of a batch draws with the keys and values of another.

Source: Alaluf et al., "Cross-Image Attention for Zero-Shot Appearance Transfer", SIGGRAPH
2024, arXiv 2311.03335, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from core.attention.contrast import contrasted_attention
from core.attention.control import AttentionPlan
from core.attention.grids import Grid, by_grid
from core.attention.heads import finish, project
from core.attention.layers import self_attention_layers


@dataclass(frozen=True)
class CrossImageAttention:
    """An attention processor in which row `reader` takes keys and values from row `source`.

    The reader keeps its own queries, and its map is contrasted (`contrasted_attention`). All
    other rows attend to themselves plainly.
    """

    reader: int
    source: int
    contrast: float

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Self-attention of hidden_states (rows, tokens, channels), same shape out.

        Raises ValueError for a use that isn't plain self-attention, or without those rows.
        """
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("cross-image attention is self-attention without a mask")
        rows = len(hidden_states)
        if not (0 <= self.reader < rows and 0 <= self.source < rows):
            raise ValueError(f"row {self.reader} can't read row {self.source} of {rows}")
        queries, keys, values = project(attn, hidden_states)
        reader, source = (slice(row, row + 1) for row in (self.reader, self.source))
        scale = queries.shape[-1] ** -0.5
        swapped = contrasted_attention(
            queries[reader], keys[source], values[source], scale, self.contrast
        )
        before, after = slice(0, self.reader), slice(self.reader + 1, rows)
        parts = [
            scaled_dot_product_attention(queries[part], keys[part], values[part], scale=scale)
            for part in (before, after)
        ]
        return finish(attn, torch.cat([parts[0], swapped, parts[1]]), hidden_states)


@dataclass(frozen=True)
class SwapSchedule:
    """When which decoder layers swap, and from whom. Steps count from 0 after those skipped.

    ranges: grid of tokens -> the steps in which layers of that grid swap.
    structure: in these steps every `structure_every`-th (those it divides) takes keys and
    values from the structure instead, which holds the shape.
    lag: steps by which the attention layers' counter is behind. The authors' code sets it after
    a step, so that there it is 1; here it is 0.
    """

    ranges: Mapping[Grid, range] = field(default_factory=dict)
    structure: range = range(0)
    structure_every: int = 5
    lag: int = 0

    def grids(self, step: int) -> frozenset[Grid]:
        """The grids whose layers swap in a step."""
        counter = max(step - self.lag, 0)
        return frozenset(grid for grid, steps in self.ranges.items() if counter in steps)

    def from_structure(self, step: int) -> bool:
        """Whether keys and values come from the structure in a step."""
        counter = max(step - self.lag, 0)
        return counter in self.structure and counter % self.structure_every == 0


def swap_plan(
    unet: Any, latent_size: Grid, grids: frozenset[Grid], processor: CrossImageAttention
) -> AttentionPlan:
    """`processor` in the decoder's self-attention layers of `grids`, for latents of a size."""
    decoder = [layer for layer in self_attention_layers(unet) if layer.place == "up"]
    found = by_grid(unet, decoder, latent_size)
    return AttentionPlan({layer.name: processor for grid in grids for layer in found.get(grid, ())})


def decoder_grids(unet: Any, latent_size: Grid) -> list[Grid]:
    """The grids of the decoder's self-attention layers, the finest first."""
    decoder = [layer for layer in self_attention_layers(unet) if layer.place == "up"]
    return list(by_grid(unet, decoder, latent_size))
