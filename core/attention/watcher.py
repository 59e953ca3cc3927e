"""What a run is watched for: maps of chosen layers by grid, and features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
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
    """Watches rows of a run in some of its steps, and keeps means of maps by kind and grid.

    Self-attention is what a picture reads of itself: what a technique lets it read beside that is
    left out. Memory is one map a row, grid and kind, whatever the number of steps (`MapRecorder`).
    """

    def __init__(
        self,
        unet: Any,
        latent_size: Grid,
        rows: Sequence[int],
        steps: Iterable[int],
        layers: Sequence[AttentionLayer],
    ) -> None:
        """rows: of the UNet batch, one a picture."""
        self.unet, self.steps, self.layers = unet, frozenset(steps), tuple(layers)
        self.of_grid = by_grid(unet, layers, latent_size)
        grids = {layer.name: grid for grid, found in self.of_grid.items() for layer in found}
        self.recorder = MapRecorder(rows, key=lambda layer: (layer.kind, grids[layer.name]))

    @property
    def grid(self) -> Grid:
        """The finest grid that is watched."""
        return next(iter(self.of_grid))

    def added(self, step: int, plan: AttentionPlan) -> AttentionPlan:
        """What to install in a step: `plan`, and where the step is watched the recorder with it."""
        if step not in self.steps:
            return plan
        recording = self.recorder.plan(self.unet, self.layers, plan.processors)
        return replace(plan, processors=recording.processors)

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        return {"recorder": self.recorder.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen before."""
        self.recorder.load_state_dict(state["recorder"])

    def self_maps(self, place: int = 0) -> dict[Grid, Tensor]:
        """How much each token reads of each, (tokens, tokens) on the model's device.

        The finest grid is first.

        place: of the row among those that are watched.
        """
        return self._means("attn1", place)

    def text_maps(self, place: int = 0) -> dict[Grid, Tensor]:
        """How much each place reads of each text token, (height, width, text tokens) on the CPU."""
        means = self._means("attn2", place)
        return {grid: mean.reshape(*grid, -1).cpu() for grid, mean in means.items()}

    def text_map(self, size: Grid, place: int = 0) -> Tensor:
        """The text maps of all grids at one size, their mean: (height, width, text tokens)."""
        maps = [enlarged(one, size) for one in self.text_maps(place).values()]
        return torch.stack(maps).mean(dim=0)

    def of_kind(self, kind: str) -> dict[Grid, list[AttentionLayer]]:
        """The watched layers of a kind by grid, the finest first."""
        chosen = {g: [x for x in found if x.kind == kind] for g, found in self.of_grid.items()}
        return {grid: found for grid, found in chosen.items() if found}

    def _means(self, kind: str, place: int) -> dict[Grid, Tensor]:
        return {g: self.recorder.mean((kind, g))[place] for g in self.of_kind(kind)}


class PictureWatcher(Watcher):
    """Watches one picture, and keeps means of the features of one layer too."""

    def __init__(
        self,
        unet: Any,
        latent_size: Grid,
        row: int,
        steps: Iterable[int],
        layers: Sequence[AttentionLayer],
    ) -> None:
        """Features are those of the decoder's first self-attention among `layers` of their finest
        grid."""
        super().__init__(unet, latent_size, [row], steps, layers)
        own = next(iter(self.of_kind("attn1").values()))
        self.feature_layer = next((x for x in own if x.place == "up"), own[-1])
        inner = unet.get_submodule(self.feature_layer.name).processor
        self._features = FeatureMean(inner, row)

    def watch(self, step: int) -> AbstractContextManager[None]:
        """What surrounds the UNet's call in a step."""
        if step not in self.steps:
            return nullcontext()
        features = AttentionPlan({self.feature_layer.name: self._features})
        return attention_control(self.unet, self.added(step, features))

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far."""
        features = {"mean": self._features.mean, "calls": self._features.calls}
        return super().state_dict() | {"features": features}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was seen before."""
        super().load_state_dict(state)
        self._features.mean = state["features"]["mean"]
        self._features.calls = state["features"]["calls"]

    def features(self) -> Tensor:
        """What the feature layer gave, (tokens, channels) on the CPU. None was seen: ValueError."""
        if self._features.mean is None:
            raise ValueError("no step was watched")
        return self._features.mean.cpu()


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
