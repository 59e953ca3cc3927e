"""A small but real CLIP tokenizer: byte-pair encoding in which each word of the world is one token.

Other words fall apart into the byte alphabet, so any prompt can be read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from training.world import VOCABULARY, Word

TEXT_LENGTH = 16
START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"

NOWHERE = -2
"""In `Tokens.things`: a token that names nothing in the picture."""


@dataclass(frozen=True)
class Tokens:
    """A caption as the text encoder reads it.

    ids: int64 (TEXT_LENGTH,), padded with the end token as in SD.
    things: int64 (TEXT_LENGTH,); the thing that each token names (`Word.thing`), or NOWHERE.
    """

    ids: NDArray[np.int64]
    things: NDArray[np.int64]


def save_tokenizer(folder: Path) -> None:
    """Writes vocab.json, merges.txt and their configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = _byte_alphabet()
    merges = word_merges(VOCABULARY)
    entries = [*alphabet, *(c + END_OF_WORD for c in alphabet), *("".join(m) for m in merges)]
    entries += [START, END]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TEXT_LENGTH,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def word_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Merges that make each word one token: the first two symbols first, word after word.

    A later merge has the lower priority, so it cannot break up an earlier word.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        symbols = _apply([*word[:-1], word[-1] + END_OF_WORD], merges)
        while len(symbols) > 1:
            merges.append((symbols[0], symbols[1]))
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
    return merges


def _apply(symbols: list[str], merges: Sequence[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding: the pair of the highest priority first, until none applies."""
    rank = {merge: index for index, merge in enumerate(merges)}
    while True:
        pairs = [(rank[p], i) for i, p in enumerate(pairwise(symbols)) if p in rank]
        if not pairs:
            return symbols
        _, at = min(pairs)
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, as CLIP uses them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(others))]


class CaptionEncoder:
    """Turns worded captions into token ids, keeping what each token names."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = CLIPTokenizer.from_pretrained(folder)
        self._word_ids = lru_cache(maxsize=4096)(self._tokenised)

    @property
    def vocabulary_size(self) -> int:
        return len(self.tokenizer)

    def __call__(self, words: Sequence[Word]) -> Tokens:
        """The tokens of a caption; no words make the unconditional prompt."""
        ids, things = [self.tokenizer.bos_token_id], [NOWHERE]
        for word in words:
            pieces = self._word_ids(word.text)
            ids += pieces
            things += [NOWHERE if word.thing is None else word.thing] * len(pieces)
        ids, things = ids[: TEXT_LENGTH - 1], things[: TEXT_LENGTH - 1]
        padding = TEXT_LENGTH - len(ids)
        return Tokens(
            np.array(ids + [self.tokenizer.eos_token_id] * padding, np.int64),
            np.array(things + [NOWHERE] * padding, np.int64),
        )

    def _tokenised(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)
