"""An adapter that a request uses."""

from __future__ import annotations

from pydantic import Field

from core.contract.requests import Strict


class AdapterUse(Strict):
    """A LoRA or a textual inversion that is registered with the model."""

    name: str = Field(min_length=1, max_length=100, description="As `GET /v1/models` lists it.")
    weight: float = Field(
        default=1.0,
        ge=-2,
        le=2,
        description="0 is off. A textual inversion takes no weight but 1.",
    )
