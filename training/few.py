"""Batches of the few scenes of a character, for adapters that learn it from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.character import NAME, few_scenes
from training.latents import encode
from training.tokenizer import CaptionEncoder
from training.world import Word, caption, random_content


@dataclass(frozen=True)
class Batch:
    """Latents (n, 4, cells, cells) and token ids (n, length)."""

    latents: Tensor
    ids: Tensor


def few_latents(model: Path) -> Tensor:
    vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
    return encode(vae, np.stack([one.picture for one in few_scenes()]))


def few_batches(
    latents: Tensor, tokens: CaptionEncoder, batch: int, seed: int, name: str = NAME
) -> Iterator[Batch]:
    """The scenes, each time in other words; `name` is what the character is called.

    No caption is left empty, as it would be for a model of everything: the character shall come
    where it is named, and guidance is what leads from the empty caption to it.
    """
    contents = [one.content for one in few_scenes()]
    chance = random.Random(seed)
    while True:
        rows = [chance.randrange(len(contents)) for _ in range(batch)]
        captions = [caption(contents[row], chance) for row in rows]
        yield Batch(latents[rows], _ids(tokens, [_named(words, name) for words in captions]))


def other_captions(tokens: CaptionEncoder, batch: int, seed: int) -> Iterator[Tensor]:
    """Ids (n, length) of captions of the world without the character, some of them empty."""
    chance = random.Random(seed)
    while True:
        yield _ids(
            tokens,
            [
                () if chance.random() < 0.25 else caption(random_content(chance), chance)
                for _ in range(batch)
            ],
        )


def _named(words: tuple[Word, ...], name: str) -> tuple[Word, ...]:
    return tuple(replace(one, text=one.text.replace(NAME, name)) for one in words)


def _ids(tokens: CaptionEncoder, captions: list[tuple[Word, ...]]) -> Tensor:
    return torch.from_numpy(np.stack([tokens(words).ids for words in captions]))
