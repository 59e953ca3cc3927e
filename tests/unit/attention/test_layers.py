"""Which layers a UNet has, and which a fraction takes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.attention.layers import (
    AttentionLayer,
    authors_self_layers,
    self_attention_layers,
    spread,
)
from core.contract.models import Family
from tests.tiny_models import tiny_model


def layers(count: int) -> list[AttentionLayer]:
    return [AttentionLayer(f"layer-{i}", "down", 0, 0, i, "attn1") for i in range(count)]


@given(st.integers(1, 140), st.floats(0, 1))
def test_a_fraction_of_layers_is_what_it_says_and_evenly_spread(
    count: int, fraction: float
) -> None:
    taken = [layer.depth for layer in spread(layers(count), fraction)]
    assert len(taken) == round(fraction * count)
    gaps = {after - before for before, after in pairwise(taken)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_authors_rule_takes_more_layers_than_it_says() -> None:
    assert len(authors_self_layers(layers(70), 0.3)) == 24
    assert len(spread(layers(70), 0.3)) == 21
    assert authors_self_layers(layers(70), 0) == []
    assert len(authors_self_layers(layers(70), 1)) == 70


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_layers_are_known_by_name_in_every_family(family: Family, tmp_path: Path) -> None:
    unet = tiny_model(tmp_path, family).unet
    found = self_attention_layers(unet)
    assert {layer.place for layer in found} == {"down", "mid", "up"}
    assert all(unet.get_submodule(layer.name).processor is not None for layer in found)
