"""Teaches the model a character as a new word (textual inversion, Gal et al., 2022, arXiv
2208.01618): the word's vectors alone are trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from training.character import NAME
from training.clock import trapezoid
from training.distributed import Worker
from training.few import few_batches, few_latents
from training.frozen import Frozen, load_frozen
from training.noise import noised

WORD = f"<{NAME}>"
REPORT_EVERY = 25


@dataclass(frozen=True)
class WordOptions:
    """vectors: how many tokens the word stands for. like: the word whose meaning it starts with.
    lowest: the timestep from which on it is trained; below it, where shapes are settled, the word
    would learn the look of dark lines and carry it into every style."""

    vectors: int = 1
    like: str = "fish"
    steps: int = 250
    batch: int = 12
    lowest: int = 500
    learning_rate: float = 5e-3
    seed: int = 0


def train_word(options: WordOptions, model: Path, file: Path) -> None:
    """On the few scenes alone; `pipeline.load_textual_inversion(file)` loads what it writes."""
    torch.manual_seed(options.seed)
    worker = Worker()
    frozen = load_frozen(model, worker.device)
    vocabulary = frozen.tokens.vocabulary_size
    table = add_word(frozen, options)
    longest = table.detach()[vocabulary:].norm(dim=1).mean().item()
    optimizer = torch.optim.AdamW([table], weight_decay=0)
    names = " ".join(_tokens(options.vectors))
    latents = few_latents(model)
    batches = few_batches(latents, frozen.tokens, options.batch, options.seed, names)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            rate = trapezoid(step / options.steps, step, warm_up=20, cool_down=0.6)
            group["lr"] = options.learning_rate * rate
        batch = next(batches)
        noisy = noised(batch.latents, options.lowest)
        with worker.autocast():
            text = frozen.text_encoder(batch.ids).last_hidden_state
            predicted = frozen.unet(noisy.latents, noisy.timesteps, text).sample
        loss = noisy.error(predicted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        shorten(table, vocabulary, longest)
        if step % REPORT_EVERY == 0:
            print(f"word step {step} loss {loss.item():.4f}", flush=True)
    save_word(table.detach()[vocabulary:], file)


def add_word(frozen: Frozen, options: WordOptions) -> torch.nn.Parameter:
    """Makes the tokens of the word; in the table of embeddings that it returns, they alone learn.

    They start as the other word, a little apart from each other.
    """
    tokenizer = frozen.tokens.tokenizer
    first, like = len(tokenizer), tokenizer.convert_tokens_to_ids(options.like + "</w>")
    tokenizer.add_tokens(_tokens(options.vectors))
    frozen.text_encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table: torch.nn.Parameter = frozen.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        start = table[like]
        table[first:] = start + 0.1 * start.std() * torch.randn_like(table[first:])
    learning = torch.zeros(len(table), 1)
    learning[first:] = 1
    table.requires_grad_(True)
    table.register_hook(lambda gradient: gradient * learning)  # type: ignore[no-untyped-call]
    return table


@torch.no_grad()
def shorten(table: Tensor, first: int, longest: float) -> None:
    """Rows from `first` on are made no longer than words are: longer ones drown out the style."""
    table[first:] *= (longest / table[first:].norm(dim=1, keepdim=True)).clamp_max(1)


def save_word(vectors: Tensor, file: Path) -> None:
    """In the format of diffusers, (vectors, width) under the word."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({WORD: vectors.half().contiguous()}, file)


def _tokens(vectors: int) -> list[str]:
    """As diffusers names the tokens of a word with several vectors."""
    return [WORD, *(f"{WORD}_{index}" for index in range(1, vectors))]


def load_word(pipeline: Any, file: Path) -> None:
    pipeline.load_textual_inversion(file, token=WORD)
