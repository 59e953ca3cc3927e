"""Attention maps on tiny random models of every family."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.algorithms.attention_maps import attention_maps
from core.attention.layers import attention_layers
from core.contract.attention_maps import AttentionMapsRequest
from core.contract.errors import InvalidRequest, NotFound
from core.contract.models import Family, transformer_blocks
from core.contract.pictures import File, Made, Picture, alone
from core.diffusion.model import DiffusionModel

PHOTO = Image.effect_noise((80, 64), 90).convert("RGB")


def run(model: DiffusionModel, **body: Any) -> dict[str, Made]:
    request = AttentionMapsRequest.model_validate({"seed": 5} | body).resolve(model.spec)
    around = replace(alone(), image=lambda _: PHOTO)
    made = attention_maps(model, request, around)
    return {one.stem if isinstance(one, Picture) else one.name: one for one in made}


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_gives_all_artifacts(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    made = run(models[family], prompt="cat or dog", queries=[[63, 0]], components=6)
    wanted = "image heat-cat heat-dog query-00 pca-features-0 pca-features-1 pca-maps-0 pca-maps-1"
    assert list(made) == [*wanted.split(), "maps.npz", "overview"]
    heat = made["heat-cat"]
    assert isinstance(heat, Picture)
    assert heat.image.size == (64, 64)


def test_arrays_have_named_axes_and_self_maps_sum_to_1(
    models: dict[Family, DiffusionModel],
) -> None:
    made = run(models["sd1"], image={"upload": "img_" + 32 * "0"}, tokens=["cat"])
    assert "image" not in made
    file = made["maps.npz"]
    assert isinstance(file, File)
    arrays = np.load(io.BytesIO(file.data))
    own = arrays["self_16x16"]
    np.testing.assert_allclose(own.sum(axis=(2, 3)), 1, rtol=1e-4)
    assert arrays["axes_self_16x16"].tolist() == ["query_y", "query_x", "key_y", "key_x"]
    assert arrays["text_16x16"].ndim == len(arrays["axes_text_16x16"])


def test_time_and_layer_are_said_in_words(models: dict[Family, DiffusionModel]) -> None:
    heat = run(models["sd1"], prompt="cat", layers=[2], timesteps=[0.5, 0.5])["heat-cat"]
    assert isinstance(heat, Picture)
    assert heat.metadata["layers"].startswith("layer 2 of ")
    assert heat.metadata["time"].startswith("t = 0.5")


def test_a_layer_that_is_not_there_is_refused_with_how_many_there_are(
    models: dict[Family, DiffusionModel],
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(models["sd1"], prompt="cat", layers=[1, 99])
    assert caught.value.errors[0].pointer == "/layers/1"
    assert "from 1 to" in caught.value.errors[0].detail


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_blocks_are_counted_without_loading_the_model(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    layers = attention_layers(models[family].unet)
    assert transformer_blocks(models[family].spec) == len(layers) / 2


def test_a_hub_model_with_fewer_blocks_than_its_family_says_so(
    models: dict[Family, DiffusionModel],
) -> None:
    sd1 = models["sd1"]
    hub = replace(sd1, spec=sd1.spec.model_copy(update={"source": "someone/distilled"}))
    with pytest.raises(NotFound, match="and no 16"):
        run(hub, prompt="cat", layers=[16])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"queries": [[64, 0]]}, "/queries/0"), ({"tokens": ["dog"]}, "/tokens/0")],
)
def test_points_outside_and_words_that_are_not_there_are_refused(
    body: dict[str, Any], pointer: str, models: dict[Family, DiffusionModel]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(models["sd1"], prompt="cat", **body)
    assert caught.value.errors[0].pointer == pointer
