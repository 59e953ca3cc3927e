"""Conditional and partial answers: entity tags and byte ranges (RFC 9110)."""

from __future__ import annotations

import re

from fastapi import HTTPException

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the caller already has what `etag` names, by weak comparison."""
    known = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return "*" in known or etag.removeprefix("W/") in known


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last, of one requested range; None for all of it.

    Several ranges, and what can't be read, are answered in full, as RFC 9110 allows.
    Raises 416 for a range beyond the end.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.group() == "bytes=-":
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    else:
        start, end = max(size - int(last), 0), size
    if start >= end:
        raise HTTPException(
            416, f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end
