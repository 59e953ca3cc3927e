"""Numbers as pictures for people: heat maps, components as colours, sheets with captions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LEAST_SIDE = 256
"""Pictures for people are enlarged by whole factors to this many pixels at least."""

_CAPTION = 18


def heat_over(image: Image.Image, heat: Tensor) -> Image.Image:
    """A heat map (height, width) of any size over a picture, lowest dark blue, highest yellow.

    It is interpolated bicubic to the picture's size and spans its own range. The colours are
    viridis, which all kinds of colour vision can order; the picture is seen in grey beneath.
    """
    levels = _at_size(heat[None], image.size)[0]
    shown = cv2.applyColorMap(_spanned(levels, 0, 100), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    return Image.fromarray((0.65 * shown + 0.35 * grey).round().astype(np.uint8))


def heat_legend() -> Image.Image:
    """The colours of heat maps from least to most, in words too."""
    levels = np.linspace(0, 255, 160).round().astype(np.uint8)[None].repeat(12, 0)
    bar = Image.fromarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy())
    legend = Image.new("RGB", (250, _CAPTION), "white")
    legend.paste(bar, (44, 3))
    draw, font = ImageDraw.Draw(legend), ImageFont.load_default(13)
    draw.text((2, 1), "least", fill="black", font=font)
    draw.text((210, 1), "most", fill="black", font=font)
    return legend


def principal_components(features: Tensor, count: int) -> Tensor:
    """The first components of features (n, channels), as (n, count), in falling variance.

    Signs are such that the largest entry of each component is positive, so they are the same on
    every run. Fewer than `count` directions are followed by zeros.
    """
    centred = features.double() - features.double().mean(dim=0)
    left, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    found = (left * sizes)[:, :count]
    peaks = found.gather(0, found.abs().argmax(dim=0, keepdim=True))
    found = found * torch.where(peaks < 0, -1.0, 1.0)
    return torch.nn.functional.pad(found, (0, count - found.shape[1])).float()


def as_colours(components: Tensor, size: tuple[int, int]) -> Image.Image:
    """Three maps (height, width, 3) as red, green and blue, each over its own range.

    size: width and height in pixels, to which they are interpolated bicubic. The outer hundredth
    of each range is cut off.
    """
    planes = _at_size(components.permute(2, 0, 1), size)
    return Image.fromarray(np.stack([_spanned(plane, 1, 99) for plane in planes], axis=-1))


def for_people(image: Image.Image) -> Image.Image:
    """The picture enlarged by a whole factor, so that it can be looked at."""
    factor = math.ceil(LEAST_SIDE / min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def captioned(pictures: Sequence[tuple[str, Image.Image]], gap: int = 6) -> Image.Image:
    """Pictures of one size on white, as near to a square as it goes, each with its words below.

    Last, the legend of heat maps.
    """
    shown = [(words, for_people(image)) for words, image in pictures]
    width, height = shown[0][1].size
    columns = math.ceil(math.sqrt(len(shown)))
    rows = math.ceil(len(shown) / columns)
    cell = (width + gap, height + _CAPTION + gap)
    size = columns * cell[0] - gap, rows * cell[1] + _CAPTION
    sheet = Image.new("RGB", size, "white")
    sheet.paste(heat_legend(), (0, rows * cell[1]))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for index, (words, image) in enumerate(shown):
        left, top = index % columns * cell[0], index // columns * cell[1]
        sheet.paste(image, (left, top))
        draw.text((left + 2, top + height + 1), words, fill="black", font=font)
    return sheet


def _at_size(planes: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Planes (n, height, width) as (n, height, width) of a size (width, height)."""
    scaled = torch.nn.functional.interpolate(planes[None].float(), size[::-1], mode="bicubic")
    return np.asarray(scaled[0].cpu().numpy())


def _spanned(plane: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """A plane between two of its percentiles as 0 to 255; a flat one is all 0."""
    least, most = np.percentile(plane, (low, high))
    spread = (plane - least) / max(most - least, 1e-12)
    return np.asarray((spread.clip(0, 1) * 255).round(), np.uint8)
