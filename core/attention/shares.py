"""How much each target follows each reference, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Shares:
    """The share of each reference in what a target takes from them all.

    maps: (targets or 1, references, h, w), each value from 0 to 1, those of one place adding
    up to at most 1; what is missing to 1 is not taken from anybody. A map of 1 x 1 says one
    thing for every place.
    """

    maps: Tensor

    @classmethod
    def even(cls, weights: Sequence[float]) -> Shares:
        """Every target follows every reference everywhere, in proportion to its weight."""
        return cls((torch.tensor(weights) / sum(weights)).view(1, -1, 1, 1))

    @classmethod
    def masked(cls, masks: Tensor, weights: Sequence[float]) -> Shares:
        """References followed where their masks say; where masks overlap, by weight.

        masks: (targets or 1, references, h, w), each value from 0 to 1.
        """
        weighted = masks * torch.tensor(weights, device=masks.device).view(-1, 1, 1)
        total = weighted.sum(1, keepdim=True).clamp_min(torch.finfo(masks.dtype).tiny)
        return cls(weighted / total * masks.sum(1, keepdim=True).clamp(max=1))

    def on(self, device: torch.device) -> Shares:
        """The same on a device."""
        return Shares(self.maps.to(device))

    def at(self, tokens: int) -> Tensor:
        """(targets or 1, references, tokens or 1), for a layer of `tokens` tokens."""
        if self.maps.shape[-2:] == (1, 1):
            return self.maps.flatten(2)
        height, width = self.maps.shape[-2:]
        shrink = round((height * width / tokens) ** 0.5)
        size = (-(-height // shrink), -(-width // shrink))
        if size[0] * size[1] != tokens:
            raise ValueError(f"maps of {height} x {width} don't fit a layer of {tokens} tokens")
        return torch.nn.functional.adaptive_avg_pool2d(self.maps, size).flatten(2)

    def overall(self) -> Tensor:
        """(targets or 1, references): the mean over the picture."""
        return self.maps.mean(dim=(-2, -1))
