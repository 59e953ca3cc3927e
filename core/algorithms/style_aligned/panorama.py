"""Pictures larger than the model's: shared attention in every window of a MultiDiffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.algorithms.style_aligned.leaders import Leader, Leading, masks_of, shares_of
from core.algorithms.style_aligned.plans import Layers, following_plan
from core.attention.control import attention_control
from core.contract.panorama import Panorama, Region
from core.contract.requests import settled
from core.contract.style_aligned import Sharing
from core.diffusion.denoise import Guidance, Predictor, predict
from core.diffusion.model import DiffusionModel
from core.diffusion.windows import Window, multi_diffusion


def following_windows(
    model: DiffusionModel,
    leading: Leading,
    guidance: Guidance,
    sharing: Sharing,
    layers: Layers,
    windows: Sequence[Window],
    per_batch: int,
    *,
    masks: Tensor | None = None,
    texts: Sequence[int] | None = None,
) -> Predictor:
    """Predict a panorama whose windows all follow the references.

    The references advance once a step, before the first window. guidance: a row for each
    text. texts: which of them a window shows, the first by default. masks: (1, references,
    h, w) of the panorama, where each reference is followed; everywhere by default.
    """
    batches = [windows[start : start + per_batch] for start in range(0, len(windows), per_batch)]
    shown = [0] * len(windows) if texts is None else texts
    guidances = [
        guidance.rows(shown[start : start + per_batch])
        for start in range(0, len(windows), per_batch)
    ]
    plans = []
    for batch in batches:
        cropped = None if masks is None else torch.cat([window.crop(masks) for window in batch])
        plans.append(
            following_plan(
                layers,
                sharing,
                leading.memories,
                shares_of(leading.leaders, cropped).on(model.device),
                [leader.score_shift for leader in leading.leaders],
                halves=guidance.halves,
            )
        )

    def predict_windows(batch: int, step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        if batch == 0:
            leading.advance(step, timestep)
        with attention_control(model.unet, plans[batch]):
            return predict(model, latents, timestep, guidances[batch])

    return multi_diffusion(windows, per_batch, predict_windows)


def region_masks(panorama: Panorama, leaders: Sequence[Leader], factor: int) -> Tensor | None:
    """(1, leaders, h, w): where each leader is followed, by its own mask and the regions'.

    factor: pixels a side of one latent.
    """
    height, width = settled(panorama.height) // factor, panorama.width // factor
    own = masks_of(leaders, height, width)
    if any(region.reference is not None for region in panorama.regions):
        there = memberships(panorama, width, factor)
        columns = torch.zeros(len(leaders), width)
        for region, membership in zip(panorama.regions, there, strict=True):
            chosen = range(len(leaders)) if region.reference is None else [region.reference]
            for index in chosen:
                columns[index] += membership
        placed = columns[None, :, None, :].expand(-1, -1, height, -1)
        own = placed if own is None else own * placed
    return own


def window_texts(panorama: Panorama, windows: Sequence[Window], factor: int) -> list[int]:
    """For each window the index of the region that has most of its middle column."""
    width = panorama.width // factor
    there = memberships(panorama, width, factor)
    middles = [(window.left + window.width // 2) % width for window in windows]
    return [int(there[:, middle].argmax()) for middle in middles]


def memberships(panorama: Panorama, width: int, factor: int) -> Tensor:
    """How much each region has of each of `width` columns of latents: (regions, width), sum 1.

    Each region begins and ends in a ramp of `blend` pixels, but for the panorama's own edges.
    """
    centres = (torch.arange(width) + 0.5) * factor
    blend = max(settled(panorama.blend), 1e-6)
    parts = torch.stack([_profile(region, panorama, centres, blend) for region in panorama.regions])
    return parts / parts.sum(0)


def _profile(region: Region, panorama: Panorama, columns: Tensor, blend: float) -> Tensor:
    end = settled(region.end)

    def between(left: float, right: float) -> Tensor:
        rise = ((columns - left) / blend + 0.5).clamp(0, 1)
        fall = ((right - columns) / blend + 0.5).clamp(0, 1)
        return rise * fall

    if panorama.circular:
        turns = (-panorama.width, 0, panorama.width)
        return torch.stack([between(region.start + t, end + t) for t in turns]).sum(0)
    left = -math.inf if region.start == 0 else region.start
    right = math.inf if end == panorama.width else end
    return between(left, right)
