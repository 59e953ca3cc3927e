"""ControlNet: a picture of edges or depths that says what goes where.

Source: Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models",
ICCV 2023, arXiv 2302.05543.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Control:
    """A ControlNet and what it is shown for each picture of a batch.

    images: (pictures, 3, height, width) in pixels, 0 to 1. scale: factor of what it adds.
    active: the steps in which it acts. prompted: it reads each picture's text; otherwise the
    negative text in both halves, as in StyleAligned's published code.
    """

    network: Any
    images: Tensor
    scale: float
    active: range
    prompted: bool = True

    def residuals(
        self, batch: Tensor, timestep: Tensor, text: Tensor, added: dict[str, Any] | None
    ) -> dict[str, Any]:
        """What the UNet is to add, as its keyword arguments.

        batch: (halves x pictures, channels, h, w) latents; text: a row for each. added: what
        SDXL is told beside them.
        """
        halves = len(batch) // len(self.images)
        if not self.prompted:
            text = text[: len(self.images)].repeat(halves, 1, 1)
            if added is not None:
                pooled = added["text_embeds"][: len(self.images)]
                added = added | {"text_embeds": pooled.repeat(halves, 1)}
        down, middle = self.network(
            batch,
            timestep,
            encoder_hidden_states=text,
            controlnet_cond=self.images.repeat(halves, 1, 1, 1),
            conditioning_scale=self.scale,
            added_cond_kwargs=added,
            return_dict=False,
        )
        return {
            "down_block_additional_residuals": down,
            "mid_block_additional_residual": middle,
        }


def control_pixels(images: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size as a ControlNet sees them, (pictures, 3, height, width), 0 to 1."""
    levels = [torch.from_numpy(np.array(image.convert("RGB"), np.float32)) for image in images]
    return torch.stack(levels).permute(0, 3, 1, 2) / 255


def active_steps(steps: int, start: float, end: float) -> range:
    """The steps that lie wholly between two fractions of all, as diffusers counts them."""
    acting = [i for i in range(steps) if i / steps >= start and (i + 1) / steps <= end]
    return range(acting[0], acting[-1] + 1) if acting else range(0)


def edges(image: Image.Image) -> Image.Image:
    """White edges on black, RGB, by OpenCV's Canny with the thresholds ControlNets learnt from."""
    import cv2

    found = cv2.Canny(np.asarray(image.convert("RGB")), 100, 200)
    return Image.fromarray(found).convert("RGB")


def depths(model: DiffusionModel, image: Image.Image) -> Image.Image:
    """The depths of a picture, the nearer the brighter, RGB, of its size.

    By the depth model of the configuration. Raises ModelUnavailable.
    """
    found = model.depth_estimator()(image)["depth"]
    return found.resize(image.size, Image.Resampling.BICUBIC).convert("RGB")  # type: ignore[no-any-return]
