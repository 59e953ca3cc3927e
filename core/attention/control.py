"""Install attention processors and norm forwards for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionPlan:
    """What to install where.

    processors: layer name (`AttentionLayer.name`) -> attention processor.
    norms: gives a GroupNorm its forward, or None to leave every norm as it is.
    """

    processors: Mapping[str, Any] = field(default_factory=dict)
    norms: Callable[[torch.nn.GroupNorm], Callable[[Tensor], Tensor]] | None = None


AtStep = Callable[[int, AttentionPlan], AttentionPlan]
"""Given a step, counted from 0, and what is to be installed in it: that, or more."""


def as_planned(step: int, plan: AttentionPlan) -> AttentionPlan:
    """The `AtStep` that adds nothing."""
    return plan


@contextmanager
def attention_control(unet: torch.nn.Module, plan: AttentionPlan) -> Iterator[None]:
    """Run the block with `plan` installed on `unet`.

    On the way out, also by an exception, the very objects that were there are put back: the
    processors, and each norm's own forward or the lack of one.
    """
    layers = {name: unet.get_submodule(name) for name in plan.processors}
    norms = [
        module
        for module in (unet.modules() if plan.norms else ())
        if isinstance(module, torch.nn.GroupNorm)
    ]
    processors = {name: layer.processor for name, layer in layers.items()}
    forwards = [norm.__dict__.get("forward") for norm in norms]
    try:
        for name, layer in layers.items():
            layer.set_processor(plan.processors[name])  # type: ignore[operator]
        for norm in norms:
            assert plan.norms is not None
            norm.__dict__["forward"] = plan.norms(norm)
        yield
    finally:
        for name, layer in layers.items():
            layer.set_processor(processors[name])  # type: ignore[operator]
        for norm, forward in zip(norms, forwards, strict=True):
            norm.__dict__.pop("forward", None)
            if forward is not None:
                norm.__dict__["forward"] = forward
