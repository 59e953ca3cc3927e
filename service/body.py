"""A request's body: read within limits, parsed as JSON, validated into its model."""

from __future__ import annotations

import re
from typing import TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from core.contract.errors import InvalidRequest
from service.wording import explain

_JSON = re.compile(r"application/([a-z0-9.!#$&^_-]+\+)?json")
_MOST_ERRORS = 20
"""Faults told of at once; who has more is not reading them."""

Model = TypeVar("Model", bound=BaseModel)


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


def parse(model: type[Model], body: bytes) -> Model:
    """`body` as a `model`: JSON types are taken as they are, text is never read as a number.

    Answers 400 for what is not JSON. Raises InvalidRequest for what is not a `model`.
    """
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error}.") from None
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)[:_MOST_ERRORS]
        raise InvalidRequest.of([explain(model, fault, data) for fault in faults]) from None
