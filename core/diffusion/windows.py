"""MultiDiffusion: a picture larger than the model's, denoised window by window.

Source: Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image
Generation", ICML 2023, arXiv 2302.08113, equations 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.diffusion.denoise import Predictor


@dataclass(frozen=True)
class Window:
    """A rectangle of a panorama's latents. One that passes the right edge goes on at the left."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, panorama: Tensor) -> Tensor:
        """Its part of `panorama` (…, h, w)."""
        columns = self._columns(panorama)
        return panorama[..., self.top : self.top + self.height, :].index_select(-1, columns)

    def add(self, panorama: Tensor, part: Tensor | float) -> None:
        """Add `part` to its part of `panorama`, in place."""
        rows = panorama[..., self.top : self.top + self.height, :]
        columns = self._columns(panorama)
        rows[..., columns] += part

    def _columns(self, panorama: Tensor) -> Tensor:
        columns = torch.arange(self.left, self.left + self.width, device=panorama.device)
        return columns % panorama.shape[-1]


def windows_over(
    size: tuple[int, int], window: tuple[int, int], stride: int, *, circular: bool = False
) -> list[Window]:
    """Windows that cover all of a panorama, row by row.

    size, window: height and width in latents. Where the stride doesn't come out, a last
    window lies at the very edge, so no column is left out (in the authors' code they are).
    circular: go round, the right edge joined to the left. Raises ValueError for a panorama
    smaller than its window.
    """
    (height, width), (window_height, window_width) = size, window
    if height < window_height or width < window_width:
        raise ValueError(f"a panorama of {size} is smaller than its window of {window}")
    lefts = list(range(0, width, stride)) if circular else _starts(width, window_width, stride)
    return [
        Window(top, left, window_height, window_width)
        for top in _starts(height, window_height, stride)
        for left in lefts
    ]


def _starts(length: int, window: int, stride: int) -> list[int]:
    return [*range(0, length - window, stride), length - window]


def multi_diffusion(
    windows: Sequence[Window],
    per_batch: int,
    predict_windows: Callable[[int, int, Tensor, Tensor], Tensor],
) -> Predictor:
    """Predict a panorama (1, channels, h, w) as the mean of its windows' predictions.

    predict_windows: called with the index of a batch of windows, the step, the timestep and
    the windows' latents (windows, channels, h, w). DDIM's step is linear, so the step of the
    mean prediction is the mean of the windows' steps, as in the paper.
    """
    batches = [windows[start : start + per_batch] for start in range(0, len(windows), per_batch)]

    def predictor(step: int, timestep: Tensor, latents: Tensor) -> Tensor:
        total = torch.zeros_like(latents, dtype=torch.float32)
        count = torch.zeros_like(total[:, :1])
        for index, batch in enumerate(batches):
            crops = torch.cat([window.crop(latents) for window in batch])
            predicted = predict_windows(index, step, timestep, crops)
            for window, part in zip(batch, predicted, strict=True):
                window.add(total, part)
                window.add(count, 1.0)
        return (total / count.clamp_min(1)).to(latents.dtype)

    return predictor
