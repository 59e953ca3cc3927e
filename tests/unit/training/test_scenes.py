"""Scenes: what the built-in model learns from."""

from __future__ import annotations

import numpy as np
import pytest

from training.scenes import scene
from training.world import BACKGROUNDS, STYLES, SUBJECTS, Content, Thing


def test_a_seed_always_draws_the_same_scene() -> None:
    first, second = scene(7), scene(7)
    assert first.caption == second.caption
    assert np.array_equal(first.picture, second.picture)
    assert np.array_equal(first.masks, second.masks)


def test_another_seed_draws_another_scene() -> None:
    assert not np.array_equal(scene(7).picture, scene(8).picture)


def test_two_things_never_share_a_pixel() -> None:
    pairs = [one for one in map(scene, range(80)) if len(one.masks) == 2]
    assert pairs
    assert not any((one.masks[0] & one.masks[1]).any() for one in pairs)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_mask_covers_all_that_the_subject_changes(subject: str) -> None:
    """The same scene in another body colour differs only inside the mask."""
    red = scene(3, content=Content((Thing(subject, "red"),), "flat", "grass"))
    blue = scene(3, content=Content((Thing(subject, "blue"),), "flat", "grass"))
    assert np.array_equal(red.masks, blue.masks)
    changed = np.abs(red.picture.astype(int) - blue.picture).max(axis=2) > 128
    assert changed.any()
    assert red.masks[0][changed].all()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_lone_subject_is_large_in_the_picture(subject: str) -> None:
    content = Content((Thing(subject, "red"),), "flat", "plain")
    rows, columns = np.nonzero(scene(5, content=content).masks[0])
    extent = max(rows.max() - rows.min(), columns.max() - columns.min()) + 1
    assert extent > 0.6 * 64


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [64, 128])
def test_every_style_draws_at_every_size(style: str, size: int) -> None:
    one = scene(2, size, Content((Thing("cat", "red"), Thing("boat", "blue")), style, "sea"))
    assert one.picture.shape == (size, size, 3)
    assert one.masks.shape == (2, size, size)
    assert one.masks.any(axis=(1, 2)).all()


def test_a_larger_scene_is_the_same_scene() -> None:
    content = Content((Thing("horse", "purple"),), "flat", "snow")
    small, large = scene(4, 64, content), scene(4, 128, content)
    reduced = large.picture.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3))
    assert np.abs(reduced - small.picture).mean() < 4


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_fills_the_picture(background: str) -> None:
    """The canvas is black where nothing is drawn, and no background is."""
    content = Content((Thing("cat", "yellow"),), "flat", background)
    one = scene(6, content=content)
    assert (one.picture.max(axis=2) > 0)[~one.masks[0]].all()
