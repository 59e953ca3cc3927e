"""The built-in model and its judges, loaded once for all tests here."""

from __future__ import annotations

import pytest

from benchmarks.style_distance import MODELS, load
from core.diffusion.model import DiffusionModel
from training.judge import Judge
from training.masker import Masker, load_masker


@pytest.fixture(scope="session")
def world() -> tuple[DiffusionModel, Judge]:
    return load()


@pytest.fixture(scope="session")
def masker() -> Masker:
    return load_masker(MODELS / "tiny-world-judge")
