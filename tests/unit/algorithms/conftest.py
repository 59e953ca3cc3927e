"""Tiny random models of every family, the same for all tests of a file."""

from __future__ import annotations

import pytest

from core.contract.models import Family
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, DiffusionModel]:
    families: tuple[Family, ...] = ("sd1", "sd2", "sdxl")
    return {f: tiny_model(tmp_path_factory.mktemp(f), f) for f in families}


@pytest.fixture
def sd1(models: dict[Family, DiffusionModel]) -> DiffusionModel:
    return models["sd1"]
