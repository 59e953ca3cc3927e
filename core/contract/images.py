"""Pictures as input: how a request names them."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

IMAGE_ID = re.compile(r"img_[0-9a-f]{32}")
MAX_URL_CHARACTERS = 4096
"""Signed URLs of object stores are long."""
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}

_DATA_URI = re.compile(r"data:image/(?:png|jpeg|webp);base64,(?P<data>.*)", re.DOTALL)


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Upload(_Input):
    """A picture that was sent before, with `POST /v1/images`."""

    upload: Annotated[str, Field(pattern=rf"^{IMAGE_ID.pattern}$", description="The image's id.")]


class InlineImage(_Input):
    """A picture inside the request. It is stored, and the job names it as an upload."""

    data: Annotated[
        str,
        Field(
            pattern=r"^data:image/(png|jpeg|webp);base64,",
            description="A data URI: `data:image/png;base64,…`, also jpeg or webp.",
        ),
    ]

    def decoded(self) -> bytes:
        """The file's bytes. Raises ValueError if they are no base64."""
        found = _DATA_URI.fullmatch(self.data)
        if found is None:
            raise ValueError("this is no data URI of a picture")
        try:
            return base64.b64decode(found["data"], validate=True)
        except binascii.Error as error:
            raise ValueError("the data is no base64") from error


class LinkedImage(_Input):
    """A picture on the web. A worker fetches and stores it; the job then names it as an upload."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL_CHARACTERS,
            description="An https URL at a public address, without user name and password.",
            examples=["https://pictures.example/cat.png"],
        ),
    ]


_KINDS: dict[str, type[BaseModel]] = {"upload": Upload, "data": InlineImage, "url": LinkedImage}


def _kind_of_image(value: Any) -> str:
    for kind, model in _KINDS.items():
        if isinstance(value, model) or (isinstance(value, dict) and kind in value):
            return f"({kind})"  # in brackets, so that no branch has the name of a field
    return "(upload)"


ImageInput = Annotated[
    Annotated[Upload, Tag("(upload)")]
    | Annotated[InlineImage, Tag("(data)")]
    | Annotated[LinkedImage, Tag("(url)")],
    Discriminator(_kind_of_image),
]


class ImageInfo(BaseModel):
    """A stored picture."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The same bytes give the same id.")
    width: int = Field(description="Pixels, upright.")
    height: int = Field(description="Pixels, upright.")
    media_type: str = Field(description="`image/png`, `image/jpeg` or `image/webp`.")
    size_bytes: int = Field(description="Of the stored file.")
    sha256: str = Field(description="Of the file, lower-case hexadecimal.")
    expires_at: datetime = Field(description="When it goes, unless it is uploaded again.")
