"""From tokens to pixels along a picture's edges: the guided filter.

Source: He, Sun and Tang, "Guided Image Filtering", ECCV 2010 (TPAMI 2013, section 3.4: a guide in
colour). Of OpenCV only box filters are needed: its own guided filter is in no headless wheel.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

SMOOTHNESS = 1e-3
"""Variance of colours, of 0 to 1, below which the guide counts as flat: eps of the paper."""


def guided_filter(guide: Floats, source: Floats, radius: int, smoothness: float) -> Floats:
    """`source` (height, width, k) with the edges of `guide` (height, width, 3) in 0 to 1.

    Around each pixel, within `radius`, the source is taken for an affine function of the guide's
    colours. Returns the shape of `source`; the time does not depend on the radius.
    """

    def mean(values: Floats) -> Any:
        height, width = values.shape[:2]
        flat = np.ascontiguousarray(values.reshape(height, width, -1), np.float32)
        side = 2 * radius + 1
        planes = [
            cv2.boxFilter(flat[..., k], -1, (side, side), borderType=cv2.BORDER_REFLECT)
            for k in range(flat.shape[2])
        ]
        return np.stack(planes, axis=-1).reshape(values.shape)

    colour, value = mean(guide), mean(source)
    spread = mean(guide[..., :, None] * guide[..., None, :])  # (height, width, 3, 3)
    spread = spread - colour[..., :, None] * colour[..., None, :] + smoothness * np.eye(3)
    shared = (
        mean(guide[..., :, None] * source[..., None, :])
        - colour[..., :, None] * value[..., None, :]
    )
    slope = np.linalg.solve(spread, shared)  # (height, width, 3, k)
    offset = value - (colour[..., None, :] @ slope)[..., 0, :]
    filtered = (guide[..., None, :] @ mean(slope))[..., 0, :] + mean(offset)
    return np.asarray(filtered, np.float32)


def labels_in_pixels(labels: Tensor, picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The label of each pixel of an RGB picture (height, width, 3), along its edges.

    labels: int64, one a token, (grid height, grid width). Each label's share of a pixel is
    interpolated, filtered with the picture as its guide, and the largest is taken.
    """
    height, width = picture.shape[:2]
    shares = torch.nn.functional.one_hot(labels).permute(2, 0, 1)[None].float()
    smooth = torch.nn.functional.interpolate(shares, (height, width), mode="bilinear")
    cell = max(1, round(max(height / labels.shape[0], width / labels.shape[1])))
    guide = np.asarray(picture / 255, np.float32)
    kept = guided_filter(guide, smooth[0].permute(1, 2, 0).numpy(), cell, SMOOTHNESS)
    return np.asarray(kept.argmax(axis=-1))
