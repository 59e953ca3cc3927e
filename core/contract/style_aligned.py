"""The request of `style-aligned`: pictures of several prompts in one style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Discriminator, Field, Tag

from core.contract.control import ControlRequest
from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput
from core.contract.models import ModelSpec
from core.contract.panorama import Panorama
from core.contract.requests import (
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    JobRequest,
    Prompt,
    PromptInput,
    Sampling,
    Strict,
    effective_sampling,
    settled,
)
from core.contract.stored import Stored

MAX_PROMPTS = 256
MAX_DATASET_PROMPTS = 4096
MAX_REFERENCES = 8


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

    prompt: PromptInput


class ImageReference(_SizedReference):
    """A reference picture that is given: inverted into noise, and followed step by step."""

    image: ImageInput
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
    if isinstance(value, dict):
        return next((kind for kind in ("image", "id") if kind in value), "prompt")
    if isinstance(value, ImageReference):
        return "image"
    return "id" if isinstance(value, ReferenceHandle) else "prompt"


Reference = Annotated[
    Annotated[PromptReference, Tag("prompt")]
    | Annotated[ImageReference, Tag("image")]
    | Annotated[ReferenceHandle, Tag("id")],
    Discriminator(_kind_of_reference),
]


class AdapterUse(Strict):
    """A LoRA or a textual inversion that is registered with the model."""

    name: str = Field(min_length=1, max_length=100, description="As `GET /v1/models` lists it.")
    weight: float = Field(
        default=1.0,
        ge=-2,
        le=2,
        description="0 is off. A textual inversion takes no weight but 1.",
    )


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
        max_length=MAX_DATASET_PROMPTS,
        description=(
            f"One picture each: 1 to {MAX_PROMPTS}, or to {MAX_DATASET_PROMPTS} with `dataset`."
        ),
    )
    style: str = Field(
        default="",
        max_length=MAX_PROMPT_CHARACTERS,
        description='Appended to each prompt, also of a drawn reference, after ", ".',
    )
    reference: Reference | None = Field(
        default=None,
        description=(
            "Whose style is shared: a picture drawn from `{prompt}`, a given one, "
            "`{image, prompt}`, or one of an earlier job, `{id}`. Absent: the first prompt's "
            "picture."
        ),
    )
    references: list[Reference] = Field(
        default=[],
        max_length=MAX_REFERENCES,
        description=(
            f"Instead of `reference`, up to {MAX_REFERENCES} at once, blended by `weight` or "
            "placed by `mask`."
        ),
    )
    sharing: Sharing = Sharing()
    sampling: Sampling = Sampling()
    control: ControlRequest | None = Field(
        default=None, description="What goes where, by edges or depths (ControlNet)."
    )
    adapters: list[AdapterUse] = Field(
        default=[],
        max_length=8,
        description=(
            "Acting on the pictures, never on references. A reference that is the first "
            "prompt's picture is drawn apart, without them."
        ),
    )
    panorama: Panorama | None = Field(
        default=None,
        description=(
            "Draw each prompt as a picture larger than the model's, window by window "
            "(MultiDiffusion). `sampling` gives the size of a window and of the reference."
        ),
    )
    dataset: bool = Field(
        default=False,
        description=(
            "A training set: also `metadata.jsonl`, as the Hugging Face `imagefolder` loader "
            "reads it, and no grid."
        ),
    )

    def with_stored(self, stored: Stored) -> Self:
        changed: dict[str, Any] = {"sampling": self.sampling}
        if self.reference is not None:
            changed["reference"] = _stored(self.reference, "/reference", stored)
        changed["references"] = [
            _stored(reference, f"/references/{index}", stored)
            for index, reference in enumerate(self.references)
        ]
        if self.control is not None:
            changed["control"] = self.control.with_stored(stored)
        for pointer, reference in self.named_references():
            if isinstance(reference, ReferenceHandle):
                kept = stored.reference(f"{pointer}/id", reference.id)
                changed["sampling"] = _steps_of(kept.steps, changed["sampling"], pointer)
                if self.model not in (None, kept.model):
                    detail = f"It was inverted with the model {kept.model}: use that."
                    raise InvalidRequest.of([FieldError(pointer=f"{pointer}/id", detail=detail)])
                changed["model"] = kept.model
        return self.model_copy(update=changed)

    def named_references(self) -> Iterator[tuple[str, Reference]]:
        """The references that the request names, each with its JSON pointer."""
        if self.reference is not None:
            yield "/reference", self.reference
        for index, reference in enumerate(self.references):
            yield f"/references/{index}", reference

    @property
    def draws_references_apart(self) -> bool:
        """Whether the first prompt's picture is drawn as one more beside its reference.

        It is where the reference is another picture, or the picture differs from it.
        """
        named = self.reference is not None or bool(self.references)
        return named or bool(self.adapters or self.control or self.panorama)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of each picture in pixels, of an effective request."""
        size = self.panorama or self.sampling
        return settled(size.width), settled(size.height)

    def text_of(self, prompt: Prompt) -> str:
        """What the text encoder reads for `prompt`: its text with the style appended."""
        return self.styled(prompt.text)

    def styled(self, text: str) -> str:
        """`text` with the style appended."""
        return ", ".join(part for part in (text, self.style) if part)

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        common = super()._effective(model)
        self._check(model)
        seed = common["seed"]
        sampling = effective_sampling(self.sampling, model)
        given = any(isinstance(r, ImageReference) for _, r in self.named_references())
        group_norm = self.sharing.group_norm
        if given:
            # As the authors set it for given pictures: norms shared in every family, and
            # twice the guidance.
            group_norm = True if group_norm is None else group_norm
            if self.sampling.guidance_scale is None:
                sampling = sampling.model_copy(update={"guidance_scale": 2 * model.guidance_scale})
        if group_norm is None:
            group_norm = model.family != "sdxl"
        references = [
            _effective_reference(reference, pointer, index, seed, sampling, model)
            for index, (pointer, reference) in enumerate(self.named_references())
        ]
        panorama, control = self.panorama, self.control
        return common | {
            "prompts": [_seeded(prompt, seed, index) for index, prompt in enumerate(self.prompts)],
            "reference": references[0] if self.reference is not None else None,
            "references": [] if self.reference is not None else references,
            "sharing": self.sharing.model_copy(update={"group_norm": group_norm}),
            "sampling": sampling,
            "control": control.effective(model, len(self.prompts)) if control else None,
            "panorama": panorama.effective(model, sampling, len(references)) if panorama else None,
            "output": self.output.model_copy(
                update={"grid": self.output.grid and not self.dataset}
            ),
        }

    def _check(self, model: ModelSpec) -> None:
        """Raises InvalidRequest for fields that don't go together, or that `model` has not."""
        errors = []

        def refuse(pointer: str, detail: str) -> None:
            errors.append(FieldError(pointer=pointer, detail=detail))

        if len(self.prompts) > MAX_PROMPTS and not self.dataset:
            refuse("/prompts", f"Expected 1 to {MAX_PROMPTS} items, or more with `dataset`.")
        if self.reference is not None and self.references:
            refuse("/references", "Give either `reference` or `references`.")
        for index, adapter in enumerate(self.adapters):
            if fault := model.adapter_fault(adapter.name, adapter.weight):
                refuse(f"/adapters/{index}/{fault[0]}", fault[1])
        if len({adapter.name for adapter in self.adapters}) < len(self.adapters):
            refuse("/adapters", "Expected each adapter once.")
        if self.panorama is not None and self.control is not None:
            refuse("/control", "A panorama takes no control image.")
        if self.sharing.full:
            pictures = len(self.prompts) + (self.reference is not None)
            if pictures > model.max_batch:
                refuse(
                    "/sharing/full",
                    f"Full sharing needs all pictures at once: at most {model.max_batch} here.",
                )
            if self.references or self.control or self.adapters or self.panorama:
                refuse(
                    "/sharing/full",
                    "Full sharing goes with no control, adapters, panorama or several references.",
                )
            if self.reference and (self.reference.mask or self.reference.model_dump().get("width")):
                refuse("/sharing/full", "Full sharing takes no mask, and references of one size.")
        if errors:
            raise InvalidRequest.of(errors)


