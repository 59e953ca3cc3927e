"""The judge: its files, its answers, and what it is taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.clock import trapezoid
from training.dataset import pack
from training.judge import JudgeNetwork, JudgeOptions, load_judge, save_judge
from training.judging import targets
from training.regions import oracle_iou
from training.world import COLOUR_NAMES, STYLES, SUBJECTS, Content, Thing

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_saved_judge_answers_as_before(tmp_path: Path) -> None:
    options = JudgeOptions(channels=(8, 16))
    torch.manual_seed(0)
    network = JudgeNetwork(options.channels).eval()
    save_judge(network, options, tmp_path)
    judge = load_judge(tmp_path)
    expected = network(IMAGES)[0].sigmoid()
    assert torch.allclose(judge.subjects(IMAGES), expected, atol=1e-2)


def test_a_judge_names_what_its_probabilities_are_of(tmp_path: Path) -> None:
    options = JudgeOptions(channels=(8, 16))
    save_judge(JudgeNetwork(options.channels), options, tmp_path)
    judge = load_judge(tmp_path)
    assert judge.subjects(IMAGES).shape == (3, len(judge.subject_names))
    assert judge.styles(IMAGES).shape == (3, len(judge.style_names))
    assert judge.colours(IMAGES).shape == (3, len(judge.subject_names), len(judge.colour_names))
    assert torch.allclose(judge.styles(IMAGES).sum(dim=1), torch.ones(3))
    assert [tuple(f.shape) for f in judge.features(IMAGES)] == [(3, 8, 32, 32), (3, 16, 16, 16)]


def test_the_judge_is_taught_each_things_own_colour() -> None:
    content = Content((Thing("cat", "red"), Thing("boat", "pink")), "neon", "sea")
    present, style, colours = targets(np.array([pack(content)], np.uint8))
    assert {SUBJECTS[i] for i in present[0].nonzero().flatten()} == {"cat", "boat"}
    assert STYLES[int(style)] == "neon"
    assert colours[0, SUBJECTS.index("boat")] == COLOUR_NAMES.index("pink")
    assert colours[0, SUBJECTS.index("fish")] == -100


def test_a_blueprint_teaches_no_colour() -> None:
    content = Content((Thing("cat", "red"),), "blueprint", "plain")
    assert (targets(np.array([pack(content)], np.uint8))[2] == -100).all()


def test_clusters_that_follow_a_thing_cover_it() -> None:
    thing = np.zeros((16, 16), bool)
    thing[4:12, 4:12] = True
    chance = np.random.default_rng(0)
    telling = thing.reshape(-1, 1) + 0.01 * chance.normal(size=(256, 2))
    silent = chance.normal(size=(256, 2))
    assert oracle_iou(telling.astype(np.float32), thing) == 1
    assert oracle_iou(silent.astype(np.float32), thing) < 0.5


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    assert trapezoid(0.0, step=0, warm_up=100) == 0.01
    assert trapezoid(0.5, step=1000, warm_up=100, cool_down=0.3) == 1
    assert 0 < trapezoid(0.9, step=1000, cool_down=0.3) < 1
    assert trapezoid(1.0, step=1000) == 0
