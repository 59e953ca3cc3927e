"""Measures whether attention knows where things are, on held-out scenes with exact masks."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from training.dataset import HELD_OUT_SEED
from training.grounding import COARSEST_GROUNDED, PlainAttention
from training.latents import encode
from training.scenes import Scene, scene
from training.world import Content, plain_caption, random_content

TIMESTEPS = (100, 300, 500)
"""Noise levels at which the maps are taken, and averaged."""

CLUSTERS = 5


@dataclass(frozen=True)
class RegionAccuracy:
    """nouns: share of the nouns whose cross-attention is on average higher inside their own thing
    than inside the other thing and than on the background.
    peaks: share of the nouns whose highest cell lies inside their thing.
    labelled_iou: of a thing and the cells where its noun has more attention than half its peak.
    attention_iou, rgb_iou: of a scene's things and the union of those of five clusters that lie
    mostly inside; clusters of self-attention rows, and of the mean colours of the same cells.
    """

    nouns: float
    peaks: float
    labelled_iou: float
    attention_iou: float
    rgb_iou: float
    regions: int


@torch.no_grad()
def measure_regions(pipeline: Any, count: int = 100) -> RegionAccuracy:
    """Half of the scenes show one thing and half two."""
    scenes = [_held_out(index) for index in range(count)]
    rows: list[tuple[float, float, float]] = []
    attention, rgb = [], []
    for start in range(0, count, 20):
        chunk = scenes[start : start + 20]
        cross, own = _maps(pipeline, chunk)
        for index, one in enumerate(chunk):
            masks = _cells(one, round(cross.shape[-1] ** 0.5))
            rows += _nouns(pipeline.tokenizer, one, cross[index].numpy(), masks)
            things = np.asarray(masks.any(axis=0))
            attention.append(oracle_iou(own[index].numpy(), things))
            rgb.append(oracle_iou(_colours(one, things.shape[-1]), things))
    nouns, peaks, ious = (statistics.mean(column) for column in zip(*rows, strict=True))
    clusters = statistics.mean(attention), statistics.mean(rgb)
    return RegionAccuracy(nouns, peaks, ious, *clusters, regions=len(rows))


def oracle_iou(features: NDArray[np.float32], things: NDArray[np.bool_]) -> float:
    """k-means of (cells, features); the clusters mostly inside `things` (h, w), against it."""
    clusters = KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(features)
    inside = things.flatten()
    chosen = [k for k in range(CLUSTERS) if inside[clusters == k].mean() > 0.5]
    return _iou(np.isin(clusters, chosen), inside)


def _held_out(index: int) -> Scene:
    rng = random.Random(index)
    content: Content = random_content(rng, two_things=float(index % 2))
    return scene(HELD_OUT_SEED + index, content=content)


def _maps(pipeline: Any, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """Mean cross-attention (n, tokens, cells^2) and self-attention (n, cells^2, cells^2)."""
    latents = encode(pipeline.vae, np.stack([one.picture for one in scenes]))
    captions = [plain_caption(one.content) for one in scenes]
    ids = pipeline.tokenizer(
        captions, padding="max_length", max_length=16, truncation=True, return_tensors="pt"
    ).input_ids
    text = pipeline.text_encoder(ids)[0]
    cells = latents.shape[-1]
    cross_maps: list[Tensor] = []
    self_maps: list[Tensor] = []
    before = pipeline.unet.attn_processors
    pipeline.unet.set_attn_processor(PlainAttention(cross_maps, self_maps))
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    for timestep in TIMESTEPS:
        noisy = pipeline.scheduler.add_noise(latents, noise, torch.tensor([timestep]))
        pipeline.unet(noisy, timestep, text)
    pipeline.unet.set_attn_processor(before)
    grids = [
        functional.interpolate(_grid(layer), cells, mode="bilinear").flatten(2)
        for layer in cross_maps
        if layer.shape[1] >= COARSEST_GROUNDED**2
    ]
    own = [layer for layer in self_maps if layer.shape[1] == cells**2]
    return torch.stack(grids).mean(0), torch.stack(own).mean(0)


def _grid(layer: Tensor) -> Tensor:
    """(n, queries, tokens) to (n, tokens, side, side)."""
    side = round(layer.shape[1] ** 0.5)
    return layer.transpose(1, 2).reshape(len(layer), -1, side, side)


def _cells(one: Scene, cells: int) -> NDArray[np.bool_]:
    side = one.masks.shape[-1] // cells
    shares = one.masks.reshape(-1, cells, side, cells, side).mean(axis=(2, 4))
    return np.asarray(shares > 0.5)


def _colours(one: Scene, cells: int) -> NDArray[np.float32]:
    side = one.picture.shape[0] // cells
    means = one.picture.reshape(cells, side, cells, side, 3).mean(axis=(1, 3))
    return np.asarray(means.reshape(-1, 3), np.float32)


def _nouns(
    tokenizer: Any, one: Scene, maps: NDArray[np.float32], masks: NDArray[np.bool_]
) -> list[tuple[float, float, float]]:
    """Per noun: right region, peak inside, and IoU; see `RegionAccuracy`."""
    ids = tokenizer(plain_caption(one.content)).input_ids
    background = ~masks.any(axis=0).flatten()
    rows = []
    for index, thing in enumerate(one.content.things):
        heat = maps[ids.index(tokenizer.convert_tokens_to_ids(thing.subject + "</w>"))]
        own = masks[index].flatten()
        others = [background, *(m.flatten() for i, m in enumerate(masks) if i != index)]
        right = all(heat[own].mean() > heat[other].mean() for other in others)
        rows.append((float(right), float(own[heat.argmax()]), _iou(heat > heat.max() / 2, own)))
    return rows


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
