"""Contrasted attention against the formula written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from core.attention import contrast as contrast_module
from core.attention.contrast import _fused, contrasted_attention

SCALE = 0.3


def written_out(queries: Tensor, keys: Tensor, values: Tensor, contrast: float) -> Tensor:
    weights = (SCALE * (queries @ keys.mT)).softmax(dim=-1)
    mean = 1 / keys.shape[2]
    return (contrast * (weights - mean) + mean).clamp(0, 1) @ values


def features(keys: int = 60, queries: int = 50) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, keys, 16)
    return (
        3 * torch.randn((2, 3, queries, 16), generator=generator),
        torch.randn(shape, generator=generator),
        torch.randn(shape, generator=generator),
    )


@pytest.mark.parametrize("contrast", [0.0, 1.0, 1.67, 4.0])
def test_it_is_the_clipped_map_times_the_values(contrast: float) -> None:
    queries, keys, values = features()
    expected = written_out(queries, keys, values, contrast)
    answer = contrasted_attention(queries, keys, values, SCALE, contrast)
    assert (answer - expected).abs().max() < 1e-5


def test_a_contrast_of_one_is_plain_attention() -> None:
    queries, keys, values = features()
    plain = torch.nn.functional.scaled_dot_product_attention(queries, keys, values, scale=SCALE)
    assert (contrasted_attention(queries, keys, values, SCALE, 1.0) - plain).abs().max() < 1e-5


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = features(queries=70)
    whole = contrasted_attention(queries, keys, values, SCALE, 1.67)
    monkeypatch.setattr(contrast_module, "_CHUNK_SCORES", 7 * 60)
    chunked = contrasted_attention(queries, keys, values, SCALE, 1.67)
    assert (chunked - whole).abs().max() < 1e-6


def test_half_precision_goes_in_and_comes_out() -> None:
    queries, keys, values = (x.half() for x in features())
    answer = contrasted_attention(queries, keys, values, SCALE, 1.67)
    expected = written_out(queries.float(), keys.float(), values.float(), 1.67)
    assert answer.dtype == torch.float16
    assert (answer.float() - expected).abs().max() < 1e-2


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("contrast", [0.0, 1.0, 1.67, 4.0])
def test_the_form_for_gpus_has_the_same_numbers(contrast: float) -> None:
    """Uncompiled, so that it can be held against the formula without a GPU."""
    queries, keys, values = features()
    answer = _fused(flex_attention, queries, keys, values, SCALE, contrast)
    assert (answer - written_out(queries, keys, values, contrast)).abs().max() < 2e-5
