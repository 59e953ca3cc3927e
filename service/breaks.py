"""What a change of the OpenAPI document takes from callers of the last release.

Pieces that are sent may come to accept more, pieces that are answered may come to say more.
Limits of numbers, lengths and patterns are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]


def breaks(released: Schema, current: Schema) -> list[str]:
    """A line for each thing that a caller may miss, in the order of the paths."""
    return [*_Comparison(released, current).paths()]


@dataclass(frozen=True)
class _Comparison:
    released: Schema
    current: Schema
    seen: set[tuple[str, bool]] = field(default_factory=set)
    """Named schemas that were compared, and whether as sent: they may refer to themselves."""

    def paths(self) -> Iterator[str]:
        for path, methods in self.released["paths"].items():
            for method, before in methods.items():
                where = f"{method.upper()} {path}"
                after = self.current["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{where}: is gone"
                else:
                    yield from self.operation(where, before, after)
        for name, told in self.released.get("webhooks", {}).items():
            # Here the service sends and the caller reads.
            bodies = (
                told["post"]["requestBody"],
                self.current["webhooks"][name]["post"]["requestBody"],
            )
            yield from self.contents(f"webhook {name}", *bodies, is_sent=False)

    def operation(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        yield from self.parameters(where, before, after)
        body = before.get("requestBody", {}), after.get("requestBody", {})
        if body[1].get("required") and not body[0].get("required"):
            yield f"{where}: needs a body"
        yield from self.contents(f"{where} body", *body, is_sent=True)
        for status, answer in before["responses"].items():
            found = after["responses"].get(status)
            if found is None:
                yield f"{where}: answers {status} no more"
            else:
                yield from self.contents(f"{where} {status}", answer, found, is_sent=False)
                for header in answer.get("headers", {}).keys() - found.get("headers", {}).keys():
                    yield f"{where} {status}: has no header {header}"

    def parameters(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        known, now = (
            {(p["in"], p["name"]): p for p in operation.get("parameters", [])}
            for operation in (before, after)
        )
        for place, parameter in now.items():
            earlier = known.get(place)
            if parameter.get("required") and not (earlier and earlier.get("required")):
                yield f"{where}: needs the parameter {place[1]}"
        for place, parameter in known.items():
            if place not in now:
                yield f"{where}: has no parameter {place[1]}"
            else:
                name, schema = f"{where} ?{place[1]}", now[place]["schema"]
                yield from self.schema(name, parameter["schema"], schema, is_sent=True)

    def contents(
        self, where: str, before: Schema, after: Schema, *, is_sent: bool
    ) -> Iterator[str]:
        for media_type, content in before.get("content", {}).items():
            found = after.get("content", {}).get(media_type)
            if found is None:
                yield f"{where}: is no longer {media_type}"
            else:
                yield from self.schema(where, content["schema"], found["schema"], is_sent=is_sent)

    def schema(self, where: str, before: Schema, after: Schema, *, is_sent: bool) -> Iterator[str]:
        ours, theirs = _kinds(self.released, before), _kinds(self.current, after)
        lost = ours.keys() - theirs.keys() if is_sent else theirs.keys() - ours.keys()
        if lost and "any" not in (theirs if is_sent else ours):
            kinds = ", ".join(sorted(lost))
            yield f"{where}: {'can no longer be' if is_sent else 'may now be'} {kinds}"
        for kind in sorted(ours.keys() & theirs.keys()):
            if kind[0].isupper():
                if (kind, is_sent) in self.seen:
                    continue
                self.seen.add((kind, is_sent))
            name = kind if kind[0].isupper() else where
            yield from self.alike(name, ours[kind], theirs[kind], is_sent=is_sent)

    def alike(self, where: str, before: Schema, after: Schema, *, is_sent: bool) -> Iterator[str]:
        """Two schemas of one kind."""
        if "enum" in after and is_sent and "enum" not in before:
            yield f"{where}: takes only {after['enum']}"
        for value in before.get("enum", []):
            if value not in after.get("enum", [value]):
                yield f"{where}: has no value {value!r}"
        yield from _required(where, before, after, is_sent=is_sent)
        known, now = before.get("properties", {}), after.get("properties", {})
        for name, schema in known.items():
            if name not in now:
                yield f"{where}: has no field {name}"
            else:
                yield from self.schema(f"{where}.{name}", schema, now[name], is_sent=is_sent)
        for part in ("items", "additionalProperties"):
            if isinstance(before.get(part), dict) and isinstance(after.get(part), dict):
                yield from self.schema(f"{where}[]", before[part], after[part], is_sent=is_sent)


def _required(where: str, before: Schema, after: Schema, *, is_sent: bool) -> Iterator[str]:
    known, now = set(before.get("required", [])), set(after.get("required", []))
    if is_sent:
        for name in sorted(now - known):
            yield f"{where}: needs the field {name}"
    else:
        for name in sorted((known - now) & after.get("properties", {}).keys()):
            yield f"{where}: may be without the field {name}"


def _kinds(document: Schema, schema: Schema) -> dict[str, Schema]:
    """What `schema` may be, by a named schema's name or else by its type."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return {name: document["components"]["schemas"][name]}
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        found: dict[str, Schema] = {}
        for alternative in alternatives:
            found |= _kinds(document, alternative)
        return found
    if "const" in schema:
        return {schema.get("type", "any"): schema | {"enum": [schema["const"]]}}
    return {schema.get("type", "any"): schema}
