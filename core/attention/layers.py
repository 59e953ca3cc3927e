"""Which attention layers a UNet has, and which of them a technique takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

_NAME = re.compile(
    r"(?P<place>down|up|mid)_blocks?(?:\.(?P<block>\d+))?"
    r"\.attentions\.(?P<attention>\d+)\.transformer_blocks\.(?P<depth>\d+)\.(?P<kind>attn[12])"
)


@dataclass(frozen=True)
class AttentionLayer:
    """One attention module of a UNet, known by its parsed name."""

    name: str
    place: Literal["down", "mid", "up"]
    block: int
    attention: int
    depth: int
    kind: Literal["attn1", "attn2"]
    """attn1 is self-attention, attn2 attends to the text."""


def attention_layers(unet: Any) -> list[AttentionLayer]:
    """All attention layers of a UNet, in the order of its processors: down, up, mid."""
    return [_parse(name.removesuffix(".processor")) for name in unet.attn_processors]


def self_attention_layers(unet: Any) -> list[AttentionLayer]:
    """The layers in which a picture attends to itself."""
    return [layer for layer in attention_layers(unet) if layer.kind == "attn1"]


def _parse(name: str) -> AttentionLayer:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name} is no attention layer of a UNet as diffusers names them")
    part: dict[str, Any] = found.groupdict()
    return AttentionLayer(
        name=name,
        place=part["place"],
        block=int(part["block"] or 0),
        attention=int(part["attention"]),
        depth=int(part["depth"]),
        kind=part["kind"],
    )


def spread(layers: Sequence[AttentionLayer], fraction: float) -> list[AttentionLayer]:
    """`round(fraction x n)` of the layers, evenly spread over their order.

    fraction: 0 to 1. Layer i is taken where the running count steps up, so the gaps
    between taken layers differ by at most one.
    """
    count = round(fraction * len(layers))
    return [
        layer
        for index, layer in enumerate(layers)
        if (index + 1) * count // len(layers) > index * count // len(layers)
    ]


def authors_self_layers(layers: Sequence[AttentionLayer], level: float) -> list[AttentionLayer]:
    """The layers that StyleAligned's published code leaves unshared at `only_self_level`.

    Kept for comparison with that code only. Its spacing rule takes more layers than it was
    asked for (24 instead of 21 of 70 at 0.3); `spread` takes what it says.

    level: 0 to 1. Raises ZeroDivisionError below 1 / n, as that code does.
    """
    total = len(layers)
    if level in (0, 1):
        return list(layers) if level else []
    count = int(total * level)
    flipped = level > 0.5
    if flipped:
        count = total - count
    every = total // count
    return [layer for index, layer in enumerate(layers) if (index % every == 0) != flipped]
