"""Shared attention and shared group norm on a small attention layer."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attention.memory import Memory, moments
from core.attention.shares import Shares
from core.attention.sharing import (
    Following,
    Pooled,
    Remembering,
    adain,
    following_norm,
    pooled_norm,
    remembering_norm,
)

ALL = torch.ones(1, 1, 1)


@pytest.fixture
def layer() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=24, heads=3, dim_head=8).double().requires_grad_(False)


def features(rows: int, tokens: int = 10) -> torch.Tensor:
    return torch.randn(rows, tokens, 24, dtype=torch.float64)


def remembered(layer: Attention, reference: torch.Tensor) -> Memory:
    """What a reference's pass leaves."""
    memory = Memory()
    layer.set_processor(Remembering("it", memory))
    layer(reference)
    return memory


def follow(
    layer: Attention, targets: torch.Tensor, memories: list[Memory], shares: Shares, **how: object
) -> torch.Tensor:
    settings: dict[str, object] = {"score_shifts": [0.0] * len(memories), "halves": 1} | how
    layer.set_processor(Following("it", memories, shares, **settings))  # type: ignore[arg-type]
    output: torch.Tensor = layer(targets)
    return output


def test_a_reference_is_drawn_as_if_nothing_were_kept_of_it(layer: Attention) -> None:
    reference = features(2)
    plain = layer(reference)
    layer.set_processor(Remembering("it", Memory()))
    assert torch.allclose(layer(reference), plain, atol=1e-14)


def test_a_target_like_its_reference_is_drawn_like_it(layer: Attention) -> None:
    reference = features(1)
    plain = layer(reference)
    memory = remembered(layer, reference)
    followed = follow(layer, reference.repeat(2, 1, 1), [memory], Shares.even([1]))
    assert torch.allclose(followed, plain.expand_as(followed), atol=1e-12)


def test_equals_the_papers_formula_written_out(layer: Attention) -> None:
    reference, target = features(1, tokens=14), features(1)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(1, -1, 3, 8).transpose(1, 2)

    r_q, r_k, r_v = (heads(to(reference)) for to in (layer.to_q, layer.to_k, layer.to_v))
    q, k, v = (heads(to(target)) for to in (layer.to_q, layer.to_k, layer.to_v))
    q, k = adain(q, [moments(r_q)], ALL), adain(k, [moments(r_k)], ALL)
    scores = torch.cat([q @ k.mT, 0.8 * q @ r_k.mT + 0.3 * 8**0.5], dim=-1) / 8**0.5
    written = scores.softmax(-1) @ torch.cat([v, r_v], dim=2)
    expected = layer.to_out[0](written.transpose(1, 2).reshape(1, 10, 24))
    memory = remembered(layer, reference)
    followed = follow(
        layer, target, [memory], Shares.even([1]), score_scale=0.8, score_shifts=[0.3]
    )
    assert torch.allclose(followed, expected, atol=1e-12)