def _seeded(prompt: Prompt, job_seed: int, index: int) -> Prompt:
    if prompt.seed is not None:
        return prompt
    return prompt.model_copy(update={"seed": (job_seed + index) % (MAX_SEED + 1)})


def _stored(reference: Reference, pointer: str, stored: Stored) -> Reference:
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


def _steps_of(steps: int, sampling: Sampling, pointer: str) -> Sampling:
    if sampling.steps not in (None, steps):
        detail = f"It was inverted in {steps} steps: use as many, or leave `sampling.steps` out."
        raise InvalidRequest.of([FieldError(pointer=f"{pointer}/id", detail=detail)])
    return sampling.model_copy(update={"steps": steps})


def _effective_reference(
    reference: Reference,
    pointer: str,
    index: int,
    seed: int,
    sampling: Sampling,
    model: ModelSpec,
) -> Reference:
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
        changed["prompt"] = _seeded(reference.prompt, seed, -1 - index)
    else:
        steps = settled(sampling.steps)
        changed["skip"] = steps // 10 if reference.skip is None else reference.skip
        if changed["skip"] >= steps:
            detail = f"Expected fewer than the {steps} steps."
            errors.append(FieldError(pointer=f"{pointer}/skip", detail=detail))
    if errors:
        raise InvalidRequest.of(errors)
    return reference.model_copy(update=changed)
