"""What a caller of appearance transfer asks for, and its presets.

Source of the preset `faithful`: Alaluf et al., "Cross-Image Attention for Zero-Shot Appearance
Transfer", SIGGRAPH 2024, arXiv 2311.03335.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from core.contract.appearance_presets import PRESETS, FreeU, MaskRule, PresetName
from core.contract.appearance_ranges import Ranges, ranges_in_steps
from core.contract.demand import Demand
from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput
from core.contract.inspection import Inspect
from core.contract.models import MAX_STEPS, ModelSpec
from core.contract.observed import refused
from core.contract.requests import MAX_PROMPT_CHARACTERS, JobRequest
from core.contract.stored import Stored

ROWS_AT_ONCE = 4
"""The output with the swap and without, the appearance and the structure."""

PAPER_SIZE = 512
"""From this many pixels on a model has the paper's grids of 64 and 32 tokens a side."""

PAPER_STEPS, FEWER_STEPS = 100, 25


_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAA"
    "AACklEQVR42mM4AQAAygDJNEIn8wAAAABJRU5ErkJggg=="
)
"""A picture short enough for an example: one grey pixel."""

Domain = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\w")]


class AppearanceTransferRequest(JobRequest):
    """The shape of one picture in the appearance of another, by cross-image attention."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "structure": {"data": _DOT},
                    "appearance": {"data": _DOT},
                    "domain": "animal",
                    "seed": 7,
                }
            ]
        }
    )

    structure: ImageInput = Field(description="The picture whose shapes and layout are kept.")
    appearance: ImageInput = Field(description="The picture whose colours and textures are taken.")
    domain: Domain = Field(
        description=(
            'What both pictures show, in a word or two, such as "animal" or "building". The '
            "subject is found by it, and the model is told it."
        )
    )
    appearance_domain: Domain | None = Field(
        default=None,
        description="What the appearance shows, where that is something else. Default: `domain`.",
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description=(
            "The text that goes with the structure and the output. It has to contain `domain`. "
            'Default: "a photo of a " and the domain. The appearance always goes with the default.'
        ),
    )
    fit: Literal["crop", "pad"] = Field(
        default="crop",
        description=(
            "How pictures of another shape become the model's: `crop` cuts off what is too much "
            "around the middle; `pad` keeps everything, on a plain border that is cut off again "
            "from what comes back. Nothing is ever squeezed."
        ),
    )
    width: int | None = Field(default=None, ge=1, description="Pixels, on the model's grid.")
    height: int | None = Field(default=None, ge=1, description="Pixels, on the model's grid.")
    preset: PresetName | None = Field(
        default=None,
        description=(
            "Defaults of all that follows. `faithful`: the paper's. `balanced`: no contrast, "
            "pictures inverted without guidance so that they come back exactly: cleaner textures "
            "on small models. `strong`: begins at noisier latents and never reads the structure: "
            "more of the appearance, less of the shape. Default: `faithful` from 512 pixels on, "
            "where a model has the paper's grids of tokens, else `balanced`."
        ),
    )
    steps: int | None = Field(
        default=None,
        ge=2,
        le=MAX_STEPS,
        description="Steps of the whole schedule. Default: 100 as in the paper, 25 below 512 px, "
        "and no more than the model takes.",
    )
    skip_steps: int | None = Field(
        default=None,
        ge=0,
        lt=MAX_STEPS,
        description=(
            "Noisiest steps that are left out. Fewer give the appearance more say and the shape "
            "less; too many leave the structure as it was. Default: 32 of 100."
        ),
    )
    mask_adain: bool = Field(
        default=True,
        description=(
            "Move colours of the subject towards those of the appearance's subject, and leave the "
            "background to attention. False moves the whole picture towards the whole; so does a "
            "job that finds no subject, or only it, warned of as `mask-empty` or `mask-full`."
        ),
    )
    mask_rule: MaskRule | None = Field(
        default=None,
        description=(
            "Which parts of a picture are its subject. `contrast`: those that stand out, as in "
            "the paper; misses subjects that fill the picture. `threshold`: those that the domain "
            "fits well enough."
        ),
    )
    contrast: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description=(
            "Sharpens which places of the appearance are read: above 1 colours are stronger and "
            "edges harder, fine patterns fade; 1 reads them as the model would."
        ),
    )
    swap_guidance_scale: float | None = Field(
        default=None,
        ge=1,
        le=20,
        description=(
            "How far the picture is pushed towards reading the appearance: higher is more of its "
            "look, too high burns out; 1 reads it and does not push, at a quarter less time."
        ),
    )
    inversion_guidance_scale: float | None = Field(
        default=None,
        ge=1,
        le=20,
        description=(
            "Guidance by the text while pictures are inverted. 1 makes both come back exactly; "
            "the paper's 3.5 pulls them towards the text and lets them drift."
        ),
    )
    inspect: Inspect | None = Field(
        default=None,
        description=(
            "Show what the model looked at while it drew the output and both pictures again, as "
            "`output-heat-cat`, `structure-reconstruction-segments` and so on. What the output "
            "reads of the appearance is left out."
        ),
    )
    ranges: Ranges = Field(default=Ranges(), description="When each part acts.")
    free_u: FreeU | None = Field(
        default=None,
        description=(
            "Damps low frequencies inside the UNet. `paper`: the authors' own, for SD 1 at 512 "
            "pixels; `diffusers`: the published FreeU. Both make textures crisper and can "
            "overshoot colours; `off` on models they were not made for."
        ),
    )

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        common = super()._effective(model)
        width, height = self._size(model)
        papers = min(width, height) >= PAPER_SIZE
        name = self.preset or ("faithful" if papers else "balanced")
        preset = PRESETS[name]
        steps = self.steps or min(PAPER_STEPS if papers else FEWER_STEPS, model.max_steps)
        if fault := model.steps_fault(steps):
            raise refused("/steps", fault)
        skip = round(preset.skip * steps) if self.skip_steps is None else self.skip_steps
        if skip >= steps:
            raise refused("/skip_steps", f"Expected fewer than the {steps} steps.")
        if model.max_batch < ROWS_AT_ONCE:
            detail = f"{model.name} is set to {model.max_batch} pictures at once; this takes 4."
            raise refused("/model", detail)
        prompt, appearance_domain = self._prompt(), self.appearance_domain or self.domain
        texts = [prompt, prompt_for(appearance_domain)]
        if self.inspect is not None and (faults := self.inspect.faults(texts)):
            raise InvalidRequest.of(faults)
        knobs = ("contrast", "swap_guidance_scale", "inversion_guidance_scale", "free_u")
        chosen = {
            knob: getattr(preset, knob) if getattr(self, knob) is None else getattr(self, knob)
            for knob in (*knobs, "mask_rule")
        }
        return (
            common
            | chosen
            | {
                "preset": name,
                "prompt": prompt,
                "appearance_domain": appearance_domain,
                "width": width,
                "height": height,
                "steps": steps,
                "skip_steps": skip,
                "ranges": ranges_in_steps(self.ranges, preset, steps),
            }
        )

    def demand(self, model: ModelSpec) -> Demand:
        size = self.width or model.width, self.height or model.height
        return Demand(type(self).__name__, size, model.max_batch, ROWS_AT_ONCE)

    def with_stored(self, stored: Stored) -> Self:
        names = ("structure", "appearance")
        found = {name: stored.image(f"/{name}", getattr(self, name)) for name in names}
        return self.model_copy(update=found)

    def _size(self, model: ModelSpec) -> tuple[int, int]:
        sides = {"width": self.width or model.width, "height": self.height or model.height}
        errors = [
            FieldError(pointer=f"/{name}", detail=fault)
            for name, pixels in sides.items()
            if (fault := model.size_fault(pixels))
        ]
        if errors:
            raise InvalidRequest.of(errors)
        return sides["width"], sides["height"]

    def _prompt(self) -> str:
        if self.prompt is None:
            return prompt_for(self.domain)
        if self.domain.lower() not in self.prompt.lower():
            raise refused("/prompt", f'Expected text with the domain in it, "{self.domain}".')
        return self.prompt


def prompt_for(domain: str) -> str:
    """What a picture of a domain goes with, as in the paper's code."""
    return f"a photo of a {domain}"
