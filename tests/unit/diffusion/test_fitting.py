"""Pictures of other shapes keep their proportions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core.diffusion.fitting import Fit, fitted, side_by_side


def with_square(size: tuple[int, int]) -> Image.Image:
    """A red square of a third of the shorter side in the middle of blue."""
    image = Image.new("RGB", size, (0, 0, 255))
    side, (x, y) = min(size) / 6, (size[0] / 2, size[1] / 2)
    ImageDraw.Draw(image).rectangle((x - side, y - side, x + side, y + side), fill=(255, 0, 0))
    return image


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", [(192, 64), (64, 192), (96, 96)])
def test_a_square_stays_square(size: tuple[int, int], fit: Fit) -> None:
    found = fitted(with_square(size), (96, 96), fit)
    assert found.image.size == (96, 96)
    red = np.asarray(found.image)[..., 0] > 128
    height, width = red.any(1).sum(), red.any(0).sum()
    assert abs(int(height) - int(width)) <= 2


def test_padding_is_plain_and_is_cut_off_again() -> None:
    found = fitted(with_square((192, 64)), (96, 96), "pad")
    assert found.box == (0, 32, 96, 64)
    assert found.image.getpixel((5, 5)) == (0, 0, 255)
    assert found.unframed(found.image).size == (96, 32)


def test_cropping_fills_the_whole_size() -> None:
    assert fitted(with_square((192, 64)), (96, 96), "crop").box == (0, 0, 96, 96)


def test_pictures_side_by_side_are_in_order() -> None:
    colours = [(255, 0, 0), (0, 255, 0)]
    sheet = side_by_side([Image.new("RGB", (4, 3), colour) for colour in colours])
    assert sheet.size == (10, 3)
    assert [sheet.getpixel((0, 0)), sheet.getpixel((9, 0))] == colours
