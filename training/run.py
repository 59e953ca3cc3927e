"""The state of a training run: what a checkpoint holds, and how a run goes on from one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from training.denoiser import Denoiser


@dataclass(frozen=True)
class Progress:
    """How far a run is: optimizer steps, images seen by all processes, seconds of training."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0


class Average:
    """Exponential moving average of the weights; these are the ones that ship."""

    def __init__(self, denoiser: Denoiser, decay: float) -> None:
        self.decay = decay
        self.weights = [p.detach().clone() for p in denoiser.parameters()]

    def update(self, denoiser: Denoiser, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for p in denoiser.parameters()]
        torch._foreach_lerp_(self.weights, current, 1 - decay)

    def copy_to(self, denoiser: Denoiser) -> None:
        with torch.no_grad():
            for parameter, weight in zip(denoiser.parameters(), self.weights, strict=True):
                parameter.copy_(weight)


@dataclass(frozen=True)
class Run:
    """What trains, and what is remembered of it."""

    denoiser: Denoiser
    optimizer: torch.optim.Optimizer
    average: Average

    def save(self, folder: Path, progress: Progress, options: Any) -> None:
        """Writes beside and renames: an interruption leaves the earlier checkpoint whole."""
        state = {
            "denoiser": self.denoiser.state(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.weights,
            "options": options,
            **vars(progress),
        }
        path = checkpoint_path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def resume(self, folder: Path, device: torch.device) -> Progress:
        """Takes up the folder's checkpoint, if there is one."""
        if not checkpoint_path(folder).exists():
            return Progress()
        state = read_checkpoint(folder, device)
        self.denoiser.load_state(state["denoiser"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.weights = state["average"]
        return progress_of(state)


def checkpoint_path(folder: Path) -> Path:
    return folder / "checkpoint.pt"


def read_checkpoint(folder: Path, device: torch.device) -> dict[str, Any]:
    """The state that `Run.save` wrote. Only for checkpoints of one's own: it unpickles."""
    state: dict[str, Any] = torch.load(
        checkpoint_path(folder), map_location=device, weights_only=False
    )
    return state


def progress_of(state: dict[str, Any]) -> Progress:
    return Progress(**{field.name: state[field.name] for field in fields(Progress)})
