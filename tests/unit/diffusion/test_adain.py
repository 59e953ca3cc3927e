"""Statistics inside masks."""

from __future__ import annotations

import torch

from core.diffusion.adain import adain, masked_adain, moments


def test_a_masked_part_takes_the_statistics_of_the_others_part() -> None:
    generator = torch.Generator().manual_seed(0)
    content = torch.randn(4, 8, 8, generator=generator)
    style = 5 + 3 * torch.randn(4, 8, 8, generator=generator)
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    moved = masked_adain(content, style, inside, ~inside)
    assert torch.equal(moved[:, ~inside], content[:, ~inside])
    wanted = moments(style, ~inside)
    for found, expected in zip(moments(moved, inside), wanted, strict=True):
        assert torch.allclose(found, expected, atol=1e-3)


def test_whole_pictures_take_the_statistics_of_whole_pictures() -> None:
    content, style = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    everywhere = torch.ones(8, 8, dtype=torch.bool)
    moved = adain(content, 2 + 7 * style)
    for found, wanted in zip(
        moments(moved, everywhere), moments(2 + 7 * style, everywhere), strict=True
    ):
        assert torch.allclose(found, wanted, atol=1e-3)
