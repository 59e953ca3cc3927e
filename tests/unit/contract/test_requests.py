"""Requests: what is filled in, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.contract.errors import InvalidRequest
from core.contract.models import Family, ModelSpec
from core.contract.references import PromptReference
from core.contract.requests import MAX_SEED
from core.contract.style_aligned import StyleAlignedRequest


def model(family: Family = "sd1") -> ModelSpec:
    return ModelSpec(
        name="m",
        source="m",
        family=family,
        width=64,
        height=96,
        grid=16,
        min_size=32,
        max_size=128,
        steps=25,
        guidance_scale=5,
    )


def effective(family: Family = "sd1", **fields: Any) -> StyleAlignedRequest:
    body = {"prompts": ["a cat", "a boat"]} | fields
    return StyleAlignedRequest.model_validate(body).resolve(model(family))


def test_every_absent_value_is_filled_in() -> None:
    request = effective()
    assert request.model == "m"
    assert request.seed is not None
    assert [prompt.seed for prompt in request.prompts] == [
        request.seed,
        (request.seed + 1) % (MAX_SEED + 1),
    ]
    sampling = request.sampling
    assert (sampling.width, sampling.height) == (64, 96)
    assert (sampling.steps, sampling.guidance_scale) == (25, 5)


def test_resolving_twice_changes_nothing_nor_does_a_journey_as_json() -> None:
    once = effective(reference={"prompt": "a dog"})
    assert once.resolve(model()) == once
    assert StyleAlignedRequest.model_validate_json(once.model_dump_json(), strict=True) == once


def test_given_values_are_kept() -> None:
    request = effective(
        seed=0, sampling={"steps": 1, "guidance_scale": 1}, sharing={"group_norm": False}
    )
    assert request.seed == 0
    assert (request.sampling.steps, request.sampling.guidance_scale) == (1, 1)
    assert request.sharing.group_norm is False


def test_seeds_of_pictures_wrap_around() -> None:
    assert [prompt.seed for prompt in effective(seed=MAX_SEED).prompts] == [MAX_SEED, 0]


def test_a_prompts_own_seed_is_kept_and_moves_no_other() -> None:
    request = effective(seed=7, prompts=[{"text": "a", "seed": 99}, "b"])
    assert [prompt.seed for prompt in request.prompts] == [99, 8]


def test_the_references_seed_differs_from_every_pictures() -> None:
    request = effective(seed=7, reference={"prompt": "a dog"})
    assert isinstance(request.reference, PromptReference)
    seeds = [request.reference.prompt.seed, *(prompt.seed for prompt in request.prompts)]
    assert len(set(seeds)) == 3


@pytest.mark.parametrize(("family", "shared"), [("sd1", True), ("sd2", True), ("sdxl", False)])
def test_group_norm_is_shared_as_the_paper_does(family: Family, shared: bool) -> None:
    assert effective(family).sharing.group_norm is shared


def test_the_style_is_appended_to_the_prompt() -> None:
    request = effective(style="neon style")
    assert request.text_of(request.prompts[0]) == "a cat, neon style"
    plain = effective()
    assert plain.text_of(plain.prompts[0]) == "a cat"


@pytest.mark.parametrize("pixels", [31, 16, 65, 144])
def test_every_size_off_the_models_grid_or_range_is_named(pixels: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        effective(sampling={"width": pixels, "height": pixels})
    faults = refused.value.errors
    assert [fault.pointer for fault in faults] == ["/sampling/width", "/sampling/height"]
    assert "multiple of 16 from 32 to 128 pixels" in faults[0].detail
    assert "(and 1 more)" in refused.value.detail


@pytest.mark.parametrize(
    "fields",
    [
        {"prompts": []},
        {"prompts": [""]},
        {"prompts": ["a"] * 4097},
        {"promts": ["a"]},
        {"sharing": {"atention": True}},
        {"sharing": {"score_shift": float("nan")}},
        {"sharing": {"score_shift": float("inf")}},
        {"sampling": {"guidance_scale": float("nan")}},
        {"deadline_seconds": float("nan")},
        {"seed": -1},
        {"seed": MAX_SEED + 1},
        {"ttl_seconds": 1},
        {"metadata": {str(number): "" for number in range(33)}},
        {"prompts": ["\ud800"]},
    ],
)
def test_what_can_not_be_drawn_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        effective(**fields)
