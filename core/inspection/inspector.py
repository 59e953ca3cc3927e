"""What the model looked at in the pictures that a job draws, from the very run that draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from core.attention.segments import cluster_tokens
from core.attention.watcher import Watcher, telling_layers
from core.contract.inspection import Inspect
from core.contract.jobs import JobWarning
from core.contract.observed import BACKGROUND_THRESHOLD
from core.contract.pictures import Picture
from core.diffusion.model import DiffusionModel
from core.diffusion.words import token_positions
from core.inspection.heat import heat_maps, without_map
from core.inspection.parts import parts_of
from core.inspection.segments import indexed, overlay

MOST_SIDE = 32
"""Tokens a side, at most, of the self-attention that is cut into segments: the papers' size."""

LATEST_NOISE = 0.6
"""Steps noisier than this know too little of the picture."""

MOST_STEPS = 6
"""Steps that are watched, evenly spread: those between tell nearly the same."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one picture: a row of those that a watcher watches."""

    watcher: Watcher
    place: int


@dataclass(frozen=True)
class Inspector:
    """Watches batches of a job, and shows what it saw of each picture.

    wanted: None is nothing: then nobody watches, and nothing is shown.
    size: width and height of the pictures in pixels.
    times: how noisy each step of the loop is, as `times_of` gives them.
    seed: of the clusters.
    warn: told of a word of `wanted` that has no map.
    """

    model: DiffusionModel
    wanted: Inspect | None
    size: tuple[int, int]
    times: Sequence[float]
    seed: int
    warn: Callable[[JobWarning], None]

    def watcher(self, rows: Sequence[int]) -> Watcher:
        """A watcher of these rows of the UNet batch, which read the pictures' texts."""
        width, height = (side // self.model.latent_factor for side in self.size)
        latent_size = (height, width)
        if self.wanted is None or not rows:
            return Watcher(self.model.unet, latent_size, rows, (), ())
        layers = telling_layers(self.model.unet, latent_size, MOST_SIDE, all_grids=False)
        if self.wanted.segments is None:
            layers = [layer for layer in layers if layer.kind == "attn2"]
        late = [step for step, time in enumerate(self.times) if time <= LATEST_NOISE]
        count = min(MOST_STEPS, len(late))
        steps = [late[len(late) * index // count] for index in range(count)]
        return Watcher(self.model.unet, latent_size, rows, steps or [len(self.times) - 1], layers)

    def shown(
        self,
        seen: Seen,
        stem: str,
        text: str,
        picture: Image.Image,
        box: tuple[int, int, int, int] | None = None,
    ) -> Iterator[Picture]:
        """Heat maps `<stem>-heat-…`, and `<stem>-segments` and `<stem>-overlay` if asked for.

        A word that the text encoder doesn't read has no map. text: that of the picture.
        box: what of the picture is shown, (left, top, right, bottom) in pixels; all by default.
        """
        if self.wanted is None:
            return
        read = seen.watcher.text_map(seen.watcher.grid, seen.place)
        words = self.wanted.words_in(text)
        positions = {word: token_positions(self.model, text, word) for word in words}
        for word in words:
            if not positions[word] and self.wanted.tokens is not None:
                self.warn(without_map(word))
        for made in heat_maps(f"{stem}-heat", picture, read, positions):
            image = made.image if box is None else made.image.crop(box)
            yield Picture(made.stem, made.kind, image, made.metadata | {"of": stem})
        if self.wanted.segments is None:
            return
        own = seen.watcher.self_maps(seen.place)[seen.watcher.grid]
        labels = {
            label: token_positions(self.model, text, label) for label in self.wanted.labels_in(text)
        }
        count = min(self.wanted.segments, len(own))
        segments = cluster_tokens(own, count, seen.watcher.grid, self.seed)
        pixels = np.asarray(picture)
        parts = parts_of(segments, read, labels, BACKGROUND_THRESHOLD, pixels, box)
        about = {"of": stem, "segments": [part.name for part in parts]}
        yield Picture(f"{stem}-segments", "segments", indexed(parts), about, exact=True)
        over = overlay(picture if box is None else picture.crop(box), parts)
        yield Picture(f"{stem}-overlay", "overlay", over, {"of": stem})
