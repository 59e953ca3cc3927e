"""When each part of appearance transfer acts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.contract.appearance_presets import Preset
from core.contract.observed import refused
from core.contract.requests import Strict


class Span(Strict):
    """Steps from `start` on, up to but without `end`; the same number twice is none of them."""

    start: float = Field(ge=0, description="The first step, or the fraction where it is.")
    end: float = Field(ge=0, description="The first step that is not in it any more.")


class Ranges(Strict):
    """When each part acts. Steps are those that run, counted from 0 after `skip_steps`."""

    unit: Literal["steps", "fraction"] = Field(
        default="fraction",
        description=(
            "`fraction`: of all `steps`, skipped ones included, so that the paper's 10 of 100 is "
            "0.1 with any number of steps. `steps`: whole steps, as the paper gives them."
        ),
    )
    fine: Span | None = Field(
        default=None,
        description=(
            "When the decoder's finest self-attention (64 x 64 tokens at 512 pixels in SD) reads "
            "the appearance: it carries texture and colour. Default: 0.1 to 0.9."
        ),
    )
    coarse: Span | None = Field(
        default=None,
        description=(
            "The same of the grid with half as many tokens a side (32 x 32): it carries which "
            "part takes its look from which. Ending earlier keeps more of the structure's shape. "
            "Default: 0.1 to 0.7."
        ),
    )
    structure: Span | None = Field(
        default=None,
        description=(
            "Here every fifth step reads the structure instead of the appearance. A longer span "
            "holds the shape better; an empty one transfers more. Default: 0 to 0.4."
        ),
    )
    adain: Span | None = Field(
        default=None,
        description=(
            "When the output's latents take the appearance's mean and deviation, which moves its "
            "overall colour and brightness. Starting earlier moves them farther. An empty span "
            "leaves colour to attention alone."
        ),
    )


def ranges_in_steps(ranges: Ranges, preset: Preset, steps: int) -> Ranges:
    """`ranges` in whole steps, with the preset's where they are absent.

    Raises InvalidRequest for a span that ends before it starts, or a fraction above 1.
    """
    spans: dict[str, Span] = {}
    for name in ("fine", "coarse", "structure", "adain"):
        given: Span | None = getattr(ranges, name)
        if given is None:
            start, end = (fraction * steps for fraction in getattr(preset, name))
        elif given.end < given.start:
            raise refused(f"/ranges/{name}/end", f"Expected at least {given.start:g}, its start.")
        elif ranges.unit == "steps":
            start, end = given.start, given.end
        elif given.end > 1:
            detail = 'Expected a fraction from 0 to 1; whole steps need "unit": "steps".'
            raise refused(f"/ranges/{name}/end", detail)
        else:
            start, end = given.start * steps, given.end * steps
        spans[name] = Span(start=round(start), end=round(end))
    return Ranges(unit="steps", **spans)
