"""Edges, and the ControlNet that learns to follow them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel

from training.control import ControlOptions, build_control, shortened, train_control
from training.dataset import draw
from training.distributed import CPU, Worker
from training.edges import canny, draw_edges, load_edges, restyled, to_hint
from training.frozen import load_frozen
from training.scenes import scene
from training.world import STYLES, Word

MODEL = Path(__file__).parents[3] / "models" / "tiny-world"


@pytest.mark.parametrize("style", STYLES)
def test_another_style_keeps_the_pose(style: str) -> None:
    for seed in (3, 4, 5):
        assert np.array_equal(restyled(seed, style).masks, scene(seed).masks)
        assert restyled(seed, style).content.style == style


def test_edges_run_along_a_things_outline_and_nowhere_else() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[16:48, 16:48] = 255
    rows, columns = canny(picture).nonzero()
    inset = np.minimum(np.minimum(rows, 63 - rows), np.minimum(columns, 63 - columns))
    assert len(rows) > 100
    assert (abs(inset - 16) <= 1).all()


def test_a_hint_is_white_on_black() -> None:
    edges = canny(restyled(3, "flat").picture)
    hint = to_hint(edges[None])
    assert hint.shape == (1, 3, 64, 64)
    assert set(hint.flatten().tolist()) == {0.0, 1.0}
    assert np.array_equal(hint[0, 0].numpy() > 0, edges)


def test_kept_edges_are_those_of_the_scene_drawn_flat(tmp_path: Path) -> None:
    list(draw_edges(tmp_path, count=3, seed=7, size=64, processes=1))
    kept = np.unpackbits(load_edges(tmp_path), axis=-1)
    assert kept.shape == (3, 2, 64, 64)
    for row in range(3):
        assert np.array_equal(kept[row, 0] > 0, canny(restyled(7 + row, "flat").picture))


def test_captions_are_whole_cut_off_or_empty() -> None:
    words = tuple(Word(text) for text in ["a", "red", "cat", "on", "grass"])
    rng = random.Random(0)
    seen = [shortened(words, ControlOptions(), rng) for _ in range(400)]
    assert all(tuple(one) == words[: len(one)] for one in seen)
    assert 20 < sum(not one for one in seen) < 70
    assert sum(len(one) == len(words) for one in seen) > 250


def test_an_untrained_control_changes_nothing_and_takes_whole_pictures() -> None:
    frozen = load_frozen(MODEL, CPU)
    control = build_control(frozen.unet, (4, 4, 8))
    latents, text = torch.randn(1, 4, 16, 16), torch.randn(1, 16, 128)
    residuals, middle = control(latents, 10, text, torch.rand(1, 3, 64, 64), return_dict=False)
    assert not any(residual.any() for residual in (*residuals, middle))


def test_training_writes_a_control_net_that_answers_the_edges(tmp_path: Path) -> None:
    list(draw(tmp_path / "scenes", count=4, seed=0, size=64, processes=1))
    latents = np.random.default_rng(0).normal(size=(4, 4, 16, 16)).astype(np.float16)
    np.save(tmp_path / "scenes" / "latents.npy", latents)
    list(draw_edges(tmp_path / "edges", count=4, seed=0, size=64, processes=1))
    options = ControlOptions(hint_channels=(4, 4, 8), minutes=60, batch=2, steps=3)
    folders = (tmp_path / "scenes", tmp_path / "edges", MODEL, tmp_path / "control")
    train_control(Worker(), options, *folders)
    control = ControlNetModel.from_pretrained(tmp_path / "control")
    sample, text = torch.randn(1, 4, 16, 16), torch.randn(1, 16, 128)
    hints = (torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64))
    dark, light = (control(sample, 10, text, hint, return_dict=False)[1] for hint in hints)
    assert dark.any()
    assert not torch.equal(dark, light)
