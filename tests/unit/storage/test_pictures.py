"""Pictures as files, with their recipe inside."""

from __future__ import annotations

import hashlib
import io
import json

import pytest
from PIL import Image

from core.contract.pictures import Picture
from core.contract.requests import Output
from core.storage.pictures import RECIPE_KEY, describe, encode

RECIPE = {"technique": "style-aligned", "seed": 7, "prompt": 'naïve "café" 🐈'}
PICTURE = Image.radial_gradient("L").resize((48, 32)).convert("RGB")


def test_a_png_carries_its_recipe_and_its_pixels_exactly() -> None:
    read = Image.open(io.BytesIO(encode(PICTURE, Output(), RECIPE)))
    assert read.tobytes() == PICTURE.tobytes()
    assert json.loads(read.info[RECIPE_KEY]) == RECIPE


def test_the_same_picture_and_recipe_give_the_same_bytes() -> None:
    backwards = dict(reversed(RECIPE.items()))
    assert encode(PICTURE, Output(), RECIPE) == encode(PICTURE, Output(), backwards)


@pytest.mark.parametrize("format_", ["webp", "jpeg"])
def test_quality_decides_the_size_of_webp_and_jpeg(format_: str) -> None:
    low, high = (
        encode(PICTURE, Output.model_validate({"format": format_, "quality": quality}), RECIPE)
        for quality in (5, 95)
    )
    assert len(low) < len(high)
    assert Image.open(io.BytesIO(low)).size == PICTURE.size


@pytest.mark.parametrize(
    ("format_", "name", "media_type"),
    [
        ("png", "image-000.png", "image/png"),
        ("webp", "image-000.webp", "image/webp"),
        ("jpeg", "image-000.jpg", "image/jpeg"),
    ],
)
def test_the_description_is_of_the_file(format_: str, name: str, media_type: str) -> None:
    output = Output.model_validate({"format": format_})
    data = encode(PICTURE, output, RECIPE)
    artifact = describe(Picture("image-000", "image", PICTURE, {"prompt": "a cat"}), data, output)
    assert (artifact.name, artifact.media_type) == (name, media_type)
    assert (artifact.width, artifact.height) == (48, 32)
    assert artifact.size_bytes == len(data)
    assert artifact.sha256 == hashlib.sha256(data).hexdigest()
    assert artifact.metadata == {"prompt": "a cat"}
