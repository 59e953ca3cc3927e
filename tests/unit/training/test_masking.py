"""The masker: its files, its answers, and what it is taught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from training.dataset import draw
from training.masker import Masker, MaskerNetwork, MaskerOptions, load_masker, save_masker
from training.masking import MaskerTraining, foreground_iou, masker_loss, train_masker

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
VAE = Path(__file__).parents[3] / "models" / "tiny-world" / "vae"
TINY = MaskerOptions(channels=(8, 8, 16))


def test_a_saved_masker_answers_as_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MaskerNetwork(TINY.channels).eval()
    save_masker(network, TINY, tmp_path)
    expected = network(IMAGES).sigmoid()
    assert torch.allclose(load_masker(tmp_path).foreground(IMAGES), expected, atol=1e-2)


def test_a_masker_gives_a_probability_for_each_pixel() -> None:
    foreground = Masker(MaskerNetwork(TINY.channels).eval()).foreground(IMAGES)
    assert foreground.shape == (3, 64, 64)
    assert ((foreground >= 0) & (foreground <= 1)).all()


def test_the_loss_falls_to_nothing_at_the_exact_mask() -> None:
    masks = (IMAGES[:, 0] > 0.5).float()
    sure, unsure, wrong = (masker_loss(k * (2 * masks - 1), masks) for k in (20.0, 0.0, -20.0))
    assert sure < 1e-3 < unsure < wrong


class BrightIsForeground(MaskerNetwork):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0] * 20 - 10


def test_the_overlap_is_counted_a_picture() -> None:
    images = torch.zeros(2, 3, 8, 8)
    images[:, :, :4] = 1
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4] = True
    masks[1, 2:6] = True
    masker = Masker(BrightIsForeground(TINY.channels))
    assert np.allclose(foreground_iou(masker, images, masks), [1, 2 / 6])


def test_training_writes_a_masker(tmp_path: Path) -> None:
    list(draw(tmp_path / "scenes", count=8, seed=0, size=64, processes=1))
    np.save(tmp_path / "scenes" / "latents.npy", np.zeros((8, 4, 16, 16), np.float16))
    options = MaskerTraining(minutes=0.01, batch=4, scenes=8)
    train_masker(options, tmp_path / "scenes", VAE, tmp_path / "masker")
    assert load_masker(tmp_path / "masker").foreground(IMAGES).isfinite().all()
