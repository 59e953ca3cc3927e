"""A request's body, read within limits."""

from __future__ import annotations

import re

from fastapi import HTTPException, Request

_JSON = re.compile(r"application/([a-z0-9.!#$&^_-]+\+)?json")


async def read_json(request: Request, max_bytes: int) -> bytes:
    """The bytes of a JSON body. Answers 415 for another media type, 413 for too many."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _JSON.fullmatch(media_type):
        raise HTTPException(415, "Send JSON, with the header `Content-Type: application/json`.")
    too_large = HTTPException(413, f"The body may have at most {max_bytes} bytes.")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)
