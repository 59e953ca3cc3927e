"""How well segments and labels meet the exact masks of held-out scenes.

    python -m benchmarks.segmentation [--scenes 128] [--processes 2]

Real scenes of the world, half with one thing and half with two, that no training saw; none of
them was used to choose the settings. Each is inverted by DDIM and watched on its way back.

- `labelled`: mean IoU of subject and background, where the subject is every segment that has a
  thing's label (the prompt's things, threshold 0.35), in pixels.
- `matched`: mean IoU of the things and the background with one segment each, matched by the
  Hungarian method; low where a thing is in several segments.
- `labels`: share of the things of two-object scenes most of whose labelled pixels have their
  label.

The controls have clusters of something else, and the same labels by the model's cross-attention:
the RGB colours and the VAE's latents of the same cells, self-attention of the same UNet with
random weights on the same latents, and positions alone.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from statistics import mean, median, stdev
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.appearance_pairs import overlap
from benchmarks.record import write
from benchmarks.style_distance import load
from core.algorithms.segmentation.job import cut, watcher_of
from core.attention.segments import cluster_tokens
from core.attention.watcher import enlarged
from core.contract.pictures import Surroundings, alone
from core.contract.requests import settled
from core.contract.segmentation import SegmentationRequest
from core.diffusion.images import encode_image
from core.diffusion.model import DiffusionModel
from core.diffusion.observing import observe
from core.diffusion.words import token_positions
from core.inspection.parts import Part, parts_of
from training.dataset import HELD_OUT_SEED
from training.scenes import Scene, scene
from training.world import plain_caption, random_content

FIRST = 1000
"""Scenes below were used to choose settings."""


@cache
def models() -> tuple[DiffusionModel, DiffusionModel]:
    """The built-in model, and it with a UNet of random weights."""
    torch.set_num_threads(1)
    model, _ = load()
    torch.manual_seed(0)
    untrained = type(model.unet).from_config(model.unet.config).eval()
    parts = dict(model.pipeline.components, unet=untrained)
    return model, replace(model, pipeline=type(model.pipeline)(**parts))


def scene_of(index: int) -> Scene:
    content = random_content(random.Random(FIRST + index), two_things=float(index % 2))
    return scene(HELD_OUT_SEED + FIRST + index, content=content)


def request_of(one: Scene, method: str = "clusters") -> SegmentationRequest:
    body = {
        "image": {"upload": "img_" + 32 * "0"},
        "prompt": plain_caption(one.content),
        "labels": [thing.subject for thing in one.content.things],
        "method": method,
        "seed": 0,
    }
    return SegmentationRequest.model_validate(body).resolve(models()[0].spec)


def around_of(one: Scene) -> Surroundings:
    """In which a scene's inversion is made once."""
    kept: dict[str, bytes] = {}

    def cached(key: str, make: Callable[[], bytes], note: Mapping[str, Any]) -> bytes:
        return kept[key] if key in kept else kept.setdefault(key, make())

    return replace(alone(), image=lambda _: Image.fromarray(one.picture), cached=cached)


def figures_of(index: int) -> dict[str, dict[str, float]]:
    """Of one scene: the figures of each way."""
    model, untrained = models()
    one = scene_of(index)
    around = around_of(one)
    merging = request_of(one, "merge")
    clusters = request_of(one)
    watcher, random_watcher = watcher_of(model, merging), watcher_of(untrained, clusters)
    observe(model, merging, around, watcher.watch)
    observe(untrained, clusters, around, random_watcher.watch)
    grid = watcher.grid
    cells = torch.from_numpy(one.picture.copy()).float() / 255
    latents = encode_image(model, Image.fromarray(one.picture))[0].permute(1, 2, 0)
    side = torch.linspace(0, 1, grid[0])
    place = torch.stack(torch.meshgrid(side, side, indexing="ij"), dim=-1)
    factor = cells.shape[0] // grid[0]
    means = cells.reshape(grid[0], factor, grid[1], factor, 3).mean(dim=(1, 3))

    def by_features(features: Tensor) -> Tensor:
        return cluster_tokens(features.flatten(0, 1), settled(clusters.segments), grid, 0)

    segments = {
        "clusters": cut(watcher, clusters),
        "merge": cut(watcher, merging),
        "RGB": by_features(means),
        "VAE latents": by_features(latents),
        "untrained UNet": cut(random_watcher, clusters),
        "position": by_features(place),
    }
    text = watcher.text_map(grid)
    things = [thing.subject for thing in one.content.things]
    positions = {t: token_positions(model, settled(clusters.prompt), t) for t in things}
    found = {
        way: judged(one, parts_of(tokens, text, positions, 0.35, one.picture), things)
        for way, tokens in segments.items()
    }
    found["heat maps"] = {"peaks": peaks(one, text, list(positions.values()))}
    return found


