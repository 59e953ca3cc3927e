"""Panoramas: any width on the grid, window by window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.algorithms.style_aligned.panorama import memberships, window_texts
from core.contract.errors import InvalidRequest
from core.contract.models import Family
from core.contract.panorama import Panorama
from core.contract.requests import Sampling
from core.diffusion.model import DiffusionModel
from core.diffusion.windows import windows_over
from tests.tiny_models import spec_of
from tests.unit.algorithms.drawing import by_stem, draw, far

TWO: list[dict[str, Any]] = [{"prompt": "a boat"}, {"prompt": "a cat"}]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("width", [64, 112, 128])
def test_any_width_on_the_grid_is_drawn_to_its_last_column(
    family: Family, width: int, models: dict[Family, DiffusionModel]
) -> None:
    drawn = draw(models[family], prompts=["a hill"], panorama={"width": width, "stride": 40})
    assert [(p.stem, p.image.size) for p in drawn] == [
        ("reference", (64, 64)),
        ("image-000", (width, 64)),
        ("grid", drawn[-1].image.size),
    ]
    last = np.asarray(drawn[1].image)[:, -16:]
    assert last.std() > 0


def test_a_panorama_of_one_window_is_the_picture(sd1: DiffusionModel) -> None:
    body = {"prompts": ["a hill"], "reference": TWO[0]}
    picture = by_stem(draw(sd1, **body))["image-000"]
    panorama = by_stem(draw(sd1, **body, panorama={"width": 64}))["image-000"]
    assert far(picture, panorama) <= 1


def test_batches_of_windows_change_nothing(sd1: DiffusionModel) -> None:
    one, three = (
        by_stem(draw(sd1, prompts=["a hill"], panorama={"width": 112, "views_per_batch": views}))
        for views in (1, 3)
    )
    assert far(one["image-000"], three["image-000"]) <= 1


def test_a_circular_panorama_joins_its_edges(sd1: DiffusionModel) -> None:
    def seam(circular: bool) -> float:
        panorama = {"width": 128, "stride": 8, "circular": circular}
        drawn = by_stem(draw(sd1, prompts=["a hill"], panorama=panorama, reference=TWO[0]))
        return float(np.abs(drawn["image-000"][:, 0] - drawn["image-000"][:, -1]).mean())

    assert seam(True) != seam(False)


def test_regions_follow_their_own_references(sd1: DiffusionModel) -> None:
    def drawn(left: int, right: int) -> Any:
        regions = [{"to": 96, "reference": left}, {"from": 96, "reference": right}]
        panorama = {"width": 192, "stride": 16, "blend": 16, "regions": regions}
        return by_stem(draw(sd1, prompts=["a hill"], references=TWO, panorama=panorama))[
            "image-000"
        ]

    boat, both = drawn(0, 0), drawn(0, 1)
    left, right = (np.abs(both - boat)[:, part].mean() for part in (slice(0, 48), slice(144, 192)))
    assert left < right


def effective(**fields: Any) -> Panorama:
    panorama = Panorama.model_validate(fields)
    return panorama.effective(spec_of(Path(), "sd1"), Sampling(width=64, height=64), 2)


def test_memberships_add_up_to_one_and_go_over_smoothly() -> None:
    panorama = effective(width=192, regions=[{"to": 96}, {"from": 96}], blend=64)
    there = memberships(panorama, 48, 4)
    assert torch.allclose(there.sum(0), torch.ones(48))
    assert there[0, 0] == 1
    assert there[1, -1] == 1
    assert there[0].diff().abs().max() < 0.1
    windows = windows_over((16, 48), (16, 16), 8)
    assert window_texts(panorama, windows, 4) == [0, 0, 1, 1, 1]


def test_a_circular_panoramas_regions_also_go_over_at_the_seam() -> None:
    panorama = effective(width=192, regions=[{"to": 96}, {"from": 96}], blend=64, circular=True)
    there = memberships(panorama, 48, 4)
    assert torch.allclose(there.sum(0), torch.ones(48))
    assert there[0, 0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"width": 72}, "/panorama/width"),
        ({"width": 32}, "/panorama/width"),
        ({"width": 128, "height": 2**20}, "/panorama/height"),
        ({"width": 128, "stride": 72}, "/panorama/stride"),
        ({"width": 128, "views_per_batch": 4}, "/panorama/views_per_batch"),
        ({"width": 128, "regions": [{"to": 64}]}, "/panorama/regions"),
        ({"width": 128, "regions": [{"from": 8}]}, "/panorama/regions"),
        ({"width": 128, "regions": [{"from": 64, "to": 64}]}, "/panorama/regions/0"),
        ({"width": 128, "regions": [{"reference": 2}]}, "/panorama/regions/0/reference"),
    ],
)
def test_what_can_not_be_drawn_is_refused(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        effective(**fields)
    assert refused.value.errors[0].pointer == pointer
