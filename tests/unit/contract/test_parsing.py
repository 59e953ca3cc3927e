"""Any JSON at all: it is a request, or it is told in plain words where it is not."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.contract.errors import FieldError, InvalidRequest
from core.contract.parsing import parse
from core.contract.requests import Output, Sampling
from core.contract.style_aligned import Sharing, StyleAlignedRequest

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def field_names(*models: Any) -> st.SearchStrategy[str]:
    return st.sampled_from([name for model in models for name in model.model_fields])


NEARLY = st.dictionaries(
    field_names(StyleAlignedRequest) | st.text(max_size=5),
    ANYTHING
    | st.lists(ANYTHING | st.fixed_dictionaries({"text": ANYTHING}), max_size=4)
    | st.dictionaries(field_names(Output, Sampling, Sharing) | st.just("prompt"), ANYTHING),
)


def place(fault: FieldError) -> list[str]:
    tokens = fault.pointer.split("/")[1:]
    return [token.replace("~1", "/").replace("~0", "~") for token in tokens]


def leads_into(data: Any, tokens: list[str]) -> bool:
    """Whether the tokens name a place in `data`, of which the last may be missing."""
    for index, token in enumerate(tokens):
        if isinstance(data, list):
            data = data[int(token)]
        elif isinstance(data, dict) and token in data:
            data = data[token]
        else:
            return isinstance(data, dict) and index == len(tokens) - 1
    return True


def faults(body: Any) -> tuple[FieldError, ...]:
    try:
        parse(StyleAlignedRequest, json.dumps(body).encode())
    except InvalidRequest as refused:
        return refused.errors
    return ()


@given(ANYTHING | NEARLY)
def test_every_fault_points_into_the_body_and_names_no_class(body: Any) -> None:
    for fault in faults(body):
        assert leads_into(body, place(fault)), fault
        assert fault.detail.startswith(("Expected ", "This is required", "There is no such"))
        assert fault.detail.endswith(".")
        assert "another value" not in fault.detail


def test_a_body_of_very_many_fields_is_judged_in_no_time() -> None:
    many = {f"field-{number}": 0 for number in range(100_000)}
    began = time.process_time()
    assert faults(many)
    assert time.process_time() - began < 5
