"""How many tokens the attention layers of a UNet see for latents of a size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.attention.layers import AttentionLayer

Grid = tuple[int, int]
"""Height and width in tokens."""


def grid_of(unet: Any, layer: AttentionLayer, latent_size: Grid) -> Grid:
    """The tokens of `layer` for latents of `latent_size` (height, width).

    Each down block but the last halves the latents, rounding up; the up blocks mirror them.
    """
    deepest = len(unet.config.block_out_channels) - 1
    halvings = {"down": layer.block, "mid": deepest, "up": deepest - layer.block}[layer.place]
    height, width = (-(-side // 2**halvings) for side in latent_size)
    return height, width


def by_grid(
    unet: Any, layers: Iterable[AttentionLayer], latent_size: Grid
) -> dict[Grid, list[AttentionLayer]]:
    """The layers of each grid, the finest grid first."""
    found: dict[Grid, list[AttentionLayer]] = {}
    for layer in layers:
        found.setdefault(grid_of(unet, layer, latent_size), []).append(layer)
    return dict(sorted(found.items(), reverse=True))
