"""Measures the ControlNet: whether things are drawn where the edges have them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline
from torch import Tensor

from training.dataset import HELD_OUT_SEED
from training.edges import canny, restyled, to_hint
from training.evaluate import GUIDANCE, SAMPLING_BATCH, STEPS, found_things, sample
from training.judge import Judge
from training.masker import Masker
from training.masking import foreground_iou
from training.scenes import Scene, scene
from training.world import STYLES, plain_caption

FIRST_SCENE = HELD_OUT_SEED + 10_000
SCALES = (0.8, 1.0)


@dataclass(frozen=True)
class ControlAccuracy:
    """iou: of what the masker finds in a sample and the exact mask of the scene whose edges were
    given; mean, standard deviation and lowest tenth. style, subjects: shares in [0, 1] by the
    judge; subjects means that all prompted ones are seen."""

    iou: float
    spread: float
    lowest_tenth: float
    style: float
    subjects: float


def measure_control(
    pipeline: Any, control: Any, masker: Masker, judge: Judge, count: int = 96, steps: int = STEPS
) -> tuple[dict[str, ControlAccuracy], Tensor]:
    """With no control and at each of `SCALES`, for held-out scenes; and pictures to look at.

    The prompt is the scene's own, in its random style; the edges are of the scene drawn flat.
    Pictures, row by row: the edges, without control, at the last scale; (3 count, 3, h, w).
    """
    scenes = [scene(FIRST_SCENE + index) for index in range(count)]
    hints = flat_hints(count)
    prompts = [plain_caption(one.content) for one in scenes]
    samples = {"none": sample(pipeline, prompts, seed=0, steps=steps)}
    for scale in SCALES:
        samples[str(scale)] = controlled(pipeline, control, prompts, hints, scale, steps)
    accuracy = {name: _accuracy(its, scenes, masker, judge) for name, its in samples.items()}
    return accuracy, torch.cat([hints, samples["none"], samples[str(SCALES[-1])]])


def flat_hints(count: int) -> Tensor:
    """Of the first held-out scenes, each drawn flat: (count, 3, h, w)."""
    flat = [restyled(FIRST_SCENE + index, "flat").picture for index in range(count)]
    return to_hint(np.stack([canny(picture) for picture in flat]))


def controlled(
    pipeline: Any,
    control: Any,
    prompts: Sequence[str],
    hints: Tensor,
    scale: float,
    steps: int = STEPS,
) -> Tensor:
    """One picture a prompt, from the very noise that `evaluate.sample` with seed 0 starts with."""
    guided = StableDiffusionControlNetPipeline(
        **pipeline.components, controlnet=control, requires_safety_checker=False
    )
    guided.set_progress_bar_config(disable=True)
    batches = []
    for start in range(0, len(prompts), SAMPLING_BATCH):
        rows = range(start, min(start + SAMPLING_BATCH, len(prompts)))
        pictures = guided(
            [prompts[row] for row in rows],
            image=hints[rows.start : rows.stop],
            controlnet_conditioning_scale=scale,
            num_inference_steps=steps,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(row) for row in rows],
            output_type="pt",
        ).images
        batches.append(pictures.float().cpu())
    return torch.cat(batches)


def _accuracy(
    pictures: Tensor, scenes: Sequence[Scene], masker: Masker, judge: Judge
) -> ControlAccuracy:
    contents = [one.content for one in scenes]
    masks = np.stack([one.masks.any(axis=0) for one in scenes])
    ious = foreground_iou(masker, pictures, masks)
    styles = torch.tensor([STYLES.index(content.style) for content in contents])
    seen = [
        bool(found_things(judge, picture[None], [content]).all())
        for picture, content in zip(pictures, contents, strict=True)
    ]
    return ControlAccuracy(
        iou=statistics.mean(ious),
        spread=statistics.stdev(ious),
        lowest_tenth=statistics.quantiles(ious, n=10)[0],
        style=(judge.styles(pictures).argmax(dim=1) == styles).float().mean().item(),
        subjects=statistics.mean(seen),
    )
