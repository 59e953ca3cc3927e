"""The masker: a small network that says where in a picture of the world the things are.

It measures whether what is drawn stands where it was asked for. Images are float (n, 3, h, w) in
[0, 1] throughout; h and w are multiples of 16.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS, CONFIGURATION = "masker.safetensors", "masker.json"


@dataclass(frozen=True)
class MaskerOptions:
    """Channels of the levels, from half of the picture's resolution to the coarsest."""

    channels: tuple[int, ...] = (24, 40, 56, 80)


class MaskerNetwork(nn.Module):
    """A U-Net that works from half of the resolution on, and tells four pixels from one cell."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = (3, *channels)
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(before, after, 2), _convolution(after, after, 1))
            for before, after in zip(widths, channels, strict=False)
        )
        self.up = nn.ModuleList(
            _convolution(coarse + fine, fine, 1) for fine, coarse in pairwise(channels)
        )
        self.out = nn.Sequential(nn.Conv2d(channels[0], 4, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the foreground, (n, h, w)."""
        hidden, skips = images * 2 - 1, []
        for level in self.down:
            hidden = level(hidden)
            skips.append(hidden)
        for skip, level in zip(reversed(skips[:-1]), reversed(self.up), strict=True):
            hidden = level(torch.cat([functional.interpolate(hidden, scale_factor=2), skip], dim=1))
        logits: Tensor = self.out(hidden)[:, 0]
        return logits


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


@dataclass(frozen=True)
class Masker:
    """A trained network."""

    network: MaskerNetwork

    @torch.no_grad()
    def foreground(self, images: Tensor) -> Tensor:
        """(n, h, w): the probability that each pixel belongs to one of the things."""
        logits: Tensor = self.network(images)
        return logits.sigmoid()


def save_masker(network: MaskerNetwork, options: MaskerOptions, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS)
    (folder / CONFIGURATION).write_text(json.dumps(asdict(options), indent=2) + "\n")


def load_masker(folder: Path) -> Masker:
    """The masker of a folder, in float32 on the CPU."""
    config = json.loads((folder / CONFIGURATION).read_text())
    network = MaskerNetwork(tuple(config["channels"]))
    weights = load_file(folder / WEIGHTS)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    )
    return Masker(network.eval().requires_grad_(False))
