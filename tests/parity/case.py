"""A parity case as read from disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """One case: its parameters, its inputs, and where the models are."""

    name: str
    document: dict[str, Any]
    inputs: dict[str, Tensor]
    models: Path

    def variants(self) -> list[tuple[str, dict[str, Any]]]:
        """Each variant's name and parameters."""
        return [(name, entry["params"]) for name, entry in self.document["variants"].items()]

    def named(self, variant: str) -> set[str]:
        """The outputs that a variant has, such as `latents`, by the case's list of tensors."""
        prefix = f"{variant}/out."
        return {n.removeprefix(prefix) for n in self.document["tensors"] if n.startswith(prefix)}


def load_case(path: Path, models: Path) -> Case:
    """Read a case's parameters and inputs, and nothing of what is expected of it."""
    document = json.loads(path.read_text())
    with safe_open(path.with_suffix(".safetensors"), framework="pt") as file:
        names = [name for name in file.keys() if name.split("/")[-1].startswith("in.")]  # noqa: SIM118
        # Mapped tensors aren't aligned to 64 bytes, which alone moves results by 1e-5.
        inputs = {name: file.get_tensor(name).clone() for name in names}
    return Case(document["case"], document, inputs, models)
