"""What callers ask for: one pydantic model a technique.

A request has two lives. As submitted, `None` means "the service's choice". After
`resolve` it is *effective*: every value is filled in, and running it again with the same
versions on the same device type gives the same bytes. The effective request is what is
queued, echoed in the job and written into each picture.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput, Upload
from core.contract.models import ModelSpec

T = TypeVar("T")

MAX_PROMPTS = 256
MAX_PROMPT_CHARACTERS = 2000
MAX_STEPS = 200
MAX_SEED = 2**32 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
PromptText = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class Strict(BaseModel):
    """Unknown fields are errors, so a typo never silently changes a picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompt(Strict):
    """One picture's text."""

    text: PromptText
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

    format: Literal["png", "webp", "jpeg"] = "png"
    quality: int = Field(default=90, ge=1, le=100, description="For webp and jpeg.")
    grid: bool = Field(default=True, description="Also one picture of all of them.")


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


class Sharing(Strict):
    """What targets take from the reference: StyleAligned and its ablations.

    Source: Hertz et al., "Style Aligned Image Generation via Shared Attention", CVPR 2024.
    """

    attention: bool = Field(
        default=True,
        description="Targets attend to the reference's keys and values beside their own.",
    )
    adain_queries: bool = Field(
        default=True, description="Give targets' queries the reference's mean and deviation."
    )
    adain_keys: bool = Field(
        default=True, description="Give targets' keys the reference's mean and deviation."
    )
    adain_values: bool = Field(
        default=False, description="Give targets' values the reference's mean and deviation."
    )
    group_norm: bool | None = Field(
        default=None,
        description=(
            "Normalise targets with statistics merged with the reference's. "
            "Default: the paper's, on for SD 1 and SD 2, off for SDXL."
        ),
    )
    full: bool = Field(
        default=False,
        description="All pictures attend to all pictures, without AdaIN (an ablation).",
    )
    layers: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Fraction of the self-attention layers that share, evenly spread.",
    )
    score_shift: float = Field(
        default=0.0,
        ge=-20,
        le=20,
        description="Added to the scores of reference keys: above 0 follows it more.",
    )
    score_scale: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Multiplies the scores of reference keys: below 1 follows it less.",
    )


class PromptReference(Strict):
    """A reference picture that is generated in the same batch and returned."""

    prompt: PromptInput


class ImageReference(Strict):
    """A reference picture that is given: inverted into noise, and followed step by step."""

    image: ImageInput
    prompt: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description="What the picture shows. The better it fits, the better its style is read.",
    )
    strength: float = Field(
        default=2.0,
        gt=0,
        le=20,
        description=(
            "How much more its keys count than a picture's own: 1 is alike, below 1 follows it "
            "less, such as 0.4 for a famous picture that would be copied."
        ),
    )
    skip: int | None = Field(
        default=None,
        ge=0,
        description="Steps from the noise at which it is held; default a tenth of the steps.",
    )


def _kind_of_reference(value: Any) -> str:
    if isinstance(value, dict):
        return "image" if "image" in value else "prompt"
    return "image" if isinstance(value, ImageReference) else "prompt"


Reference = Annotated[
    Annotated[PromptReference, Tag("prompt")] | Annotated[ImageReference, Tag("image")],
    Discriminator(_kind_of_reference),
]

SeeImage = Callable[[str, ImageInput], Upload]
"""Given the JSON pointer of a picture in a request and the picture: where it is stored."""


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

    def with_images(self, see: SeeImage) -> Self:
        """The request with each of its pictures replaced by what `see` says of it."""
        return self

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        seed = secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed
        return {"model": model.name, "seed": seed}


