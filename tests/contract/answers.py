"""A check that schemathesis makes of every answer: nothing of the inside in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import schemathesis

_INSIDE = re.compile(
    rb"Traceback|\.py\b|line \d+, in |site-packages|/usr/lib|"
    rb"pydantic|starlette|fastapi|redis\.|uvicorn|valkey|"
    rb"[a-z]Exception\b|[A-Z][a-z]+Error\b|" + re.escape(str(Path(__file__).parents[2])).encode()
)


@schemathesis.check
def tells_nothing_of_the_inside(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """No traceback, path or name of a library's class."""
    found = _INSIDE.search(response.content)
    assert not found, f"the answer tells of the inside: {found[0]!r}"
