"""Self-segmentation: which parts a picture has and what they show, by the model's attention.

Sources: Patashnik et al., "Localizing Object-level Shape Variations with Text-to-Image Diffusion
Models", ICCV 2023, arXiv 2303.11306; Tian et al. (DiffSeg), CVPR 2024, arXiv 2308.12469.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from core.attention.merging import aggregated, merge_tokens
from core.attention.segments import cluster_tokens
from core.attention.watcher import PictureWatcher, Watcher, telling_layers
from core.contract.jobs import JobWarning
from core.contract.pictures import File, Made, Picture, Surroundings
from core.contract.requests import settled
from core.contract.segmentation import SegmentationRequest
from core.contract.word_lists import file_stems
from core.diffusion.model import DiffusionModel
from core.diffusion.observing import observe, times_of, watched_row
from core.diffusion.showing import as_colours, principal_components
from core.diffusion.words import token_positions
from core.inspection import segments
from core.inspection.parts import Part, mask_of_label, parts_of


def segmentation(
    model: DiffusionModel, request: SegmentationRequest, around: Surroundings
) -> Generator[Made]:
    """Run the effective `request` and yield what it finds.

    Artifacts: `image` if it was drawn here, `segments`, `overlay`, `segments.json`, a `mask-…`
    for each label, `features`. Raises NumericsFailure where no picture comes out.
    """
    watcher = watcher_of(model, request)
    picture = observe(model, request, around, watcher.watch, {"watcher": watcher})
    labels, text = settled(request.labels), settled(request.prompt)
    positions = {label: token_positions(model, text, label) for label in labels}
    parts = parts_of(
        cut(watcher, request),
        watcher.text_map(watcher.grid),
        positions,
        request.background_threshold,
        np.asarray(picture),
    )
    _remark(around, parts, positions)
    if request.image is None:
        yield Picture("image", "image", picture, {"prompt": text, "seed": request.seed})
    yield from _shown(picture, parts, labels, about(model, request, watcher))
    yield _features(watcher, picture)


def watcher_of(model: DiffusionModel, request: SegmentationRequest) -> PictureWatcher:
    """Watches what tells segments apart, in the steps that are not too noisy; at least the last."""
    width, height = request.size
    latent_size = (height // model.latent_factor, width // model.latent_factor)
    times = times_of(model, settled(request.sampling.steps))
    steps = [step for step, time in enumerate(times) if time <= request.noise_limit]
    merging = request.method == "merge"
    layers = telling_layers(model.unet, latent_size, request.resolution, all_grids=merging)
    row = watched_row(request)
    return PictureWatcher(model.unet, latent_size, row, steps or [len(times) - 1], layers)


def cut(watcher: Watcher, request: SegmentationRequest) -> Tensor:
    """The segment of each token, int64 (height, width) of the watcher's grid."""
    most = settled(request.segments)
    if request.method == "merge":
        whole = aggregated({g: own.cpu() for g, own in watcher.self_maps().items()}, watcher.grid)
        return merge_tokens(whole, watcher.grid, settled(request.merge_threshold), most)
    own = watcher.self_maps()[watcher.grid]
    return cluster_tokens(own, min(most, len(own)), watcher.grid, settled(request.seed))


def about(model: DiffusionModel, request: SegmentationRequest, watcher: Watcher) -> dict[str, Any]:
    """In words: what was watched, and when."""
    times = times_of(model, settled(request.sampling.steps))
    seen = [times[step] for step in sorted(watcher.steps)]
    height, width = watcher.grid
    return {
        "method": request.method,
        "tokens": f"{width} x {height}",
        "time": f"t = {seen[0]:.2f} to {seen[-1]:.2f}",
    }


def _remark(around: Surroundings, parts: Sequence[Part], positions: dict[str, list[int]]) -> None:
    """Scores and areas as measures, and a warning for each label that no segment has."""
    shares = [
        {
            "value": part.value,
            "label": part.label,
            "score": None if part.score is None else round(part.score, 4),
            "area": round(part.area / part.mask.size, 4),
        }
        for part in parts
    ]
    around.measure("segments", shares)
    areas = {label: round(float(mask_of_label(parts, label).mean()), 4) for label in positions}
    around.measure("label_areas", areas)
    for label, tokens in positions.items():
        if areas[label] > 0:
            continue
        cause = (
            f"its best score is {segments.best_score(parts, label):.2f}"
            if tokens
            else "the text is cut off before it"
        )
        detail = f'No segment was named "{label}": {cause}. Try a lower background_threshold.'
        around.warn(JobWarning(code="label-not-found", detail=detail))


def _shown(
    picture: Image.Image, parts: Sequence[Part], labels: Sequence[str], found: dict[str, Any]
) -> Iterator[Made]:
    names = {"segments": [part.name for part in parts]}
    yield Picture("segments", "segments", segments.indexed(parts), found | names, exact=True)
    yield Picture("overlay", "overlay", segments.overlay(picture, parts), found)
    data = segments.record(parts, labels, found)
    yield File("segments.json", "segments", "application/json", data)
    for stem, label in zip(file_stems("mask", labels), labels, strict=True):
        mask = mask_of_label(parts, label)
        score = round(segments.best_score(parts, label), 4)
        about_label = {"label": label, "score": score, "area": round(float(mask.mean()), 4)}
        yield Picture(stem, "mask", segments.mask_image(mask), about_label, exact=True)


def _features(watcher: PictureWatcher, picture: Image.Image) -> Picture:
    components = principal_components(watcher.features(), 3).reshape(*watcher.grid, 3)
    shown = as_colours(components, picture.size)
    return Picture("features", "features", shown, {"layer": watcher.feature_layer.name})
