"""Edges, depths, and when a ControlNet acts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from core.contract.errors import ModelUnavailable
from core.contract.weights import Weights
from core.diffusion.control import active_steps, control_pixels, depths, edges
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")


def test_edges_are_white_on_black_where_the_picture_has_them() -> None:
    picture = Image.new("RGB", (64, 48), (20, 90, 20))
    ImageDraw.Draw(picture).rectangle((16, 12, 47, 35), fill=(240, 240, 240))
    found = np.asarray(edges(picture))
    assert found.shape == (48, 64, 3)
    assert set(np.unique(found)) == {0, 255}
    assert found[24, 14:19].any()
    assert not found[24, 24:40].any()


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [(0, 1, range(4)), (0.25, 0.75, range(1, 3)), (0.9, 1, range(0)), (0, 0.2, range(0))],
)
def test_control_acts_in_the_steps_that_lie_between_its_fractions(
    start: float, end: float, steps: range
) -> None:
    assert list(active_steps(4, start, end)) == list(steps)


def test_pixels_are_from_nought_to_one_channels_first() -> None:
    pixels = control_pixels([Image.new("RGB", (8, 4), (255, 0, 51))] * 2)
    assert pixels.shape == (2, 3, 4, 8)
    assert torch.allclose(pixels[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.2]))


def test_depths_come_from_the_depth_model_in_the_pictures_size(
    model: DiffusionModel, tmp_path: Path
) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    DPTForDepthEstimation(config).save_pretrained(tmp_path)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    spec = model.spec.model_copy(update={"depth_estimator": Weights(source=str(tmp_path))})
    found = depths(
        replace(model, spec=spec, beside={}), Image.effect_noise((80, 48), 60).convert("RGB")
    )
    assert (found.size, found.mode) == ((80, 48), "RGB")
    assert np.asarray(found).std() > 0


def test_networks_that_are_not_there_are_said_to_be_missing(
    model: DiffusionModel, tmp_path: Path
) -> None:
    nowhere = Weights(source=str(tmp_path / "nothing"))
    controls = {"canny": nowhere}
    update = {"controls": controls, "depth_estimator": nowhere}
    missing = replace(model, spec=model.spec.model_copy(update=update), beside={})
    with pytest.raises(ModelUnavailable, match="ControlNet"):
        missing.controlnet("canny")
    with pytest.raises(ModelUnavailable, match="depth model"):
        missing.depth_estimator()
