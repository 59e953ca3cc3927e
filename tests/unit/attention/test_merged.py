"""Merged attention against one softmax over concatenated keys."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.attention import merged
from core.attention.merged import Group, attention_with_log_sum, merged_attention

SIZES = st.integers(1, 9)


def one_softmax(queries: Tensor, groups: list[Group]) -> Tensor:
    """The definition: concatenate, add biases to the scores, one softmax."""
    rows, heads, count, _ = queries.shape
    scores, values = [], []
    for group in groups:
        keys = group.keys.expand(rows, -1, -1, -1)
        bias = torch.as_tensor(group.bias, dtype=queries.dtype).expand(rows, heads, count)
        scores.append(group.scale * queries @ keys.mT + bias[..., None])
        values.append(group.values.expand(rows, -1, -1, -1))
    return torch.cat(scores, dim=-1).softmax(dim=-1) @ torch.cat(values, dim=2)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Tensor, list[Group]]:
    """Queries and up to four groups, of random sizes, scales, biases and masks."""
    rows, heads, count, width = (draw(SIZES) for _ in range(4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    groups = []
    count_of_groups = draw(st.integers(1, 4))
    visible = draw(st.integers(0, count_of_groups - 1))  # a query must see something
    for index in range(count_of_groups):
        tokens, batch = draw(SIZES), draw(st.sampled_from([1, rows]))
        bias: Tensor | float = draw(st.floats(-4, 4))
        if draw(st.booleans()):
            bias = 2 * normal(rows, draw(st.sampled_from([1, heads])), count)
            if index != visible:
                bias = bias.masked_fill(normal(rows, 1, count) > 0.5, -math.inf)
        groups.append(
            Group(
                3 * normal(batch, heads, tokens, width),
                normal(batch, heads, tokens, width),
                draw(st.floats(0, 2)),
                bias,
            )
        )
    return normal(rows, heads, count, width), groups


@settings(deadline=None, max_examples=150)
@given(problems())
def test_equals_one_softmax_over_concatenated_keys(problem: tuple[Tensor, list[Group]]) -> None:
    queries, groups = problem
    expected = one_softmax(queries, groups)
    assert (merged_attention(queries, groups) - expected).abs().max() < 1e-12


@settings(deadline=None, max_examples=50)
@given(problems(), st.integers(1, 30))
def test_query_chunks_give_what_the_fused_kernel_gives(
    problem: tuple[Tensor, list[Group]], scores: int
) -> None:
    queries, (group, *_) = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merged, "_CHUNK_SCORES", scores)
        rows = queries.shape[0]
        keys, values = (x.expand(rows, -1, -1, -1) for x in (group.keys, group.values))
        chunked = merged._chunked_attention(queries, keys, values, group.scale)
    fused = attention_with_log_sum(queries, group.keys, group.values, group.scale)
    for one, other in zip(chunked, fused, strict=True):
        assert (one - other).abs().max() < 1e-12


def test_a_hidden_group_changes_nothing() -> None:
    queries, keys, values = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    plain = [Group(keys, values, 0.5)]
    hidden = [*plain, Group(keys + 1, values - 1, 0.5, -math.inf)]
    assert torch.allclose(
        merged_attention(queries, hidden), merged_attention(queries, plain), atol=1e-15
    )


def test_a_query_that_sees_nothing_has_no_answer() -> None:
    queries = torch.randn(1, 1, 2, 4)
    bias = torch.tensor([[[0.0, -math.inf]]])
    answer = merged_attention(queries, [Group(queries, queries, 0.5, bias)])
    assert answer[0, 0, 0].isfinite().all()
    assert answer[0, 0, 1].isnan().all()


def test_features_that_are_not_neighbours_in_memory_give_the_same() -> None:
    given = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64)
    one = attention_with_log_sum(given[0], given[1], given[2], 0.5)
    scattered = [x.mT.contiguous().mT for x in given]
    other = attention_with_log_sum(scattered[0], scattered[1], scattered[2], 0.5)
    assert all(torch.allclose(a, b, atol=1e-14) for a, b in zip(one, other, strict=True))


def test_half_precision_is_merged_in_single() -> None:
    queries, keys, values = torch.randn(3, 2, 2, 64, 32)
    groups = [Group(keys, values, 0.2), Group(keys[:1], values[:1], 0.2, 0.7)]
    halved = [Group(g.keys.bfloat16(), g.values.bfloat16(), g.scale, g.bias) for g in groups]
    answer = merged_attention(queries.bfloat16(), halved)
    assert answer.dtype == torch.bfloat16
    assert (answer.float() - merged_attention(queries, groups)).abs().max() < 0.03


def test_no_groups_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one group"):
        merged_attention(torch.randn(1, 1, 2, 4), [])
