"""FreeU while a UNet runs: the one of cross-image attention's authors, or the published one.

Sources: Si et al., "FreeU: Free Lunch in Diffusion U-Net", CVPR 2024, arXiv 2309.11497, which
damps low frequencies of the skip features; Alaluf et al., arXiv 2311.03335, whose code damps
them in the backbone instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

FreeU = Literal["off", "paper", "diffusers"]

_PUBLISHED = {"s1": 0.9, "s2": 0.2, "b1": 1.2, "b2": 1.4}


@dataclass(frozen=True)
class Stage:
    """What happens to features of one width before an up block.

    backbone: factor of the first half of the channels. low: factor of the lowest frequencies.
    """

    backbone: float
    low: float


PAPER_STAGES = (Stage(backbone=1.2, low=0.9), Stage(backbone=1.4, low=0.2))
"""For the widest features of a UNet and the second widest: 1280 and 640 in SD and SDXL."""


def free_u(unet: Any, which: FreeU) -> AbstractContextManager[None]:
    """A `with` block in which `unet` runs with the FreeU named; all is put back after it."""
    match which:
        case "paper":
            widths = sorted(set(unet.config.block_out_channels), reverse=True)
            return paper_free_u(unet, dict(zip(widths, PAPER_STAGES, strict=False)))
        case "diffusers":
            return _diffusers_free_u(unet)
        case "off":
            return nullcontext()


@contextmanager
def paper_free_u(unet: Any, stages: Mapping[int, Stage]) -> Iterator[None]:
    """Scale and filter what enters each up block with as many channels as `stages` names."""

    def before_block(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        features = kwargs["hidden_states"]
        stage = stages.get(features.shape[1])
        if stage is None:
            return None
        half = features.shape[1] // 2
        scaled = torch.cat([features[:, :half] * stage.backbone, features[:, half:]], dim=1)
        filtered = scale_low_frequencies(scaled, threshold=1, scale=stage.low)
        return args, kwargs | {"hidden_states": filtered}

    handles = [
        block.register_forward_pre_hook(before_block, with_kwargs=True) for block in unet.up_blocks
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scale_low_frequencies(features: Tensor, threshold: int, scale: float) -> Tensor:
    """Scale the 2 threshold x 2 threshold lowest frequencies of (batch, channels, h, w).

    The transform is in float32, because half precision has it for powers of 2 only.
    """
    spectrum = torch.fft.fftshift(torch.fft.fftn(features.float(), dim=(-2, -1)), dim=(-2, -1))
    height, width = (side // 2 for side in features.shape[-2:])
    spectrum[
        ..., height - threshold : height + threshold, width - threshold : width + threshold
    ] *= scale
    restored = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1))
    filtered: Tensor = restored.real.to(features.dtype)
    return filtered


@contextmanager
def _diffusers_free_u(unet: Any) -> Iterator[None]:
    """The library's own, which it keeps as attributes of the up blocks."""
    before = [{n: b.__dict__.get(n, b) for n in _PUBLISHED} for b in unet.up_blocks]
    unet.enable_freeu(**_PUBLISHED)
    try:
        yield
    finally:
        for block, values in zip(unet.up_blocks, before, strict=True):
            for name, value in values.items():
                # A block stands for an attribute that was not there.
                delattr(block, name) if value is block else setattr(block, name, value)
