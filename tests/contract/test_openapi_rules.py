"""What makes the OpenAPI document good to read and to generate from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from tests.contract.test_openapi import DOCUMENT, operations, references

SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]


def of_json(parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The JSON schemas in the `content` of a body or an answer."""
    for media_type, content in parts.get("content", {}).items():
        if media_type.endswith("json"):
            yield content["schema"]


def name_of(schema: dict[str, Any]) -> str:
    reference: str = schema["$ref"]
    return reference.rpartition("/")[2]


def is_described(schema: dict[str, Any]) -> bool:
    """By itself, or by the one that it refers to."""
    if "description" in schema:
        return True
    return "$ref" in schema and "description" in SCHEMAS[name_of(schema)]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_operations_are_named_in_camel_case_and_once_each() -> None:
    found = [operation["operationId"] for _, _, operation in operations()]
    assert len(found) == len(set(found))
    assert [name for name in found if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name)] == []


def test_every_tag_is_described_and_used() -> None:
    described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    assert described == {tag for _, _, operation in operations() for tag in operation["tags"]}


def test_every_body_and_every_answer_has_an_example_that_fits_its_schema() -> None:
    named = {
        name_of(schema)
        for _, _, operation in operations()
        for parts in (operation.get("requestBody", {}), *operation["responses"].values())
        for schema in of_json(parts)
    }
    for name in sorted(named):
        assert SCHEMAS[name].get("examples"), f"{name} has no example"
    for name, schema in SCHEMAS.items():
        whole = schema | {"components": DOCUMENT["components"]}
        for example in schema.get("examples", []):
            faults = [fault.message for fault in OAS31Validator(whole).iter_errors(example)]
            assert not faults, f"{name}: {faults}"


def test_every_field_parameter_and_header_is_described() -> None:
    bare = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, said in schema.get("properties", {}).items()
        if not is_described(said)
    ]
    for method, path, operation in operations():
        for parameter in operation.get("parameters", []):
            if not parameter.get("description"):
                bare.append(f"{method} {path} {parameter['name']}")
        for status, answer in operation["responses"].items():
            for header, said in answer.get("headers", {}).items():
                if not said.get("description"):
                    bare.append(f"{method} {path} {status} {header}")
    assert bare == []


def test_every_schema_is_used() -> None:
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT)}
    assert set(SCHEMAS) <= used


def test_every_operation_says_what_may_fail() -> None:
    """401 where a key is asked for, 404 where a thing is named, 422 where a body is judged."""
    for method, path, operation in operations():
        answers = set(operation["responses"])
        expected = {"default"}
        expected |= {"401", "503"} if operation.get("security") else set()
        expected |= {"404"} if "{" in path else set()
        expected |= {"400", "413", "422", "429"} if "requestBody" in operation else set()
        assert expected <= answers, (method, path, expected - answers)
