"""What is deployed from this folder, read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from core.contract.settings import Settings
from worker.leaving import HAND_BACK_SECONDS

ROOT = Path(__file__).parents[3]
DRAIN_SECONDS = float(Settings.model_fields["drain_seconds"].default) + HAND_BACK_SECONDS
"""What a supervisor that was told to stop may take, but for its own end."""


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    with path.open(encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def unknown_settings(text: str) -> set[str]:
    """The `ATTENTION_PLEASE_…` variables in `text` that no process reads."""
    known = {f"ATTENTION_PLEASE_{name.upper()}" for name in Settings.model_fields}
    return set(re.findall(r"ATTENTION_PLEASE_[A-Z_]+", text)) - known


def seconds(duration: str) -> int:
    """Of a duration as compose writes it."""
    (number, unit), *_ = re.findall(r"^(\d+)(s|m)$", duration)
    return int(number) * (60 if unit == "m" else 1)
