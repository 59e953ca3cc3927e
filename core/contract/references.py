"""References in a request: whose style is shared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput
from core.contract.models import ModelSpec
from core.contract.requests import (
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    Prompt,
    PromptInput,
    Sampling,
    Strict,
    settled,
)
from core.contract.stored import Stored


class _Reference(Strict):
    weight: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="How much it counts beside the other references; only their ratio matters.",
    )
    mask: ImageInput | None = Field(
        default=None,
        description=(
            "Where pictures follow it: wholly where the mask is white, not at all where it is "
            "black. Stretched over the picture. Without one: everywhere."
        ),
    )


class _SizedReference(_Reference):
    width: int | None = Field(
        default=None, ge=1, description="Its own size in pixels. Default: that of the pictures."
    )
    height: int | None = Field(
        default=None, ge=1, description="Its own size in pixels. Default: that of the pictures."
    )


class PromptReference(_SizedReference):
    """A reference picture that is drawn from a prompt, and returned."""

    prompt: PromptInput = Field(description="What it should show, its style included.")


class ImageReference(_SizedReference):
    """A reference picture that is given: inverted into noise, and followed step by step."""

    image: ImageInput = Field(description="The picture.")
    prompt: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description=(
            "What the picture shows, its style included: `style` is not appended. "
            "The better it fits, the better the style is read."
        ),
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


class ReferenceHandle(_Reference):
    """A reference that was given to an earlier job, by its id in `GET /v1/references`."""

    id: Annotated[str, Field(pattern=r"^ref_[0-9a-f]{32}$", description="Of `GET /v1/references`.")]
    strength: float = Field(default=2.0, gt=0, le=20, description="As with a given picture.")
    skip: int | None = Field(default=None, ge=0, description="As with a given picture.")


def _kind_of_reference(value: Any) -> str:
    # In brackets, so that no branch has the name of a field.
    if isinstance(value, dict):
        return next((f"({kind})" for kind in ("image", "id") if kind in value), "(prompt)")
    if isinstance(value, ImageReference):
        return "(image)"
    return "(id)" if isinstance(value, ReferenceHandle) else "(prompt)"


Reference = Annotated[
    Annotated[PromptReference, Tag("(prompt)")]
    | Annotated[ImageReference, Tag("(image)")]
    | Annotated[ReferenceHandle, Tag("(id)")],
    Discriminator(_kind_of_reference),
]


def seeded(prompt: Prompt, job_seed: int, index: int) -> Prompt:
    if prompt.seed is not None:
        return prompt
    return prompt.model_copy(update={"seed": (job_seed + index) % (MAX_SEED + 1)})


def stored_reference(reference: Reference, pointer: str, stored: Stored) -> Reference:
    """`reference` with its pictures stored, and a handle with the picture behind it."""
    changed: dict[str, Any] = {}
    if reference.mask is not None:
        changed["mask"] = stored.image(f"{pointer}/mask", reference.mask)
    if isinstance(reference, ImageReference):
        changed["image"] = stored.image(f"{pointer}/image", reference.image)
    if isinstance(reference, ReferenceHandle):
        kept = stored.reference(f"{pointer}/id", reference.id)
        return ImageReference.model_validate(
            reference.model_dump(exclude={"id"})
            | changed
            | {"image": {"upload": kept.image}, "prompt": kept.prompt}
            | {"width": kept.width, "height": kept.height}
        )
    return reference.model_copy(update=changed)


def steps_of_kept(steps: int, sampling: Sampling, pointer: str) -> Sampling:
    if sampling.steps not in (None, steps):
        detail = f"It was inverted in {steps} steps: use as many, or leave `sampling.steps` out."
        raise InvalidRequest.of([FieldError(pointer=f"{pointer}/id", detail=detail)])
    return sampling.model_copy(update={"steps": steps})


def effective_reference(
    reference: Reference,
    pointer: str,
    index: int,
    seed: int,
    sampling: Sampling,
    model: ModelSpec,
) -> PromptReference | ImageReference:
    assert not isinstance(reference, ReferenceHandle), "handles are looked up before"
    size = {
        "width": reference.width or sampling.width,
        "height": reference.height or sampling.height,
    }
    errors = [
        FieldError(pointer=f"{pointer}/{name}", detail=fault)
        for name, pixels in size.items()
        if (fault := model.size_fault(settled(pixels)))
    ]
    changed: dict[str, Any] = dict(size)
    if isinstance(reference, PromptReference):
        changed["prompt"] = seeded(reference.prompt, seed, -1 - index)
    else:
        steps = settled(sampling.steps)
        changed["skip"] = steps // 10 if reference.skip is None else reference.skip
        if changed["skip"] >= steps:
            detail = f"Expected fewer than the {steps} steps."
            errors.append(FieldError(pointer=f"{pointer}/skip", detail=detail))
    if errors:
        raise InvalidRequest.of(errors)
    return reference.model_copy(update=changed)
