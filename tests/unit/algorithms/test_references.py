"""Several references: by weight, by mask, in other sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.contract.errors import InvalidRequest
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model
from tests.unit.algorithms.drawing import BLACK, PHOTO_ID, WHITE, by_stem, draw, far

CAT, HOUSE = {"prompt": "a cat"}, {"prompt": "a house"}
PHOTO = {"image": {"upload": PHOTO_ID}, "prompt": "a boat"}
OFF = {"attention": False, "adain_queries": False, "adain_keys": False, "group_norm": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder: Path = tmp_path_factory.mktemp("sd1")
    return tiny_model(folder, "sd1")


def test_each_of_several_references_is_returned(model: DiffusionModel) -> None:
    drawn = draw(model, prompts=["a dog", "a fox"], references=[CAT, HOUSE, PHOTO])
    assert [p.stem for p in drawn] == [
        *("reference-000", "reference-001", "reference-002"),
        *("image-000", "image-001", "grid"),
    ]


def test_one_of_several_is_the_same_as_a_single_reference(model: DiffusionModel) -> None:
    single = by_stem(draw(model, prompts=["a dog"], reference=CAT))
    listed = by_stem(draw(model, prompts=["a dog"], references=[CAT]))
    assert far(single["image-000"], listed["image-000"]) == 0


def test_weights_go_from_one_reference_to_the_other(model: DiffusionModel) -> None:
    def drawn(weight: float) -> object:
        references = [CAT | {"weight": weight}, HOUSE]
        return by_stem(draw(model, prompts=["a dog"], references=references))["image-000"]

    only_cat = by_stem(draw(model, prompts=["a dog"], reference=CAT))["image-000"]
    distances = [abs(drawn(weight) - only_cat).mean() for weight in (100, 1, 0.01)]  # type: ignore[operator]
    assert distances == sorted(distances)
    assert distances[0] < distances[2]


def test_a_white_mask_is_none_and_a_black_one_no_reference(model: DiffusionModel) -> None:
    shared = by_stem(draw(model, prompts=["a dog"], reference=CAT))["image-000"]
    white = by_stem(draw(model, prompts=["a dog"], reference=CAT | {"mask": WHITE}))["image-000"]
    black = by_stem(draw(model, prompts=["a dog"], reference=CAT | {"mask": BLACK}))["image-000"]
    plain = by_stem(draw(model, prompts=["a dog"], reference=CAT, sharing=OFF))["image-000"]
    assert far(shared, white) <= 1
    assert far(plain, black) <= 1
    assert far(shared, plain) > 1


@pytest.mark.parametrize("reference", [CAT, PHOTO])
def test_a_reference_may_have_another_size(
    model: DiffusionModel, reference: dict[str, object]
) -> None:
    drawn = draw(model, prompts=["a dog"], reference=reference | {"width": 96, "height": 32})
    assert [p.image.size for p in drawn[:2]] == [(96, 32), (64, 64)]


def test_faulty_references_are_refused_with_a_pointer(model: DiffusionModel) -> None:
    for body, pointer in (
        ({"references": [CAT], "reference": HOUSE}, "/references"),
        ({"references": [CAT, HOUSE | {"width": 65}]}, "/references/1/width"),
        ({"references": [PHOTO | {"skip": 9}]}, "/references/0/skip"),
        ({"references": [CAT, HOUSE], "sharing": {"full": True}}, "/sharing/full"),
    ):
        with pytest.raises(InvalidRequest, match=pointer):
            draw(model, prompts=["a dog"], **body)
