"""API keys: whose a request is, and how much its owner may ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

OWNER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""The name of a key, and so of an owner: safe in paths."""

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Limits:
    """How much one owner may ask for."""

    max_queued: int
    submissions_per_minute: int


class ApiKey(BaseModel):
    """A key that is accepted. Keys of one name belong to one owner, so a key can be replaced."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[
        str,
        Field(
            pattern=f"^{OWNER.pattern}$",
            description="Whose it is: lower-case letters, digits and hyphens. Jobs, pictures and "
            "limits belong to the name.",
        ),
    ]
    sha256: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="Of the key, lower-case hexadecimal.")
    ]
    max_queued: Count | None = Field(default=None, description="Default: `max_queued_per_key`.")
    submissions_per_minute: Count | None = Field(
        default=None, description="Default: the setting of this name."
    )
