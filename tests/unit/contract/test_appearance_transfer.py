"""The request: what is filled in, and what is refused with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.errors import InvalidRequest
from core.contract.models import ModelSpec
from core.contract.parsing import parse

UPLOAD = {"upload": "img_" + 32 * "0"}
BODY = {"structure": UPLOAD, "appearance": UPLOAD, "domain": "cat"}


def model(side: int = 512, **more: Any) -> ModelSpec:
    values = {"width": side, "height": side, "grid": 16, "min_size": 32, "max_size": 1024}
    return ModelSpec.model_validate({"name": "m", "source": "m", "family": "sd1", **values, **more})


def effective(side: int = 512, **fields: Any) -> AppearanceTransferRequest:
    body = json.dumps(BODY | fields).encode()
    return parse(AppearanceTransferRequest, body).resolve(model(side))


def spans(request: AppearanceTransferRequest) -> dict[str, tuple[int, int]]:
    found = request.ranges.model_dump(exclude={"unit"})
    return {name: (span["start"], span["end"]) for name, span in found.items()}


def test_where_the_papers_grids_exist_its_numbers_are_the_defaults() -> None:
    request = effective()
    assert (request.preset, request.steps, request.skip_steps) == ("faithful", 100, 32)
    assert (request.contrast, request.swap_guidance_scale) == (1.67, 3.5)
    assert (request.free_u, request.mask_adain) == ("paper", True)
    assert spans(request) == {
        "fine": (10, 90),
        "coarse": (10, 70),
        "structure": (0, 40),
        "adain": (20, 100),
    }
    assert request.ranges.unit == "steps"


def test_a_small_model_gets_the_balanced_preset_in_its_own_steps() -> None:
    request = effective(side=64)
    assert (request.preset, request.steps, request.skip_steps) == ("balanced", 25, 8)
    assert spans(request)["fine"] == (2, 22)
    assert (request.contrast, request.inversion_guidance_scale) == (1.0, 1.0)


def test_every_absent_value_is_filled_in_and_resolving_twice_changes_nothing() -> None:
    once = effective(side=64)
    open_values = [name for name, value in once.model_dump().items() if value is None]
    assert sorted(open_values) == ["deadline_seconds", "inspect", "webhook"]  # may be left out
    assert once.resolve(model(64)) == once
    text = once.model_dump_json().encode()
    assert parse(AppearanceTransferRequest, text).resolve(model(64)) == once


def test_given_values_beat_the_preset() -> None:
    request = effective(preset="strong", contrast=2.0, free_u="diffusers", skip_steps=0)
    assert (request.contrast, request.free_u, request.skip_steps) == (2.0, "diffusers", 0)


def test_ranges_may_be_steps_or_fractions() -> None:
    fraction = {"fine": {"start": 0.5, "end": 0.75}}
    assert spans(effective(side=64, ranges=fraction, steps=40))["fine"] == (20, 30)
    steps = {"unit": "steps", "fine": {"start": 3, "end": 9}}
    found = spans(effective(side=64, ranges=steps, steps=40))
    assert (found["fine"], found["coarse"]) == ((3, 9), (4, 28))


def test_texts_come_from_the_domains() -> None:
    assert effective().prompt == "a photo of a cat"
    assert effective().appearance_domain == "cat"
    assert effective(appearance_domain="horse").appearance_domain == "horse"
    assert effective(prompt="A Cat on grass").prompt == "A Cat on grass"


@pytest.mark.parametrize(
    ("fields", "pointer", "said"),
    [
        ({"domain": ""}, "/domain", "Expected text of 1 to 100 characters"),
        ({"domain": " "}, "/domain", "Expected text"),
        ({"fit": "squeeze"}, "/fit", '"crop", "pad"'),
        ({"preset": "wild"}, "/preset", '"faithful", "balanced", "strong"'),
        ({"free_u": True}, "/free_u", '"off", "paper", "diffusers"'),
        ({"contrast": -1}, "/contrast", "from 0 to 10"),
        ({"swap_guidance_scale": 0.5}, "/swap_guidance_scale", "from 1 to 20"),
        ({"steps": 201}, "/steps", "from 2 to 200"),
        ({"skip_steps": 100}, "/skip_steps", "fewer than the 100 steps"),
        ({"width": 500}, "/width", "multiple of 16 from 32 to 1024"),
        ({"prompt": "a horse"}, "/prompt", 'with the domain in it, "cat"'),
        ({"ranges": {"fine": {"start": 0}}}, "/ranges/fine/end", "required"),
        ({"ranges": {"fine": {"start": 0.5, "end": 0.4}}}, "/ranges/fine/end", "at least 0.5"),
        ({"ranges": {"fine": {"start": 10, "end": 90}}}, "/ranges/fine/end", '"unit": "steps"'),
        ({"ranges": {"medium": None}}, "/ranges/medium", "Known here: adain, coarse, fine"),
        ({"structure": "img"}, "/structure", "upload"),
        ({"style": "neon"}, "/style", "There is no such field"),
    ],
)
def test_what_is_wrong_is_said_with_what_would_be_accepted(
    fields: dict[str, Any], pointer: str, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        effective(**fields)
    fault = refused.value.errors[0]
    assert fault.pointer == pointer
    assert said in fault.detail


def test_both_pictures_and_the_domain_are_required() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(AppearanceTransferRequest, b"{}")
    assert [f.pointer for f in refused.value.errors] == ["/structure", "/appearance", "/domain"]


def test_a_model_without_room_for_the_rows_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="2 pictures at once"):
        AppearanceTransferRequest.model_validate(BODY).resolve(model(max_batch=2))


def test_every_knob_says_what_it_does() -> None:
    properties = AppearanceTransferRequest.model_json_schema()["properties"]
    shared = set(json.loads(json.dumps(list(properties)))) & {"output", "ranges"}
    for name, schema in properties.items():
        assert name in shared or schema.get("description"), name
