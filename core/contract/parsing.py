"""A request's bytes into its model, or its faults in plain words."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from core.contract.errors import InvalidRequest, MalformedJson
from core.contract.wording import explain

_MOST_ERRORS = 20
"""Faults told of at once; who has more is not reading them."""

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], body: bytes) -> Model:
    """`body` as a `model`: JSON types are taken as they are, text is never read as a number.

    Raises MalformedJson for what is not JSON, or names a field twice; InvalidRequest for what is
    not a `model`.
    """
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedJson(f"The body is not valid JSON: {error}.") from None
    json.loads(body, object_pairs_hook=_refuse_twins)  # of what is JSON, and not too deep
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:_MOST_ERRORS]
        raise InvalidRequest.of([explain(model, fault, data) for fault in faults]) from None


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise MalformedJson(f"The field {json.dumps(name[:64])} is there twice in one object.")
        seen.add(name)
