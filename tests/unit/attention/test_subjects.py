"""Which layers tell where a subject is, and what is made of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.attention.control import AttentionPlan, attention_control
from core.attention.subjects import SubjectFinder, places_in, resized
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1").unet


def test_both_kinds_of_attention_are_taken_from_encoder_and_decoder(unet: Any) -> None:
    places = places_in(unet, (16, 16))
    assert (places.grid, places.text_grid) == ((16, 16), (16, 16))
    assert {layer.kind for layer in places.layers} == {"attn1", "attn2"}
    assert {layer.place for layer in places.layers} == {"down", "up"}


def test_only_the_steps_to_be_watched_are_recorded(unet: Any) -> None:
    finder = SubjectFinder(unet, (16, 16), {2: [1], 1: [1]}, range(1, 2))
    plan = AttentionPlan()
    assert finder.watch(0, plan) is plan
    with pytest.raises(KeyError):
        finder.mask(1, "threshold", seed=0)
    with torch.no_grad(), attention_control(unet, finder.watch(1, plan)):
        unet(torch.randn(3, 4, 16, 16), 10, torch.randn(3, 16, 32))
    for rule in ("threshold", "contrast"):
        mask = finder.mask(2, rule, seed=0)
        assert (mask.shape, mask.dtype) == ((16, 16), torch.bool)


def test_a_subject_without_a_word_is_nowhere(unet: Any) -> None:
    assert not SubjectFinder(unet, (16, 16), {1: []}, range(0)).mask(1, "threshold", 0).any()


def test_a_mask_is_enlarged_place_by_place() -> None:
    mask = torch.tensor([[True, False], [False, True]])
    assert torch.equal(resized(mask, (4, 4)), torch.kron(mask.int(), torch.ones(2, 2).int()) > 0)
