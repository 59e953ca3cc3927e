"""Windows over a panorama, and the mean of what is predicted in them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.diffusion.windows import Window, multi_diffusion, windows_over


@given(st.integers(8, 40), st.integers(8, 70), st.integers(1, 8), st.integers(1, 8), st.booleans())
def test_windows_cover_every_column_and_stay_inside(
    height: int, width: int, window: int, stride: int, circular: bool
) -> None:
    stride = min(stride, window)
    counts = torch.zeros(height, width)
    for found in windows_over((height, width), (window, window), stride, circular=circular):
        assert 0 <= found.top <= height - window
        assert circular or 0 <= found.left <= width - window
        found.add(counts, 1.0)
    assert counts.min() >= 1


def test_the_last_window_lies_at_the_very_edge() -> None:
    lefts = [w.left for w in windows_over((16, 37), (16, 16), 8)]
    assert lefts == [0, 8, 16, 21]


def test_a_window_past_the_right_edge_goes_on_at_the_left() -> None:
    panorama = torch.arange(10.0).expand(1, 1, 4, 10)
    assert Window(0, 8, 4, 4).crop(panorama)[0, 0, 0].tolist() == [8, 9, 0, 1]


def test_a_panorama_smaller_than_its_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="smaller than its window"):
        windows_over((16, 8), (16, 16), 8)


@pytest.mark.parametrize("per_batch", [1, 2, 100])
def test_overlaps_are_the_mean_of_their_windows_however_they_are_batched(per_batch: int) -> None:
    windows = windows_over((4, 10), (4, 4), 3)
    seen: list[int] = []

    def predict(batch: int, step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        seen.append(len(latents))
        return torch.stack(
            [torch.full((3, 4, 4), w.left) for w in windows[batch * per_batch :][: len(latents)]]
        ).float()

    mean = multi_diffusion(windows, per_batch, predict)(
        0, torch.tensor(0), torch.zeros(1, 3, 4, 10)
    )
    assert mean[0, 0, 0].tolist() == [0, 0, 0, 1.5, 3, 3, 4.5, 6, 6, 6]
    assert max(seen) <= per_batch
