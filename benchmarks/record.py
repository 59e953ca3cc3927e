"""Results on disk: figures beside the command, the date and the machine that gave them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from core.diffusion.model import DiffusionModel, best_device

RESULTS = Path(__file__).parent / "results"


def write(
    name: str,
    options: str,
    figures: Mapping[str, Any],
    model: DiffusionModel | None = None,
    file: str | None = None,
) -> None:
    """Write `results/<name>.json` for a run of `python -m benchmarks.<name> <options>`.

    file: its name, where it is not that of the benchmark.
    """
    device = best_device() if model is None else model.device
    # Of the processes that a benchmark starts, where it says so: its own torch is loaded by then.
    threads = os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()
    record: dict[str, Any] = {
        "command": f"python -m benchmarks.{name} {options}".rstrip(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {device}, {threads} thread(s)",
        "torch": torch.__version__,
    }
    if model is not None:
        record["model"] = model.fingerprint
    RESULTS.mkdir(exist_ok=True)
    document = json.dumps(record | dict(figures), indent=2)
    (RESULTS / f"{file or name}.json").write_text(document + "\n")
