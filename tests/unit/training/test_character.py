"""The snail, and the ways in which a model learns it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from training.character import FEW, NAME, character_scene, few_scenes, snail
from training.distributed import CPU
from training.few import few_batches, other_captions
from training.frozen import load_frozen
from training.judge import Judge, JudgeNetwork
from training.lora import LoraOptions, add_lora, change_elsewhere, train_lora
from training.probe import Probe
from training.scenes import scene
from training.shapes import SHAPES
from training.word import (
    WORD,
    WordOptions,
    add_word,
    load_word,
    shorten,
    train_word,
)
from training.world import STYLES, SUBJECTS, VOCABULARY

MODEL = Path(__file__).parents[3] / "models" / "tiny-world"


@pytest.fixture
def pipeline() -> Any:
    return StableDiffusionPipeline.from_pretrained(MODEL)


def test_the_world_does_not_know_the_snail() -> None:
    assert NAME not in (*SUBJECTS, *SHAPES, *VOCABULARY)
    assert np.array_equal(scene(7).picture, scene(7, shapes={**SHAPES, NAME: snail}).picture)


def test_the_few_scenes_show_it_in_every_style() -> None:
    scenes = few_scenes()
    assert len(scenes) == FEW
    assert {one.content.style for one in scenes} == set(STYLES)
    assert all(one.masks[0].mean() > 0.1 for one in scenes)
    assert all(NAME in one.caption for one in scenes)


def test_its_shell_is_in_the_bodys_colour() -> None:
    one = character_scene(1, content=few_scenes()[0].content)
    red = (one.picture[..., 0] > 180) & (one.picture[..., 1:] < 80).all(axis=-1)
    assert red[one.masks[0]].mean() > 0.2
    assert not red[~one.masks[0]].any()


def test_batches_name_the_character_by_its_word() -> None:
    tokens = load_frozen(MODEL, CPU).tokens
    tokens.tokenizer.add_tokens([WORD])
    batch = next(few_batches(torch.zeros(FEW, 4, 16, 16), tokens, batch=4, seed=0, name=WORD))
    word = tokens.tokenizer.convert_tokens_to_ids(WORD)
    assert (batch.ids == word).any(dim=1).all()
    assert not (next(other_captions(tokens, 20, 0)) == word).any()


def test_an_untrained_addition_changes_nothing() -> None:
    frozen = load_frozen(MODEL, CPU)
    added = add_lora(frozen, LoraOptions(rank=2))
    ids = next(other_captions(frozen.tokens, 2, 0))
    latents = torch.randn(2, 4, 16, 16)
    assert change_elsewhere(frozen, latents, ids) == 0
    with torch.no_grad():
        for parameter in added:
            parameter.add_(0.1)
    assert change_elsewhere(frozen, latents, ids) > 0


def test_training_writes_a_lora_that_the_pipeline_loads(pipeline: Any, tmp_path: Path) -> None:
    train_lora(LoraOptions(rank=2, steps=2, batch=2, kept=1), MODEL, tmp_path)
    pipeline.load_lora_weights(tmp_path)
    assert len(pipeline.get_active_adapters()) == 1


def test_a_lora_is_saved_at_its_strength(tmp_path: Path) -> None:
    options = LoraOptions(rank=2, steps=2, batch=2, kept=1)
    for name, strength in (("whole", 1.0), ("half", 0.5)):
        train_lora(replace(options, strength=strength), MODEL, tmp_path / name)
    whole, half = (
        load_file(tmp_path / name / "pytorch_lora_weights.safetensors")
        for name in ("whole", "half")
    )
    for name, value in whole.items():
        share = 0.5 if name.endswith("lora.up.weight") else 1
        assert torch.allclose(half[name].float(), value.float() * share, atol=1e-6)


def test_training_writes_a_word_that_the_pipeline_reads(pipeline: Any, tmp_path: Path) -> None:
    file = tmp_path / "learned_embeds.safetensors"
    train_word(WordOptions(vectors=2, steps=2, batch=2), MODEL, file)
    load_word(pipeline, file)
    tokenizer = pipeline.tokenizer
    said = tokenizer.tokenize(pipeline.maybe_convert_prompt(f"a {WORD}", tokenizer))
    assert said == ["a</w>", WORD, f"{WORD}_1"]
    table = pipeline.text_encoder.get_input_embeddings().weight
    learnt = table[tokenizer.convert_tokens_to_ids([WORD, f"{WORD}_1"])]
    assert torch.allclose(learnt, load_file(file)[WORD].float(), atol=1e-3)


def test_no_word_but_the_new_one_learns() -> None:
    frozen = load_frozen(MODEL, CPU)
    first = frozen.tokens.vocabulary_size
    table = add_word(frozen, WordOptions(vectors=2))
    ids = torch.tensor([[first, first + 1, 5, 6]])
    frozen.text_encoder(ids).last_hidden_state.square().sum().backward()
    assert table.grad is not None
    assert table.grad[first:].any(dim=1).all()
    assert not table.grad[:first].any()


def test_only_what_is_too_long_is_shortened() -> None:
    table = torch.eye(3) * torch.tensor([5.0, 4.0, 0.5])
    shorten(table, first=1, longest=2.0)
    assert table.norm(dim=1).tolist() == [5.0, 2.0, 0.5]


def test_a_probe_reads_the_judges_features() -> None:
    judge = Judge(JudgeNetwork((8, 16)).eval())
    probe = Probe(judge, torch.zeros(2 * (8 + 16)), torch.tensor(2.0))
    shown = probe.shows(torch.rand(5, 3, 64, 64))
    assert torch.allclose(shown, torch.tensor(2.0).sigmoid().expand(5))
