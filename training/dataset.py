"""Scenes drawn once and kept on disk: what the trainers read.

A dataset is a folder of memory-mapped arrays, one row a scene:

    pictures.npy   uint8 (n, size, size, 3)
    masks.npy      uint8 (n, 2, cells, cells), the share of each latent cell a thing covers, of 255
    contents.npy   uint8 (n, 6): subject, colour, subject, colour (NOTHING where there is no second
                   thing), style, background, as indices into the tuples of `world`
    latents.npy    float16 (n, 4, cells, cells), added by `encode`

Captions are not stored: each epoch words the content anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from training.scenes import Scene, scene
from training.world import BACKGROUNDS, COLOUR_NAMES, STYLES, SUBJECTS, Content, Thing

NOTHING = 255
LATENT_FACTOR = 4
DRAWING_CHUNK = 500

# Held-out scenes come from seeds that no training set reaches.
HELD_OUT_SEED = 1_000_000_000


@dataclass(frozen=True)
class Dataset:
    """The arrays of a folder; see the module's docstring."""

    pictures: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    contents: NDArray[np.uint8]
    latents: NDArray[np.float16] | None

    def __len__(self) -> int:
        return len(self.contents)


def draw(folder: Path, count: int, seed: int, size: int, processes: int) -> Iterator[int]:
    """Draws the scenes of seeds `seed` to `seed + count - 1`; yields how many are done."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = size // LATENT_FACTOR
    shapes = {
        "pictures": (count, size, size, 3),
        "masks": (count, 2, cells, cells),
        "contents": (count, 6),
    }
    for name, shape in shapes.items():
        open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape)
    work = partial(_draw_chunk, folder, count, seed, size)
    done = 0
    with ProcessPoolExecutor(processes) as pool:
        for drawn in pool.map(work, range(0, count, DRAWING_CHUNK)):
            done += drawn
            yield done


def load(folder: Path) -> Dataset:
    arrays: dict[str, Any] = {
        path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))
    }
    return Dataset(arrays["pictures"], arrays["masks"], arrays["contents"], arrays.get("latents"))


def _draw_chunk(folder: Path, count: int, seed: int, size: int, start: int) -> int:
    arrays = {
        name: open_memmap(folder / f"{name}.npy", "r+")
        for name in ("pictures", "masks", "contents")
    }
    rows = range(start, min(start + DRAWING_CHUNK, count))
    for row in rows:
        drawn = scene(seed + row, size)
        arrays["pictures"][row] = drawn.picture
        arrays["masks"][row] = cell_masks(drawn, size // LATENT_FACTOR)
        arrays["contents"][row] = pack(drawn.content)
    return len(rows)


def cell_masks(drawn: Scene, cells: int) -> NDArray[np.uint8]:
    """(2, cells, cells): the share of each cell that a thing covers, of 255; 0 for no thing."""
    masks = np.zeros((2, cells, cells), np.uint8)
    side = drawn.masks.shape[-1] // cells
    for index, mask in enumerate(drawn.masks):
        share = mask.reshape(cells, side, cells, side).mean(axis=(1, 3))
        masks[index] = np.round(share * 255)
    return masks


def pack(content: Content) -> list[int]:
    row = [NOTHING] * 4
    for index, thing in enumerate(content.things):
        row[2 * index] = SUBJECTS.index(thing.subject)
        row[2 * index + 1] = COLOUR_NAMES.index(thing.colour)
    return [*row, STYLES.index(content.style), BACKGROUNDS.index(content.background)]


def unpack(row: Iterable[int]) -> Content:
    first, first_colour, second, second_colour, style, background = (int(value) for value in row)
    things = [Thing(SUBJECTS[first], COLOUR_NAMES[first_colour])]
    if second != NOTHING:
        things.append(Thing(SUBJECTS[second], COLOUR_NAMES[second_colour]))
    return Content(tuple(things), STYLES[style], BACKGROUNDS[background])
