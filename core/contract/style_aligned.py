"""The request of `style-aligned`: pictures of several prompts in one style."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from pydantic import ConfigDict, Field

from core.contract.adapters import AdapterUse
from core.contract.control import ControlRequest
from core.contract.demand import Demand
from core.contract.errors import FieldError, InvalidRequest
from core.contract.inspection import MOST_PICTURES, Inspect
from core.contract.models import ModelSpec
from core.contract.panorama import Panorama
from core.contract.references import (
    ImageReference,
    Reference,
    ReferenceHandle,
    effective_reference,
    seeded,
    steps_of_kept,
    stored_reference,
)
from core.contract.requests import (
    MAX_PROMPT_CHARACTERS,
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
    inspect: Inspect | None = Field(
        default=None,
        description=(
            "Show what the model looked at while it drew each prompt's picture, beside the picture "
            "as `image-000-heat-cat`, `image-000-segments` and `image-000-overlay`. For up to "
            f"{MOST_PICTURES} prompts, and no panoramas and data sets."
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
            changed["reference"] = stored_reference(self.reference, "/reference", stored)
        changed["references"] = [
            stored_reference(reference, f"/references/{index}", stored)
            for index, reference in enumerate(self.references)
        ]
        if self.control is not None:
            changed["control"] = self.control.with_stored(stored)
        for pointer, reference in self.named_references():
            if isinstance(reference, ReferenceHandle):
                kept = stored.reference(f"{pointer}/id", reference.id)
                changed["sampling"] = steps_of_kept(kept.steps, changed["sampling"], pointer)
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

    def demand(self, model: ModelSpec) -> Demand:
        kind = " ".join(
            [type(self).__name__]
            + [name for name in ("control", "panorama", "inspect") if getattr(self, name)]
        )
        if self.panorama:
            return Demand(kind, self.picture_size, settled(self.panorama.views_per_batch) + 1, 2)
        together = len(self.prompts) + self.draws_references_apart
        if self.sharing.full:
            return Demand(kind, self.picture_size, together, together)
        return Demand(kind, self.picture_size, min(together, model.max_batch), min(together, 2))

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
            effective_reference(reference, pointer, index, seed, sampling, model)
            for index, (pointer, reference) in enumerate(self.named_references())
        ]
        if self.sharing.full and any(
            (r.width, r.height) != (sampling.width, sampling.height) for r in references
        ):
            detail = "Full sharing takes a reference of the pictures' size."
            raise InvalidRequest.of([FieldError(pointer="/sharing/full", detail=detail)])
        panorama, control = self.panorama, self.control
        return common | {
            "prompts": [seeded(prompt, seed, index) for index, prompt in enumerate(self.prompts)],
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
        if self.inspect is not None:
            errors += self.inspect.faults([self.text_of(prompt) for prompt in self.prompts])
            if self.panorama is not None:
                refuse("/inspect", "A panorama is drawn window by window and can't be inspected.")
            if self.dataset:
                refuse("/inspect", "A data set has nothing beside its pictures.")
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
            if self.reference and self.reference.mask:
                refuse("/sharing/full", "Full sharing takes no mask.")
        if errors:
            raise InvalidRequest.of(errors)
