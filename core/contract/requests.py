"""What callers ask for: one pydantic model a technique.

A request has two lives. As submitted, `None` means "the service's choice". After
`resolve` it is *effective*: every value is filled in, and running it again with the same
versions on the same device type gives the same bytes. The effective request is what is
queued, echoed in the job and written into each picture.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.contract.demand import Demand
from core.contract.errors import FieldError, InvalidRequest
from core.contract.models import MAX_STEPS, ModelSpec
from core.contract.stored import Stored
from core.contract.webhooks import Webhook

T = TypeVar("T")

MAX_PROMPT_CHARACTERS = 2000
MAX_SEED = 2**32 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
PromptText = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class Strict(BaseModel):
    """Unknown fields are errors, so a typo never silently changes a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompt(Strict):
    """One picture's text."""

    text: PromptText = Field(description="What the picture should show.")
    seed: Seed | None = Field(
        default=None,
        description="Seed of this picture's noise. Default: the job's seed plus its index.",
    )
    negative: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description="What the picture should not show.",
    )


def _prompt(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


PromptInput = Annotated[
    Prompt,
    BeforeValidator(_prompt, json_schema_input_type=PromptText | Prompt),
]


class Output(Strict):
    """How pictures are written."""

    format: Literal["png", "webp", "jpeg"] = Field(
        default="png", description="Of every picture that the job makes."
    )
    quality: int = Field(default=90, ge=1, le=100, description="For webp and jpeg.")
    grid: bool = Field(default=True, description="Also one picture of all of them.")

    @property
    def suffix(self) -> str:
        """Of the files' names."""
        return {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}[self.format]


class Sampling(Strict):
    """How the diffusion runs. What is absent is the model's default."""

    steps: int | None = Field(default=None, ge=1, le=MAX_STEPS, description="Denoising steps.")
    guidance_scale: float | None = Field(
        default=None,
        ge=1,
        le=30,
        description="Classifier-free guidance; 1 switches it off.",
    )
    width: int | None = Field(default=None, ge=1, description="Pixels, on the model's grid.")
    height: int | None = Field(default=None, ge=1, description="Pixels, on the model's grid.")
    scheduler: Literal["ddim"] = Field(default="ddim", description="The sampler.")


class JobRequest(Strict):
    """What every technique's request has."""

    model: str | None = Field(
        default=None, description="One of `GET /v1/models`. Default: the service's default."
    )
    seed: Seed | None = Field(default=None, description="Chosen and echoed when absent.")
    priority: Literal["normal", "high"] = Field(
        default="normal", description="`high` goes to the front of the queue."
    )
    deadline_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        description="The job fails if it has not ended by then, queue time included.",
    )
    output: Output = Output()
    previews: bool = Field(
        default=False,
        description="Small pictures of what is being drawn come with the job's events.",
    )
    webhook: Webhook | None = Field(
        default=None, description="Told of the job's changes, signed by Standard Webhooks."
    )
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = (
        Field(default={}, max_length=32, description="Yours, echoed unchanged.")
    )
    ttl_seconds: int = Field(
        default=7 * 86_400,
        ge=60,
        le=30 * 86_400,
        description="How long the job and its artifacts are kept after it ended.",
    )

    def resolve(self, model: ModelSpec) -> Self:
        """The effective request on `model`, every absent value filled in.

        Raises InvalidRequest where the model can't do what is asked.
        """
        return self.model_copy(update=self._effective(model))

    def with_stored(self, stored: Stored) -> Self:
        """The request with whatever it names of what is stored looked up.

        Pictures inside the request are stored and named, as `stored` says. Raises InvalidRequest.
        """
        return self

    def demand(self, model: ModelSpec) -> Demand:
        """What of an effective request decides how much memory it takes on `model`."""
        raise NotImplementedError

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        seed = secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed
        return {"model": model.name, "seed": seed}


def settled(value: T | None) -> T:
    """A value of an effective request. Raises ValueError if the request was never resolved."""
    if value is None:
        raise ValueError("this request has not been resolved for a model")
    return value


def effective_sampling(sampling: Sampling, model: ModelSpec) -> Sampling:
    """`sampling` with the model's defaults filled in.

    Raises InvalidRequest for a size off the model's grid or outside its range, and for more steps
    than it takes.
    """
    steps = sampling.steps or model.steps
    width = sampling.width or model.width
    height = sampling.height or model.height
    errors = [
        FieldError(pointer=f"/sampling/{name}", detail=fault)
        for name, pixels in (("width", width), ("height", height))
        if (fault := model.size_fault(pixels))
    ]
    if fault := model.steps_fault(steps):
        errors.append(FieldError(pointer="/sampling/steps", detail=fault))
    if errors:
        raise InvalidRequest.of(errors)
    return Sampling(
        steps=steps,
        guidance_scale=sampling.guidance_scale or model.guidance_scale,
        width=width,
        height=height,
        scheduler=sampling.scheduler,
    )
