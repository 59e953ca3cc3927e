"""Validation faults in plain words: where, by JSON pointer, and what would be accepted.

What is accepted is read off the request's JSON schema, so the words can't drift from the
rules, and no library's phrases or class names reach a caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from core.contract.errors import FieldError

_LONGEST_NAME = 100
"""A longer field name is not repeated to the caller."""

Schema = dict[str, Any]
Location = tuple[int | str, ...]


def explain(model: type[BaseModel], error: ErrorDetails, data: object) -> FieldError:
    """What is wrong in `data`, which is not a valid `model`, and what would be accepted."""
    root = _schema(model)
    if names := _name_rules(root, error["loc"]):
        pointer = json_pointer(_within(data, error["loc"][:-2]))
        return FieldError(pointer=pointer, detail=f"Expected names that are {_words(names)}.")
    location = _within(data, error["loc"])
    match error["type"]:
        case "missing":
            detail = f"This is required: {_accepted(root, location)}."
        case "extra_forbidden":
            location, detail = location[:-1], _unknown_field(root, location)
            if len(str(error["loc"][-1])) <= _LONGEST_NAME:
                location = (*location, error["loc"][-1])
        case "too_long" | "too_short":
            count = error["ctx"]["actual_length"]
            detail = f"Expected {_accepted(root, location)}, not {count}."
        case _:
            detail = f"Expected {_accepted(root, location)}."
    return FieldError(pointer=json_pointer(location), detail=detail)


def json_pointer(location: Location) -> str:
    """RFC 6901: `("prompts", 0)` is `/prompts/0`."""
    tokens = (str(token).replace("~", "~0").replace("/", "~1") for token in location)
    return "".join(f"/{token}" for token in tokens)


_BRANCH = re.compile(r"\(\w+\)")
"""A tag of a union, as `references` and `images` name theirs."""


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _within(data: object, location: Location) -> Location:
    """The part of `location` that is a place in `data`, or a field missing from it.

    A validator's location can name branches of a union, and fields of what it made of the
    data, such as `text` where the caller wrote a plain string.
    """
    kept: list[int | str] = []
    for index, token in enumerate(location):
        if isinstance(token, str) and _BRANCH.fullmatch(token) and not _holds(data, token):
            continue
        if _holds(data, token):
            data = data[token]  # type: ignore[index]
        elif isinstance(data, dict) and index == len(location) - 1:
            data = None
        elif isinstance(data, dict | list):
            continue
        else:
            break
        kept.append(token)
    return tuple(kept)


def _holds(data: object, token: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(token, int) and token < len(data)
    return isinstance(data, dict) and token in data


def _branches(root: Schema, node: Schema) -> Iterator[Schema]:
    """What `node` may be: its alternatives, references followed."""
    if "$ref" in node:
        yield from _branches(root, root["$defs"][node["$ref"].rpartition("/")[2]])
    elif branches := node.get("anyOf", node.get("oneOf")):
        for branch in branches:
            yield from _branches(root, branch)
    else:
        yield node


def _nodes(root: Schema, location: Location) -> list[Schema]:
    """The rules for what stands at `location`; several where there are alternatives."""
    nodes = list(_branches(root, root))
    for token in location:
        children = [child for node in nodes if (child := _child(node, token))]
        nodes = [branch for child in children for branch in _branches(root, child)]
    return nodes


def _child(node: Schema, token: int | str) -> Schema | None:
    if isinstance(token, int):
        return node.get("items")
    other = node.get("additionalProperties")
    default = other if isinstance(other, dict) else None
    child: Schema | None = node.get("properties", {}).get(token, default)
    return child


def _name_rules(root: Schema, location: Location) -> Schema | None:
    """The rules for names in an open object, if `location` is that of a faulty name."""
    if location[-1:] != ("[key]",):
        return None
    for node in _nodes(root, location[:-2]):
        if "propertyNames" in node:
            return {"type": "string", **node["propertyNames"]}
    return None


def _unknown_field(root: Schema, location: Location) -> str:
    parents = _nodes(root, location[:-1])
    names = sorted({name for parent in parents for name in parent.get("properties", {})})
    return f"There is no such field. Known here: {', '.join(names)}."


def _accepted(root: Schema, location: Location) -> str:
    return ", or ".join(_words(node) for node in _nodes(root, location)) or "another value"


def _words(node: Schema) -> str:
    """One JSON schema in plain words."""
    if "enum" in node or "const" in node:
        values = [json.dumps(value) for value in node.get("enum", [node.get("const")])]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    match node.get("type"):
        case "integer":
            return _join("a whole number", _range(node))
        case "number":
            return _join("a number", _range(node))
        case "string":
            return _join("text", _count(node, "Length", "characters"))
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "array":
            return _join("a list", _count(node, "Items", "items"))
        case "object" if "properties" in node:
            return f"an object with fields of {', '.join(node['properties'])}"
        case "object":
            return _join("an object", _count(node, "Properties", "entries"))
        case _:
            return "any value"


def _join(noun: str, limits: Sequence[str]) -> str:
    return " ".join((noun, *limits))


def _range(node: Schema) -> list[str]:
    low, high, above = (node.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return [f"from {low:g} to {high:g}" if isinstance(low, float) else f"from {low} to {high}"]
    limits = [f"above {above}"] if above is not None else []
    limits += [f"of at least {low}"] if low is not None else []
    limits += ["and" if limits else "of", f"at most {high}"] if high is not None else []
    return limits


def _count(node: Schema, what: str, unit: str) -> list[str]:
    low, high = node.get(f"min{what}"), node.get(f"max{what}")
    if low and high:
        return [f"of {low} to {high} {unit}"]
    if low:
        return [f"of at least {low} {unit}"]
    return [f"of at most {high} {unit}"] if high else []
