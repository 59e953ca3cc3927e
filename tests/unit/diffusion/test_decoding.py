"""What is no picture is found out, and tried again in single precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from core.contract.errors import NumericsFailure
from core.diffusion import decoding
from core.diffusion.decoding import decode_checked, is_black
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model

LATENTS = torch.zeros(1, 4, 16, 16)


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")


def decoding_to(value: float, monkeypatch: pytest.MonkeyPatch, only_half: bool = False) -> None:
    """Let every decoding give `value` everywhere, or only those in half precision."""

    def decode(model: DiffusionModel, latents: Tensor) -> Tensor:
        fine = only_half and model.vae.dtype == torch.float32
        return torch.full((1, 3, 64, 64), 0.5 if fine else value)

    monkeypatch.setattr(decoding, "decode_pixels", decode)


def test_a_picture_is_decoded(model: DiffusionModel) -> None:
    assert decode_checked(model, LATENTS).size == (64, 64)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_picture_fails_as_numerics(
    value: float, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding_to(value, monkeypatch)
    with pytest.raises(NumericsFailure):
        decode_checked(model, LATENTS)


@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_half_precision_is_tried_again_in_single(
    value: float, model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.vae.half()
    decoding_to(value, monkeypatch, only_half=True)
    assert decode_checked(model, LATENTS).getpixel((0, 0)) == (191, 191, 191)
    assert model.vae.dtype == torch.float16


def test_latents_that_are_no_numbers_fail_at_once(model: DiffusionModel) -> None:
    with pytest.raises(NumericsFailure):
        decode_checked(model, LATENTS * torch.nan)


def test_black_may_be_asked_for(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding_to(-1.0, monkeypatch)
    assert is_black(decode_checked(model, LATENTS, may_be_black=True))


def test_black_is_what_shows_nothing() -> None:
    image: Any = Image.new("RGB", (4, 4))
    assert is_black(image)
    image.putpixel((0, 0), (0, 9, 0))
    assert not is_black(image)
