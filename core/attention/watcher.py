"""What one picture's run is watched for: maps of chosen layers by grid, and features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.attention.control import AttentionPlan, attention_control
from core.attention.grids import Grid, by_grid
from core.attention.layers import AttentionLayer, attention_layers
from core.attention.recorder import MapRecorder


@dataclass
class FeatureMean:
    """The running mean of what one self-attention layer gives for a row, over the calls.

    As shown by Tumanyan et al. (Plug-and-Play, CVPR 2023, arXiv 2211.12572). mean: (tokens,
    channels) in float32, absent before the first call.
    """

    attend: Any
    row: int
    mean: Tensor | None = None
    calls: int = 0

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        output: Tensor = self.attend(attn, hidden_states, *args, **kwargs)
        found = output[self.row].float()
        self.calls += 1
        before = torch.zeros_like(found) if self.mean is None else self.mean
        self.mean = before + (found - before) / self.calls
        return output


class Watcher:
    """Watches some steps of a run, and keeps means: of maps by kind and grid, and of features.

    Memory is one map a grid and kind, whatever the number of steps (`MapRecorder`).
    """

    def __init__(
        self,
        unet: Any,
        latent_size: Grid,
        row: int,
        steps: Sequence[int],
        layers: Sequence[AttentionLayer],
    ) -> None:
        """row: of the UNet batch. Features are those of the decoder's first self-attention among
        `layers` of their finest grid."""
        self.unet, self.steps = unet, frozenset(steps)
        self.of_grid = by_grid(unet, layers, latent_size)
        grids = {layer.name: grid for grid, found in self.of_grid.items() for layer in found}
        self.recorder = MapRecorder([row], key=lambda layer: (layer.kind, grids[layer.name]))
        self.layers = tuple(layers)
        own = next(ls for ls in self._of_kind("attn1").values())
        self.feature_layer = next((x for x in own if x.place == "up"), own[-1])
        inner = unet.get_submodule(self.feature_layer.name).processor
        self._features = FeatureMean(inner, row)

    @property
    def grid(self) -> Grid:
        """The finest grid of the self-attention that is watched."""
        return next(iter(self._of_kind("attn1")))

    def watch(self, step: int) -> AbstractContextManager[None]:
        """What surrounds the UNet's call in a step."""
        if step not in self.steps:
            return nullcontext()
        features: Mapping[str, Any] = {self.feature_layer.name: self._features}
        plan: AttentionPlan = self.recorder.plan(self.unet, self.layers, features)
        return attention_control(self.unet, plan)

    def self_maps(self) -> dict[Grid, Tensor]:
        """How much each token reads of each, (tokens, tokens) on the CPU, finest grid first."""
        return self._means("attn1")

    def text_maps(self) -> dict[Grid, Tensor]:
        """How much each place reads of each token of the text, (height, width, text tokens)."""
        return {g: mean.reshape(*g, -1) for g, mean in self._means("attn2").items()}

    def text_map(self, size: Grid) -> Tensor:
        """The text maps of all grids at one size, their mean: (height, width, text tokens)."""
        return torch.stack([enlarged(m, size) for m in self.text_maps().values()]).mean(dim=0)

    def features(self) -> Tensor:
        """What the feature layer gave, (tokens, channels) on the CPU. None was seen: ValueError."""
        if self._features.mean is None:
            raise ValueError("no step was watched")
        return self._features.mean.cpu()

    def _of_kind(self, kind: str) -> dict[Grid, list[AttentionLayer]]:
        chosen = {g: [x for x in found if x.kind == kind] for g, found in self.of_grid.items()}
        return {grid: found for grid, found in chosen.items() if found}

    def _means(self, kind: str) -> dict[Grid, Tensor]:
        found = {grid: self.recorder.mean((kind, grid)) for grid in self._of_kind(kind)}
        return {grid: mean[0].cpu() for grid, mean in found.items()}


def enlarged(maps: Tensor, size: Grid, mode: str = "bilinear") -> Tensor:
    """Maps (height, width, n) at another size, interpolated."""
    planes = maps.permute(2, 0, 1)[None].float()
    return torch.nn.functional.interpolate(planes, size, mode=mode)[0].permute(1, 2, 0)


def telling_layers(
    unet: Any, latent_size: Grid, most_side: int, *, all_grids: bool
) -> list[AttentionLayer]:
    """The encoder's and decoder's layers that tell where things are.

    Self-attention of the finest grid with no side above `most_side` tokens, or of all such grids;
    cross-attention of the two finest. A model without such a grid gives its coarsest.
    """
    layers = [layer for layer in attention_layers(unet) if layer.place != "mid"]
    found = by_grid(unet, layers, latent_size)
    grids = [grid for grid in found if max(grid) <= most_side] or list(found)[-1:]
    own, text = grids if all_grids else grids[:1], grids[:2]
    return [
        layer
        for grid in grids
        for layer in found[grid]
        if grid in (own if layer.kind == "attn1" else text)
    ]
