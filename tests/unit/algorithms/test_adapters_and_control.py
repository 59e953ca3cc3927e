"""LoRA, textual inversion and ControlNet act on the pictures and not on the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from core.algorithms.style_aligned import style_aligned
from core.contract.errors import InvalidRequest, JobCanceled
from core.contract.models import Family
from core.contract.pictures import alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import encode_prompts
from tests.tiny_models import with_extras
from tests.unit.algorithms.drawing import PHOTO_ID, by_stem, draw, far

BODY: dict[str, Any] = {"prompts": ["a cat", "a house <it>"], "reference": {"prompt": "a boat"}}
LORA = [{"name": "drawn"}]
WORD = [{"name": "word"}]
CANNY = {"type": "canny", "image": {"upload": PHOTO_ID}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, DiffusionModel]:
    families: tuple[Family, ...] = ("sd1", "sdxl")
    return {f: with_extras(tmp_path_factory.mktemp(f), f) for f in families}


@pytest.fixture
def sd1(models: dict[Family, DiffusionModel]) -> DiffusionModel:
    return models["sd1"]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("extra", [{"adapters": LORA}, {"control": CANNY}])
def test_the_reference_stays_and_the_pictures_change(
    family: Family, extra: dict[str, Any], models: dict[Family, DiffusionModel]
) -> None:
    plain = by_stem(draw(models[family], **BODY))
    changed = by_stem(draw(models[family], **BODY, **extra))
    assert far(plain["reference"], changed["reference"]) == 0
    assert far(plain["image-000"], changed["image-000"]) > 1


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_word_changes_the_prompts_that_say_it_and_no_other(
    family: Family, models: dict[Family, DiffusionModel]
) -> None:
    plain = by_stem(draw(models[family], **BODY))
    worded = by_stem(draw(models[family], **BODY, adapters=WORD))
    assert far(plain["image-000"], worded["image-000"]) == 0
    assert far(plain["image-001"], worded["image-001"]) > 1


@pytest.mark.parametrize(
    "extra", [{"adapters": [{"name": "drawn", "weight": 0}]}, {"control": CANNY | {"scale": 0}}]
)
def test_at_strength_nought_nothing_changes(sd1: DiffusionModel, extra: dict[str, Any]) -> None:
    plain, changed = by_stem(draw(sd1, **BODY)), by_stem(draw(sd1, **BODY, **extra))
    assert far(plain["image-001"], changed["image-001"]) <= 1


def state_of(model: DiffusionModel) -> dict[str, Any]:
    """All a later job could notice."""
    pipeline = model.pipeline
    modules = {
        name: part
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }
    return {
        "weights": {
            f"{name}.{key}": value.clone()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        },
        "types": [
            (name, path, type(child).__name__)
            for name, module in modules.items()
            for path, child in module.named_modules()
        ],
        "vocabulary": pipeline.tokenizer.get_vocab(),
        "text": encode_prompts(model, ["a house <it>"]).text,
    }


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("failing", [False, True])
def test_a_job_with_adapters_leaves_the_pipeline_as_it_was(
    family: Family, failing: bool, models: dict[Family, DiffusionModel]
) -> None:
    model = models[family]
    before = state_of(model)

    def cancel(progress: Any) -> None:
        if failing and progress.step == 2:
            raise JobCanceled("enough")

    body = BODY | {"adapters": LORA + WORD, "seed": 1}
    request = StyleAlignedRequest.model_validate(body)
    try:
        list(style_aligned(model, request.resolve(model.spec), alone(cancel)))
    except JobCanceled:
        assert failing
    after = state_of(model)
    assert before["types"] == after["types"]
    assert before["vocabulary"] == after["vocabulary"]
    assert torch.equal(before["text"], after["text"])
    assert all(torch.equal(before["weights"][k], v) for k, v in after["weights"].items())


def test_the_first_prompts_picture_is_drawn_apart_from_its_reference(sd1: DiffusionModel) -> None:
    drawn = draw(sd1, prompts=["a cat", "a house"], adapters=LORA)
    assert [p.stem for p in drawn] == ["reference", "image-000", "image-001", "grid"]
    assert not np.array_equal(np.asarray(drawn[0].image), np.asarray(drawn[1].image))


def test_the_edges_that_were_found_are_returned(sd1: DiffusionModel) -> None:
    drawn = draw(sd1, **BODY, control=CANNY)
    assert [p.stem for p in drawn if p.kind == "control"] == ["control-000", "control-001"]
    assert set(np.unique(np.asarray(drawn[1].image))) == {0, 255}
    given = draw(sd1, **BODY, control=CANNY | {"preprocess": False})
    assert not [p for p in given if p.kind == "control"]


def test_control_acts_only_between_its_start_and_end(sd1: DiffusionModel) -> None:
    plain = by_stem(draw(sd1, **BODY))
    whole, late, never = (
        by_stem(draw(sd1, **BODY, control=CANNY | {"start": start, "end": end}))
        for start, end in ((0, 1), (0.75, 1), (0.9, 1))
    )
    assert far(never["image-000"], plain["image-000"]) == 0
    near = np.abs(late["image-000"] - plain["image-000"]).mean()
    assert 0 < near < np.abs(whole["image-000"] - plain["image-000"]).mean()


def test_what_a_model_has_not_is_refused_and_what_it_has_is_said(sd1: DiffusionModel) -> None:
    for body, pointer, said in (
        ({"control": CANNY | {"type": "depth"}}, "/control/type", "It has: canny"),
        ({"control": {"type": "canny"}}, "/control/image", "either `image`"),
        (
            {"control": {"type": "canny", "images": [CANNY["image"]]}},
            "/control/images",
            "2 prompts",
        ),
        ({"control": CANNY | {"start": 0.5, "end": 0.5}}, "/control/end", "more than"),
        ({"adapters": [{"name": "nobody"}]}, "/adapters/0/name", "It has: drawn, word"),
        ({"adapters": [{"name": "word", "weight": 0.5}]}, "/adapters/0/weight", "no weight but 1"),
        ({"adapters": LORA + LORA}, "/adapters", "once"),
        ({"adapters": LORA, "sharing": {"full": True}}, "/sharing/full", "no control, adapters"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            draw(sd1, **BODY, **body)
        assert refused.value.errors[0].pointer == pointer
        assert said in refused.value.errors[0].detail


def test_depths_need_a_depth_model(sd1: DiffusionModel) -> None:
    spec = sd1.spec.model_copy(update={"controls": {"depth": sd1.spec.controls["canny"]}})
    request = StyleAlignedRequest.model_validate(BODY | {"control": CANNY | {"type": "depth"}})
    with pytest.raises(InvalidRequest, match="send a depth map"):
        request.resolve(spec)
