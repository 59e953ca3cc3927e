"""Data sets: many prompts in chunks, resumed after the last finished picture."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.algorithms.style_aligned import style_aligned
from core.contract.pictures import File, Made, Picture, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model

BODY: dict[str, Any] = {
    "prompts": ["a cat", "a house", "a boat", "a tree", "a car"],
    "style": "neon",
    "seed": 5,
    "dataset": True,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")  # 3 targets a chunk


def made(model: DiffusionModel, finished: dict[str, Image.Image]) -> list[Made]:
    request = StyleAlignedRequest.model_validate(BODY).resolve(model.spec)
    return list(style_aligned(model, request, replace(alone(), finished=finished.get)))


def test_metadata_names_every_picture_and_its_text(model: DiffusionModel) -> None:
    *pictures, metadata = made(model, {})
    assert [p.stem for p in pictures if isinstance(p, Picture)] == [
        "reference",
        *(f"image-{number:03d}" for number in range(5)),
    ]
    assert isinstance(metadata, File)
    lines = [json.loads(line) for line in metadata.data.splitlines()]
    assert lines[1] == {"file_name": "image-001.png", "text": "a house, neon", "seed": 6}
    assert len(lines) == 5


@pytest.mark.parametrize("count", range(7))
def test_a_resumed_run_makes_the_missing_pictures_and_the_same_ones(
    model: DiffusionModel, count: int
) -> None:
    whole = [p for p in made(model, {}) if isinstance(p, Picture)]
    finished = {picture.stem: picture.image for picture in whole[:count]}
    resumed = [p for p in made(model, finished) if isinstance(p, Picture)]
    assert [p.stem for p in resumed] == [p.stem for p in whole[count:]]
    for before, after in zip(whole[count:], resumed, strict=True):
        assert np.array_equal(np.asarray(before.image), np.asarray(after.image))


def test_a_finished_chunk_is_not_drawn_again(model: DiffusionModel) -> None:
    whole = [p for p in made(model, {}) if isinstance(p, Picture)]
    finished = {picture.stem: picture.image for picture in whole[:5]}
    request = StyleAlignedRequest.model_validate(BODY).resolve(model.spec)
    told: list[int] = []
    around = replace(alone(lambda progress: told.append(progress.step)), finished=finished.get)
    list(style_aligned(model, request, around))
    steps = model.spec.steps
    assert min(told) == steps
    assert max(told) == 2 * steps
