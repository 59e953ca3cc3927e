"""Faults in plain words, also for shapes that today's requests don't have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.contract.errors import InvalidRequest
from core.contract.parsing import parse
from core.contract.style_aligned import StyleAlignedRequest
from core.contract.wording import explain, json_pointer


class Circle(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


class Box(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["box"]
    sides: Annotated[list[int], Field(min_length=2)]


class Drawing(BaseModel):
    shapes: list[Annotated[Circle | Box, Field(discriminator="kind")]]
    depth: Annotated[int, Field(ge=1)] = 1
    ratio: Annotated[float, Field(le=2)] = 1
    points: dict[str, tuple[int, int]] = {}


def faults(body: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as refused:
        Drawing.model_validate(body)
    found = [explain(Drawing, error, body) for error in refused.value.errors()]
    return {fault.pointer: fault.detail for fault in found}


@pytest.mark.parametrize(
    ("location", "pointer"),
    [
        ((), ""),
        (("prompts", 0), "/prompts/0"),
        (("a/b", "m~n", "~1", ""), "/a~1b/m~0n/~01/"),
    ],
)
def test_pointers_are_escaped_as_rfc_6901_says(
    location: tuple[int | str, ...], pointer: str
) -> None:
    assert json_pointer(location) == pointer


def test_branches_of_a_union_are_not_in_the_pointer() -> None:
    found = faults({"shapes": [{"kind": "circle", "radius": -1}]})
    assert found == {"/shapes/0/radius": "Expected a number above 0."}


def test_every_branch_of_a_union_is_offered() -> None:
    found = faults({"shapes": [5]})
    assert found["/shapes/0"] == (
        "Expected an object with fields of kind, radius, or an object with fields of kind, sides."
    )


def test_limits_on_one_side_are_told() -> None:
    found = faults({"shapes": [{"kind": "box", "sides": []}], "depth": 0, "ratio": 3})
    assert found["/depth"] == "Expected a whole number of at least 1."
    assert found["/ratio"] == "Expected a number of at most 2."
    assert found["/shapes/0/sides"] == "Expected a list of at least 2 items, not 0."


def test_what_is_missing_is_pointed_at_where_it_should_be() -> None:
    assert faults({}) == {"/shapes": "This is required: a list."}


def test_a_branch_is_not_taken_for_the_field_of_its_name() -> None:
    body = b'{"prompts": ["a"], "reference": {"prompt": {}, "width": []}}'
    with pytest.raises(InvalidRequest) as refused:
        parse(StyleAlignedRequest, body)
    pointers = {error.pointer for error in refused.value.errors}
    assert pointers == {"/reference/prompt/text", "/reference/width"}