def test_each_half_follows_its_own_half_of_the_reference(layer: Attention) -> None:
    uncond, cond, targets = features(1), features(1), features(3)
    both = remembered(layer, torch.cat([uncond, cond]))
    together = follow(layer, targets.repeat(2, 1, 1), [both], Shares.even([1]), halves=2)
    for half, reference in zip(together.chunk(2), (uncond, cond), strict=True):
        alone = follow(layer, targets, [remembered(layer, reference)], Shares.even([1]))
        assert torch.allclose(half, alone, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(weight=st.floats(0.01, 100), seed=st.integers(0, 2**31))
def test_two_references_alike_are_one_whatever_their_weights(weight: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer = Attention(query_dim=24, heads=3, dim_head=8).double().requires_grad_(False)
    reference, targets = features(1), features(2)
    memory = remembered(layer, reference)
    once = follow(layer, targets, [memory], Shares.even([1]))
    twice = follow(layer, targets, [memory, memory], Shares.even([1, weight]))
    assert torch.allclose(once, twice, atol=1e-6)


def test_a_masked_reference_is_followed_inside_its_mask_only(layer: Attention) -> None:
    left, right, target = features(1, 20), features(1, 12), features(1, 16)
    mask = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    mask[:, 0, :, :2] = 1
    mask[:, 1, :, 2:] = 1
    memories = [remembered(layer, left), remembered(layer, right)]
    off = {"adain_queries": False, "adain_keys": False}
    blended = follow(layer, target, memories, Shares.masked(mask, [1, 5]), **off).view(4, 4, 24)
    only = [follow(layer, target, [m], Shares.even([1]), **off).view(4, 4, 24) for m in memories]
    assert torch.allclose(blended[:, :2], only[0][:, :2], atol=1e-12)
    assert torch.allclose(blended[:, 2:], only[1][:, 2:], atol=1e-12)


def test_a_picture_masked_from_every_reference_is_drawn_plainly(layer: Attention) -> None:
    target = features(1, 16)
    plain = layer(target)
    memory = remembered(layer, features(1, 16))
    nowhere = Shares.masked(torch.zeros(1, 1, 4, 4, dtype=torch.float64), [1])
    assert torch.allclose(follow(layer, target, [memory], nowhere), plain, atol=1e-12)


def test_full_sharing_attends_to_the_tokens_of_all_rows_of_a_half(layer: Attention) -> None:
    rows = features(4)
    layer.set_processor(Pooled(halves=2))
    shared = layer(rows)
    pool = rows[:2].reshape(1, 20, 24)
    layer.set_processor(Pooled(halves=1))
    assert torch.allclose(shared[:2].reshape(1, 20, 24), layer(pool), atol=1e-12)


def test_adain_gives_the_mean_and_deviation_of_the_style() -> None:
    own = torch.randn(2, 3, 50, 4, dtype=torch.float64) * 3 + 1
    style = torch.randn(1, 3, 50, 4, dtype=torch.float64) * 0.5 - 2
    given = adain(own, [moments(style)], ALL)
    assert torch.allclose(given.mean(-2), style.mean(-2).expand(2, -1, -1), atol=1e-12)
    assert torch.allclose(given.std(-2), style.std(-2).expand(2, -1, -1), rtol=1e-4)


def test_adain_in_places_gives_each_place_its_styles_moments() -> None:
    own = torch.randn(1, 2, 40, 4, dtype=torch.float64)
    styles = [torch.randn(1, 2, 40, 4, dtype=torch.float64) * s + s for s in (0.5, 3.0)]
    shares = torch.zeros(1, 2, 40, dtype=torch.float64)
    shares[:, 0, :25] = 1
    shares[:, 1, 25:] = 1
    given = adain(own, [moments(style) for style in styles], shares)
    for part, style in zip((given[:, :, :25], given[:, :, 25:]), styles, strict=True):
        assert torch.allclose(part.mean(-2), style.mean(-2), atol=1e-12)


def group_norm() -> torch.nn.GroupNorm:
    norm = torch.nn.GroupNorm(4, 8).double().requires_grad_(False)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_merged_moments_equal_a_norm_over_concatenated_maps(offset: float) -> None:
    norm = group_norm()
    reference = torch.randn(1, 8, 9, 5, dtype=torch.float64) + offset
    target = torch.randn(1, 8, 6, 5, dtype=torch.float64) + offset
    memory = Memory()
    assert torch.equal(remembering_norm(norm, memory)(reference), norm(reference))
    shared = following_norm(norm, [memory], Shares.even([1]), 1)(target)
    concatenated = norm(torch.cat([target, reference], dim=2))[:, :, :6]
    assert torch.allclose(shared, concatenated, atol=1e-8)


def test_a_pooled_norm_joins_each_row_with_its_halfs_first() -> None:
    norm = group_norm()
    rows = torch.randn(4, 8, 6, 5, dtype=torch.float64)
    shared = pooled_norm(norm, halves=2)(rows)
    assert torch.allclose(shared[0], norm(rows[:1])[0], atol=1e-12)
    pair = norm(torch.cat([rows[3:], rows[2:3]], dim=2))[:, :, :6]
    assert torch.allclose(shared[3], pair[0], atol=1e-9)
