"""Canny edges of the scenes: what the ControlNet is shown beside the words.

`draw_edges` keeps them in a folder as bits, one row a scene of the dataset:

    edges.npy   uint8 (n, 2, size, size / 8): of the scene drawn flat, and in one style by chance
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from training.dataset import DRAWING_CHUNK
from training.scenes import Scene, scene
from training.world import STYLES

# The thresholds that ControlNets for edges are usually trained and used with.
LOW, HIGH = 100, 200


def canny(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The edges (h, w) of an RGB picture (h, w, 3)."""
    return np.asarray(cv2.Canny(np.ascontiguousarray(picture), LOW, HIGH)) > 0


def to_hint(edges: NDArray[np.bool_]) -> Tensor:
    """Edges (n, h, w) as a ControlNet takes them: float (n, 3, h, w), white on black."""
    return torch.from_numpy(edges).float()[:, None].repeat(1, 3, 1, 1)


def restyled(seed: int, style: str, size: int = 64) -> Scene:
    """The scene of a seed in another style: the style is drawn last, so the pose is the same."""
    return scene(seed, size, replace(scene(seed, size).content, style=style))


def draw_edges(folder: Path, count: int, seed: int, size: int, processes: int) -> Iterator[int]:
    """The edges of the scenes of seeds `seed` to `seed + count - 1`; yields how many are done."""
    folder.mkdir(parents=True, exist_ok=True)
    open_memmap(folder / "edges.npy", "w+", np.uint8, (count, 2, size, size // 8))
    work = partial(_draw_chunk, folder, count, seed, size)
    done = 0
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for drawn in pool.map(work, range(0, count, DRAWING_CHUNK)):
            done += drawn
            yield done


def load_edges(folder: Path) -> NDArray[np.uint8]:
    edges: NDArray[np.uint8] = np.load(folder / "edges.npy", mmap_mode="r")
    return edges


def _draw_chunk(folder: Path, count: int, seed: int, size: int, start: int) -> int:
    edges = open_memmap(folder / "edges.npy", "r+")
    rows = range(start, min(start + DRAWING_CHUNK, count))
    for row in rows:
        by_chance = random.Random(f"edges {seed + row}").choice(STYLES)
        for index, style in enumerate(("flat", by_chance)):
            picture = restyled(seed + row, style, size).picture
            edges[row, index] = np.packbits(canny(picture), axis=-1)
    return len(rows)
