"""A panorama in a request: its size, its windows, and what stands where."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field

from core.contract.errors import FieldError, InvalidRequest
from core.contract.models import ModelSpec
from core.contract.requests import MAX_PROMPT_CHARACTERS, Sampling, Strict, settled

_STRIDE_GRID = 8
"""Strides are multiples of this in pixels: a latent covers 8, or a divisor of it."""


class Region(Strict):
    """A part of a panorama from one column to another, with a prompt and a style of its own."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    prompt: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        description="What is shown here. Default: the panorama's own prompt.",
    )
    reference: int | None = Field(
        default=None,
        ge=0,
        description="Whose style it has: an index into `references`. Default: all of them.",
    )
    start: int = Field(default=0, ge=0, alias="from", description="First column, in pixels.")
    end: int | None = Field(
        default=None, ge=1, alias="to", description="Where it ends, in pixels. Default: the edge."
    )


class Panorama(Strict):
    """MultiDiffusion (Bar-Tal et al., ICML 2023) with shared attention in every window."""

    width: int = Field(ge=1, description="Pixels, on the model's grid.")
    height: int | None = Field(
        default=None, ge=1, description="Pixels, on the model's grid. Default: a window's."
    )
    stride: int | None = Field(
        default=None,
        ge=_STRIDE_GRID,
        multiple_of=_STRIDE_GRID,
        description=(
            "Pixels from one window to the next. Smaller joins better and takes longer. "
            "Default: an eighth of a window."
        ),
    )
    views_per_batch: int | None = Field(
        default=None,
        ge=1,
        description="Windows denoised at once. Default: as many as the model's memory allows.",
    )
    circular: bool = Field(default=False, description="Join the right edge to the left one.")
    regions: list[Region] = Field(
        default=[],
        max_length=16,
        description=(
            "Parts with their own prompts or references, covering every column. "
            "Where two overlap, one goes over into the other."
        ),
    )
    blend: int | None = Field(
        default=None,
        ge=0,
        description=(
            "Columns over which one region goes over into the next, in pixels. "
            "Default: a window's width."
        ),
    )

    def effective(self, model: ModelSpec, sampling: Sampling, references: int) -> Self:
        """Every value filled in. Raises InvalidRequest."""
        window = (settled(sampling.width), settled(sampling.height))
        height = self.height or window[1]
        largest = 8 * model.max_size
        faults: dict[str, str] = {}
        for name, pixels, side in (("width", self.width, window[0]), ("height", height, window[1])):
            if not side <= pixels <= largest or pixels % model.grid:
                faults[name] = (
                    f"Expected a multiple of {model.grid} from {side}, a window's, "
                    f"to {largest} pixels."
                )
        stride = self.stride or max(_STRIDE_GRID, min(window) // 8 // _STRIDE_GRID * _STRIDE_GRID)
        if stride > min(window):
            faults["stride"] = f"Expected at most a window's {min(window)} pixels."
        views = self.views_per_batch or model.max_batch - 1
        if views >= model.max_batch:
            faults["views_per_batch"] = f"Expected at most {model.max_batch - 1} with {model.name}."
        regions = [self._effective_region(region) for region in self.regions]
        for index, region in enumerate(regions):
            end = settled(region.end)
            if not region.start < end <= self.width:
                faults[f"regions/{index}"] = (
                    f"Expected `from` below `to`, and both within the width of {self.width}."
                )
            if region.reference is not None and region.reference >= references:
                faults[f"regions/{index}/reference"] = (
                    f"Expected an index into `references`, of which there are {references}."
                )
        if not faults and (gap := self._gap(regions)) is not None:
            faults["regions"] = f"No region covers column {gap}: every column needs one."
        if faults:
            raise InvalidRequest.of(
                [FieldError(pointer=f"/panorama/{name}", detail=d) for name, d in faults.items()]
            )
        return self.model_copy(
            update={
                "height": height,
                "stride": stride,
                "views_per_batch": views,
                "regions": regions,
                "blend": window[0] if self.blend is None else self.blend,
            }
        )

    def _effective_region(self, region: Region) -> Region:
        return region if region.end else region.model_copy(update={"end": self.width})

    def _gap(self, regions: list[Region]) -> int | None:
        """The first column that no region covers."""
        reached = 0
        for region in sorted(regions, key=lambda r: r.start):
            if region.start > reached:
                return reached
            reached = max(reached, settled(region.end))
        return reached if regions and reached < self.width else None