class StyleAlignedRequest(JobRequest):
    """Pictures of several prompts that share one style, taken from a reference."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompts": ["a cat", "a house", "a boat"],
                    "style": "neon style",
                    "seed": 7,
                }
            ]
        }
    )

    prompts: list[PromptInput] = Field(
        min_length=1,
        max_length=MAX_PROMPTS,
        description=f"One picture each, 1 to {MAX_PROMPTS}.",
    )
    style: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description='Appended to each prompt and to the reference\'s, after ", ".',
    )
    reference: Reference | None = Field(
        default=None,
        description=(
            "Whose style is shared: a picture drawn from `{prompt}`, or a given one, "
            "`{image, prompt}`. Absent: the first prompt's picture."
        ),
    )
    sharing: Sharing = Sharing()
    sampling: Sampling = Sampling()

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        common = super()._effective(model)
        seed = common["seed"]
        sampling = effective_sampling(self.sampling, model)
        reference = self.reference
        group_norm = self.sharing.group_norm
        if isinstance(reference, PromptReference):
            reference = PromptReference(prompt=_seeded(reference.prompt, seed, -1))
        if isinstance(reference, ImageReference):
            # As the authors set it for given pictures: norms shared in every family, and
            # twice the guidance.
            reference = _effective_image(reference, settled(sampling.steps))
            group_norm = True if group_norm is None else group_norm
            if self.sampling.guidance_scale is None:
                sampling = sampling.model_copy(update={"guidance_scale": 2 * model.guidance_scale})
        if group_norm is None:
            group_norm = model.family != "sdxl"
        pictures = len(self.prompts) + (reference is not None)
        if self.sharing.full and pictures > model.max_batch:
            detail = f"Full sharing needs all pictures at once: at most {model.max_batch} here."
            raise InvalidRequest.of([FieldError(pointer="/sharing/full", detail=detail)])
        return common | {
            "prompts": [_seeded(prompt, seed, index) for index, prompt in enumerate(self.prompts)],
            "reference": reference,
            "sharing": self.sharing.model_copy(update={"group_norm": group_norm}),
            "sampling": sampling,
        }

    def with_images(self, see: SeeImage) -> Self:
        if not isinstance(self.reference, ImageReference):
            return self
        image = see("/reference/image", self.reference.image)
        reference = self.reference.model_copy(update={"image": image})
        return self.model_copy(update={"reference": reference})

    def text_of(self, prompt: Prompt) -> str:
        """What the text encoder reads for `prompt`: its text with the style appended."""
        return ", ".join(part for part in (prompt.text, self.style) if part)


def settled(value: T | None) -> T:
    """A value of an effective request. Raises ValueError if the request was never resolved."""
    if value is None:
        raise ValueError("this request has not been resolved for a model")
    return value


def _seeded(prompt: Prompt, job_seed: int, index: int) -> Prompt:
    if prompt.seed is not None:
        return prompt
    return prompt.model_copy(update={"seed": (job_seed + index) % (MAX_SEED + 1)})


def _effective_image(reference: ImageReference, steps: int) -> ImageReference:
    skip = steps // 10 if reference.skip is None else reference.skip
    if skip >= steps:
        detail = f"Expected fewer than the {steps} steps."
        raise InvalidRequest.of([FieldError(pointer="/reference/skip", detail=detail)])
    return reference.model_copy(update={"skip": skip})


def effective_sampling(sampling: Sampling, model: ModelSpec) -> Sampling:
    """`sampling` with the model's defaults filled in.

    Raises InvalidRequest for a size off the model's grid or outside its range.
    """
    width = sampling.width or model.width
    height = sampling.height or model.height
    errors = [
        FieldError(pointer=f"/sampling/{name}", detail=fault)
        for name, pixels in (("width", width), ("height", height))
        if (fault := model.size_fault(pixels))
    ]
    if errors:
        raise InvalidRequest.of(errors)
    return Sampling(
        steps=sampling.steps or model.steps,
        guidance_scale=sampling.guidance_scale or model.guidance_scale,
        width=width,
        height=height,
        scheduler=sampling.scheduler,
    )
