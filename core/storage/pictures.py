"""Pictures to bytes, with the recipe that made them inside."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from core.contract.jobs import Artifact
from core.contract.pictures import File, Picture
from core.contract.requests import Output

MEDIA_TYPES = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
RECIPE_KEY = "attention-please"


def encode(image: Image.Image, output: Output, recipe: Mapping[str, Any]) -> bytes:
    """The file of `image`. A PNG carries `recipe` as a JSON text chunk."""
    buffer = io.BytesIO()
    if output.format == "png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(RECIPE_KEY, json.dumps(recipe, sort_keys=True, ensure_ascii=False))
        image.save(buffer, "PNG", pnginfo=chunks)
    else:
        image.save(buffer, output.format.upper(), quality=output.quality)
    return buffer.getvalue()


def read_recipe(data: bytes) -> dict[str, Any] | None:
    """The recipe that `encode` put into a PNG; None for a file without one."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            text = getattr(image, "text", {}).get(RECIPE_KEY)
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None
    recipe: dict[str, Any] | None = None if text is None else json.loads(text)
    return recipe


def describe(picture: Picture, data: bytes, output: Output) -> Artifact:
    """What the job record says of a picture whose file is `data`."""
    return Artifact(
        name=picture.stem + output.suffix,
        kind=picture.kind,
        media_type=MEDIA_TYPES[output.format],
        width=picture.image.width,
        height=picture.image.height,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        metadata=picture.metadata,
    )


def describe_file(file: File) -> Artifact:
    """What the job record says of a file that is no picture."""
    return Artifact(
        name=file.name,
        kind=file.kind,
        media_type=file.media_type,
        size_bytes=len(file.data),
        sha256=hashlib.sha256(file.data).hexdigest(),
    )
