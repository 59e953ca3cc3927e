"""Shared attention and shared group norm on a small attention layer."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attention.rows import Row, RowMap, first_row_shared
from core.attention.sharing import SharedAttention, adain, shared_group_norm


def attention_layer() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=24, heads=3, dim_head=8).double().requires_grad_(False)


@pytest.fixture
def layer() -> Attention:
    return attention_layer()


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(2, 5),
    guided=st.booleans(),
    adain_values=st.booleans(),
    shift=st.floats(-3, 3),
    scale=st.floats(0, 2),
    seed=st.integers(0, 2**31),
)
def test_reference_rows_do_not_depend_on_the_targets(
    rows: int, guided: bool, adain_values: bool, shift: float, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    row_map = first_row_shared(rows, guided=guided)
    shape = (len(row_map), 10, 24)
    features = torch.randn(shape, generator=generator, dtype=torch.float64)
    others = torch.randn(shape, generator=generator, dtype=torch.float64)
    references = [i for i, row in enumerate(row_map.rows) if row.role == "reference"]
    others[references] = features[references]
    layer = attention_layer()
    plain = layer(features)
    layer.set_processor(
        SharedAttention(row_map, adain_values=adain_values, score_scale=scale, score_shift=shift)
    )
    one, other = layer(features), layer(others)
    norm = shared_group_norm(torch.nn.GroupNorm(4, 24).double(), row_map)
    one_normed, other_normed = norm(features.mT), norm(others.mT)
    for reference in references:
        assert torch.equal(one[reference], other[reference])
        assert torch.allclose(one[reference], plain[reference], atol=1e-14)
        assert torch.equal(one_normed[reference], other_normed[reference])
    assert not torch.allclose(one[1], plain[1], atol=1e-6)


def test_a_target_like_its_reference_is_drawn_like_it(layer: Attention) -> None:
    features = torch.randn(1, 10, 24, dtype=torch.float64).expand(2, -1, -1)
    layer.set_processor(SharedAttention(first_row_shared(2, guided=False)))
    reference, target = layer(features)
    assert torch.allclose(reference, target, atol=1e-12)


def test_equals_the_papers_formula_written_out(layer: Attention) -> None:
    features = torch.randn(2, 10, 24, dtype=torch.float64)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(2, 10, 3, 8).transpose(1, 2)

    q, k, v = heads(layer.to_q(features)), heads(layer.to_k(features)), heads(layer.to_v(features))
    target_q, target_k = adain(q[1:], q[:1]), adain(k[1:], k[:1])
    scores = torch.cat([target_q @ target_k.mT, 0.8 * target_q @ k[:1].mT], dim=-1) / 8**0.5
    scores[..., 10:] += 0.3
    written = scores.softmax(-1) @ torch.cat([v[1:], v[:1]], dim=2)
    expected = layer.to_out[0](written.transpose(1, 2).reshape(1, 10, 24))
    layer.set_processor(
        SharedAttention(first_row_shared(2, guided=False), score_scale=0.8, score_shift=0.3)
    )
    assert torch.allclose(layer(features)[1:], expected, atol=1e-12)


def test_a_batch_of_another_size_than_planned_is_an_error(layer: Attention) -> None:
    layer.set_processor(SharedAttention(first_row_shared(3, guided=False)))
    with pytest.raises(ValueError, match="2 rows came, 3 were planned"):
        layer(torch.randn(2, 10, 24, dtype=torch.float64))


def test_adain_gives_the_mean_and_deviation_of_the_style() -> None:
    features = torch.randn(2, 3, 50, 4, dtype=torch.float64) * 3 + 1
    style = torch.randn(1, 3, 50, 4, dtype=torch.float64) * 0.5 - 2
    given = adain(features, style)
    assert torch.allclose(given.mean(-2), style.mean(-2).expand(2, -1, -1), atol=1e-12)
    assert torch.allclose(given.std(-2), style.std(-2).expand(2, -1, -1), rtol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_merged_moments_equal_a_norm_over_concatenated_maps(offset: float) -> None:
    norm = torch.nn.GroupNorm(4, 8).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    features = torch.randn(3, 8, 6, 5, dtype=torch.float64) + offset
    rows = RowMap(
        (
            Row("cond", 0, "reference"),
            Row("cond", 0, "target", (0,)),
            Row("cond", 0, "target", (0, 1)),
        )
    )
    shared = shared_group_norm(norm, rows)(features)
    assert torch.allclose(shared[0], norm(features[:1])[0], atol=1e-9)
    pair = norm(torch.cat([features[1:2], features[:1]], dim=2))[:, :, :6]
    assert torch.allclose(shared[1], pair[0], atol=1e-9)
    three = norm(torch.cat([features[2:], features[:1], features[1:2]], dim=2))[:, :, :6]
    assert torch.allclose(shared[2], three[0], atol=1e-9)
