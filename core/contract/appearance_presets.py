"""Presets of appearance transfer: values of the knobs that a request leaves out.

`faithful` is the paper's (arXiv 2311.03335). The others were tuned on the built-in model; what
was measured is in `docs/decisions/0010-appearance-transfer.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PresetName = Literal["faithful", "balanced", "strong"]
FreeU = Literal["off", "paper", "diffusers"]
MaskRule = Literal["contrast", "threshold"]


@dataclass(frozen=True)
class Preset:
    """skip and the spans from `fine` on are fractions of all steps."""

    contrast: float
    swap_guidance_scale: float
    inversion_guidance_scale: float
    free_u: FreeU
    mask_rule: MaskRule
    skip: float
    fine: tuple[float, float]
    coarse: tuple[float, float]
    structure: tuple[float, float]
    adain: tuple[float, float]


PRESETS: dict[PresetName, Preset] = {
    "faithful": Preset(
        contrast=1.67,
        swap_guidance_scale=3.5,
        inversion_guidance_scale=3.5,
        free_u="paper",
        mask_rule="contrast",
        skip=0.32,
        fine=(0.1, 0.9),
        coarse=(0.1, 0.7),
        structure=(0.0, 0.4),
        adain=(0.2, 1.0),
    ),
    "balanced": Preset(
        contrast=1.0,
        swap_guidance_scale=2.0,
        inversion_guidance_scale=1.0,
        free_u="off",
        mask_rule="threshold",
        skip=0.32,
        fine=(0.1, 0.9),
        coarse=(0.1, 0.7),
        structure=(0.0, 0.4),
        adain=(0.2, 1.0),
    ),
    "strong": Preset(
        contrast=1.0,
        swap_guidance_scale=3.5,
        inversion_guidance_scale=1.0,
        free_u="off",
        mask_rule="threshold",
        skip=0.2,
        fine=(0.0, 1.0),
        coarse=(0.0, 0.9),
        structure=(0.0, 0.0),
        adain=(0.2, 1.0),
    ),
}