def judged(one: Scene, parts: list[Part], things: list[str]) -> dict[str, float]:
    """Figures of one way of cutting, beside the scene's exact masks."""
    truth = np.asarray(one.masks.any(axis=0))
    subject = np.logical_or.reduce([p.mask & (p.label is not None) for p in parts])
    regions = [~truth, *one.masks]
    ious = np.array([[overlap(part.mask, region) for part in parts] for region in regions])
    rows, columns = linear_sum_assignment(-ious)
    found = {
        "labelled": (overlap(subject, truth) + overlap(~subject, ~truth)) / 2,
        "subject": overlap(subject, truth),
        "matched": float(ious[rows, columns].sum() / len(regions)),
        "segments": float(len(parts)),
    }
    if len(things) == 2:
        found["labels"] = mean(
            float(_pixels(parts, own, mask) > _pixels(parts, other, mask))
            for own, other, mask in zip(things, things[::-1], one.masks, strict=True)
        )
    return found


def _pixels(parts: list[Part], label: str, mask: NDArray[np.bool_]) -> int:
    return sum(int((part.mask & mask).sum()) for part in parts if part.label == label)


def peaks(one: Scene, text: Tensor, positions: list[list[int]]) -> float:
    """Share of the things in whose pixels their heat map, bicubic, is highest."""
    heat = torch.stack([text[..., tokens].mean(dim=-1) for tokens in positions], dim=-1)
    whole = enlarged(heat, one.picture.shape[:2], "bicubic").numpy()
    inside = [one.masks[k].flatten()[whole[..., k].argmax()] for k in range(len(positions))]
    return mean(map(float, inside))


def held_after(steps: int) -> int:
    """Bytes that the recorder holds after so many steps."""
    model, _ = models()
    one = scene_of(0)
    request = request_of(one)
    sampling = request.sampling.model_copy(update={"steps": steps})
    request = request.model_copy(update={"sampling": sampling, "noise_limit": 1.0})
    watcher = watcher_of(model, request)
    observe(model, request, around_of(one), watcher.watch)
    maps = (*watcher.self_maps().values(), *watcher.text_maps().values(), watcher.features())
    return sum(one.numel() * one.element_size() for one in maps)


def recording() -> dict[str, float]:
    """Bytes that the recorder holds after 10 and 50 steps, and its time as a ratio."""
    model, _ = models()
    one = scene_of(0)
    held = {f"bytes_after_{steps}_steps": float(held_after(steps)) for steps in (10, 50)}
    request = request_of(one)
    around = around_of(one)
    observe(model, request, around, lambda step: nullcontext())
    plain, watched = [], []
    for _ in range(5):
        watch = watcher_of(model, request).watch
        plain.append(_seconds(lambda: observe(model, request, around, lambda s: nullcontext())))
        watched.append(_seconds(lambda w=watch: observe(model, request, around, w)))  # type: ignore[misc]
    return held | {"time_ratio_of_the_way_back": round(median(watched) / median(plain), 3)}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def summary(rows: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation over scenes of each figure of each way."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for way in rows[0]:
        names = dict.fromkeys(name for row in rows for name in row[way])
        found[way] = {}
        for name in names:
            values = [row[way][name] for row in rows if name in row[way]]
            found[way][name] = {"mean": round(mean(values), 3), "sd": round(stdev(values), 3)}
    return found


def main(
    scenes: Annotated[int, typer.Option(min=4)] = 128,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Measure, print, and write `results/segmentation.json`."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = summary(pool.map(figures_of, range(scenes), chunksize=8))
    for way, figures in found.items():
        shown = "  ".join(f"{n} {v['mean']:.3f} ± {v['sd']:.3f}" for n, v in figures.items())
        typer.echo(f"{way:16} {shown}")
    recorder = recording()
    typer.echo(str(recorder))
    write(
        "segmentation",
        f"--scenes {scenes}",
        {"scenes": scenes, "ways": found, "recorder": recorder},
        models()[0],
    )


if __name__ == "__main__":
    typer.run(main)
