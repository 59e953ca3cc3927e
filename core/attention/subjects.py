"""Finds where the subject of a picture is from the attention of the run that draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from core.attention.control import AttentionPlan
from core.attention.grids import Grid, by_grid
from core.attention.layers import AttentionLayer, attention_layers
from core.attention.recorder import MapRecorder
from core.attention.segments import (
    cluster_tokens,
    mask_of,
    named_above,
    named_by_contrast,
    noun_map,
    noun_scores,
)

SEGMENTS = 5
MOST_TOKENS = 32 * 32
"""The finest grid that is clustered: 32 x 32, as in the papers."""

PAPER_RATIO, PAPER_THRESHOLD = 1.4, 0.35


Rule = Literal["contrast", "threshold"]
"""Which clusters are the subject: `named_by_contrast` at 1.4, or `named_above` 0.35."""


@dataclass(frozen=True)
class Places:
    """Which layers tell where things are: self-attention of one grid, cross-attention of another.

    All layers of a grid in the encoder and the decoder are averaged.
    """

    grid: Grid
    text_grid: Grid
    layers: tuple[AttentionLayer, ...]


def places_in(unet: Any, latent_size: Grid) -> Places:
    """The papers' choice for latents of a size: 32 x 32 tokens for self-attention, half as many a
    side for the text; in other models the finest grid up to that, and the next coarser one.
    """
    layers = [layer for layer in attention_layers(unet) if layer.place != "mid"]
    found = by_grid(unet, layers, latent_size)
    fitting = [grid for grid in found if grid[0] * grid[1] <= MOST_TOKENS] or list(found)[-1:]
    grid, text_grid = fitting[0], fitting[min(1, len(fitting) - 1)]
    chosen = [layer for layer in found[grid] if layer.kind == "attn1"]
    chosen += [layer for layer in found[text_grid] if layer.kind == "attn2"]
    return Places(grid, text_grid, tuple(chosen))


class SubjectFinder:
    """Watches a run in some of its steps, and then says where the subjects of its rows are."""

    def __init__(
        self, unet: Any, latent_size: Grid, tokens: Mapping[int, Sequence[int]], steps: range
    ) -> None:
        """tokens: row of the UNet batch -> which of its text's tokens name its subject."""
        self.unet, self.latent_size = unet, latent_size
        self.places = places_in(unet, latent_size)
        self.tokens, self.steps = tokens, steps
        self.recorder = MapRecorder(rows=tuple(tokens), key=lambda layer: layer.kind)

    def watch(self, step: int, plan: AttentionPlan) -> AttentionPlan:
        """`plan`, and in the steps to be watched the recorder with it."""
        if step not in self.steps:
            return plan
        return self.recorder.plan(self.unet, self.places.layers, plan.processors)

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return self.recorder.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen before."""
        self.recorder.load_state_dict(state)

    def mask(self, row: int, rule: Rule, seed: int) -> Tensor:
        """Where the subject of a row is, bool (height, width) of `places.grid`.

        Nowhere if no tokens name it. Raises KeyError before any step was watched.
        """
        tokens = self.tokens[row]
        if not tokens:
            return torch.zeros(self.places.grid, dtype=torch.bool)
        place = list(self.tokens).index(row)
        labels = cluster_tokens(
            self.recorder.mean("attn1")[place], SEGMENTS, self.places.grid, seed
        )
        of_text = self.recorder.mean("attn2")[place].reshape(*self.places.text_grid, -1)
        scores = noun_scores(labels, [noun_map(of_text, tokens)])
        if rule == "contrast":
            return mask_of(labels, named_by_contrast(scores, PAPER_RATIO), [0])
        return mask_of(labels, named_above(scores, PAPER_THRESHOLD), [0])


def resized(mask: Tensor, size: Grid) -> Tensor:
    """A bool mask (height, width) at another size, each place taken from the nearest."""
    scaled = torch.nn.functional.interpolate(mask[None, None].float(), size, mode="nearest")
    return scaled[0, 0] > 0
