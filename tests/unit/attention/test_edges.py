"""Labels of tokens follow the picture's edges when they become labels of pixels."""

from __future__ import annotations

import numpy as np
import torch

from core.attention.edges import guided_filter, labels_in_pixels


def disc(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.asarray((y - 30) ** 2 + (x - 34) ** 2 < 18**2)


def test_a_flat_guide_smooths_and_a_guide_with_the_same_edge_keeps_it() -> None:
    step = np.zeros((16, 16, 1), np.float32)
    step[:, 8:] = 1
    flat = np.zeros((16, 16, 3), np.float32)
    smoothed = guided_filter(flat, step, 3, 1e-3)
    kept = guided_filter(np.repeat(step, 3, axis=2), step, 3, 1e-3)
    assert smoothed[8, 7:9, 0].tolist() != [0, 1]
    np.testing.assert_allclose(kept, step, atol=0.02)


def test_edges_are_nearer_to_the_truth_than_blocks() -> None:
    truth = disc(64)
    picture = np.where(truth[..., None], (220, 60, 40), (40, 90, 200)).astype(np.uint8)
    coarse = truth.reshape(16, 4, 16, 4).mean(axis=(1, 3)) > 0.5
    blocks = coarse.repeat(4, 0).repeat(4, 1)
    found = labels_in_pixels(torch.from_numpy(coarse).long(), picture)
    assert (found != truth).sum() < 0.3 * (blocks != truth).sum()


def test_pictures_that_are_not_square_keep_their_shape() -> None:
    labels = torch.tensor([[0, 1], [2, 2], [2, 3]])
    assert labels_in_pixels(labels, np.zeros((48, 32, 3), np.uint8)).shape == (48, 32)
