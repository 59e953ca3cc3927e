"""Loops that a later attempt at a job can go on with where an earlier one was cut off.

Everything random is drawn from seeds before a loop begins, and the schedulers here keep nothing
from one step to the next. So the state of a loop is its latents, and what its `parts` gathered.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

import torch
from torch import Tensor

from core.contract.pictures import Checkpoints
from core.diffusion.model import DiffusionModel


class Stateful(Protocol):
    """What changes from step to step beside the latents, as PyTorch names it."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and texts, in dictionaries, lists and tuples."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be as `state_dict` was."""
        ...


@dataclass(frozen=True)
class Stretch:
    """A loop by its name, which tells it from every other loop of the job."""

    name: str
    checkpoints: Checkpoints
    parts: Mapping[str, Stateful] = field(default_factory=dict)

    def resume(self, latents: Sequence[Tensor]) -> tuple[int, list[Tensor]]:
        """How many steps are done already, and the latents after them, on the device of `latents`.

        0 and `latents` themselves where no attempt has begun. The parts are brought along.
        """
        for data in self.checkpoints.earlier():
            saved = torch.load(io.BytesIO(data), latents[0].device, weights_only=True)
            if saved["name"] == self.name:
                for name, part in self.parts.items():
                    part.load_state_dict(saved["parts"][name])
                return saved["done"], saved["latents"]
        return 0, list(latents)

    def reached(self, done: int, latents: Sequence[Tensor]) -> None:
        """Offer the state after `done` steps. It may raise to end the run."""

        def save() -> bytes:
            data = io.BytesIO()
            parts = {name: part.state_dict() for name, part in self.parts.items()}
            saved = {"name": self.name, "done": done, "latents": list(latents), "parts": parts}
            torch.save(saved, data)
            return data.getvalue()

        self.checkpoints.offer(save)


UNBROKEN = Stretch("", Checkpoints())
"""A loop that always runs from its beginning to its end."""


def stretch(
    model: DiffusionModel, checkpoints: Checkpoints, name: str, parts: Mapping[str, Stateful]
) -> Stretch:
    """A loop of a job on `model`. name: distinct within the job.

    Another model, kind of device or version of ours does not go on where this one was: it could
    not give the same bytes.
    """
    own = (model.fingerprint, model.device.type, str(model.dtype), version("attention-please"))
    return Stretch(f"{name} {' '.join(own)}", checkpoints, parts)
