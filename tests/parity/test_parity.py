"""The exact settings reproduce the authors' own code, tensor by tensor.

The cases are not part of this repository. They are looked for in `../shared/parity`, or
where `ATTENTION_PLEASE_PARITY` says.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.parity.case import load_case
from tests.parity.run import CASES

ROOT = Path(__file__).resolve().parents[2]
PARITY = Path(os.environ.get("ATTENTION_PLEASE_PARITY", ROOT.parent / "shared" / "parity"))


@pytest.mark.skipif(not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not here")
@pytest.mark.parametrize("name", sorted(set(CASES) - {"segmentation"}))
def test_every_tensor_is_within_its_tolerance(name: str) -> None:
    path = PARITY / f"{name}.json"
    made = CASES[name](load_case(path, PARITY / "models"))
    wanted = {
        k: v
        for k, v in load_file(path.with_suffix(".safetensors")).items()
        if k.split("/")[-1].startswith("out.")
    }
    tolerances = json.loads(path.read_text())["tolerance"]
    assert set(made) == set(wanted)
    errors = {
        tensor: ((made[tensor] - want).abs().max() / want.abs().max()).item()
        for tensor, want in wanted.items()
    }
    assert {t: e for t, e in errors.items() if e > _tolerance(t, tolerances)} == {}


@pytest.mark.skipif(not PARITY.is_dir(), reason="the parity cases (../shared/parity) are not here")
def test_segments_are_the_same_parts_with_the_same_names(tmp_path: Path) -> None:
    """Clusters have no order: the cases' own script matches them before it compares."""
    path, out = PARITY / "segmentation.json", tmp_path / "out.safetensors"
    made = CASES["segmentation"](load_case(path, PARITY / "models"))
    save_file({name: tensor.clone() for name, tensor in made.items()}, out)
    compare = [sys.executable, str(PARITY / "compare.py"), str(path), str(out)]
    compared = subprocess.run(compare, capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stdout


def _tolerance(name: str, tolerances: dict[str, Any]) -> float:
    """The longest pattern that fits the full name, its variant or its tensor."""
    variant, _, tensor = name.rpartition("/")
    fitting = [
        pattern
        for pattern, limit in tolerances.items()
        if isinstance(limit, float)
        and any(fnmatch.fnmatch(part, pattern) for part in (name, variant, tensor))
    ]
    return float(tolerances[max(fitting, key=len, default="default")])
