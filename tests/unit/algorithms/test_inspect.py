"""What the model looked at in a job's own pictures, on tiny random models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.algorithms.appearance_transfer import appearance_transfer
from core.algorithms.style_aligned import style_aligned
from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.errors import InvalidRequest
from core.contract.inspection import Inspect
from core.contract.jobs import JobWarning
from core.contract.models import Family
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from tests.tiny_models import with_extras
from tests.unit.algorithms.drawing import PHOTO, PHOTO_ID, by_stem, draw, far, pictures

BOTH: dict[str, Any] = {"inspect": {"segments": 3}}
PROMPTS = ["a cat", "a house", "a boat", "a tree", "a car", "a fish"]  # 3 targets a chunk


@contextmanager
def counted_calls(model: DiffusionModel) -> Iterator[list[int]]:
    """The batch sizes of the UNet's calls in the block."""
    sizes: list[int] = []
    hook = model.unet.register_forward_pre_hook(lambda unet, given: sizes.append(len(given[0])))
    try:
        yield sizes
    finally:
        hook.remove()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("body", [{}, {"sharing": {"full": True}}, {"reference": {"prompt": "a"}}])
def test_pictures_are_the_same_and_what_was_seen_of_each_comes_before_it(
    family: Family, body: dict[str, Any], models: dict[Family, DiffusionModel]
) -> None:
    model, body = models[family], {"prompts": PROMPTS[:2]} | body
    with counted_calls(model) as plainly:
        plain = draw(model, **body)
    with counted_calls(model) as inspecting:
        inspected = draw(model, **body, **BOTH)
    assert inspecting == plainly
    kept, seen = by_stem(plain), by_stem(inspected)
    assert all(np.array_equal(kept[stem], seen[stem]) for stem in kept)
    assert [p.stem for p in inspected] == [
        "reference",
        *(f"image-000{end}" for end in ("-heat-cat", "-segments", "-overlay", "")),
        *(f"image-001{end}" for end in ("-heat-house", "-segments", "-overlay", "")),
        "grid",
    ]
    assert inspected[1].metadata == {"token": "cat", "of": "image-000"}
    assert set(np.unique(seen["image-001-segments"])) == {0, 1, 2}


@pytest.mark.parametrize("guidance", [1, 5])
def test_each_picture_has_its_own_row_in_every_chunk(sd1: DiffusionModel, guidance: float) -> None:
    body = {"inspect": {}, "sampling": {"guidance_scale": guidance}}
    chunked = by_stem(draw(sd1, prompts=PROMPTS, **body))
    for number, prompt in enumerate(PROMPTS[1:], start=1):
        pair = [PROMPTS[0], {"text": prompt, "seed": 5 + number}]
        alone = by_stem(draw(sd1, prompts=pair, **body))
        word = prompt.removeprefix("a ")
        heat = chunked[f"image-{number:03d}-heat-{word}"]
        assert far(heat, alone[f"image-001-heat-{word}"]) <= 3
        assert far(chunked["image-000-heat-cat"], alone["image-000-heat-cat"]) <= 3


def test_in_full_sharing_each_picture_has_its_own_row_too(sd1: DiffusionModel) -> None:
    off = {"layers": 0.0, "group_norm": False}
    full, apart = (
        by_stem(draw(sd1, prompts=PROMPTS[:3], inspect={}, sharing=off | {"full": way}))
        for way in (True, False)
    )
    heats = [stem for stem in full if "heat" in stem]
    assert len(heats) == 3
    assert all(far(full[stem], apart[stem]) <= 3 for stem in heats)


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 8, 16, 17, 20, 21])
def test_a_resumed_job_lacks_nothing_of_a_finished_picture(sd1: DiffusionModel, count: int) -> None:
    body = {"prompts": PROMPTS[:5], "seed": 5, "inspect": {"segments": 2}}
    request = StyleAlignedRequest.model_validate(body).resolve(sd1.spec)
    whole = pictures(style_aligned(sd1, request, alone()))
    finished = {picture.stem: picture.image for picture in whole[:count]}
    again = pictures(style_aligned(sd1, request, replace(alone(), finished=finished.get)))
    assert [p.stem for p in again] == [p.stem for p in whole[count:]]
    for before, after in zip(whole[count:], again, strict=True):
        assert np.array_equal(np.asarray(before.image), np.asarray(after.image))


def test_words_are_shown_where_the_text_has_them(sd1: DiffusionModel) -> None:
    drawn = draw(sd1, prompts=["a cat", "a red house"], inspect={"tokens": ["red", "cat"]})
    heats = [p.stem for p in drawn if p.kind == "heat-map"]
    assert heats == ["image-000-heat-cat", "image-001-heat-red"]
    assert not any(p.kind in ("segments", "overlay") for p in drawn)


def test_segments_are_named_by_the_words_given_or_by_nouns() -> None:
    text = "a red cat, neon style"
    assert Inspect(segments=5).labels_in(text) == ["cat"]
    assert Inspect(segments=5, tokens=[]).labels_in(text) == ["cat"]
    assert Inspect(segments=5, tokens=[]).words_in(text) == []
    assert Inspect(segments=5, tokens=["red", "dog"]).labels_in(text) == ["red"]


def test_a_word_that_is_asked_for_and_cut_off_is_warned_of(sd1: DiffusionModel) -> None:
    body = {"prompts": ["a " * 20 + "cat"], "seed": 5}
    for inspect, codes in (({"tokens": ["cat"]}, ["token-cut-off"]), ({}, [])):
        warnings: list[JobWarning] = []
        request = StyleAlignedRequest.model_validate(body | {"inspect": inspect})
        around = replace(alone(), warn=warnings.append)
        made = pictures(style_aligned(sd1, request.resolve(sd1.spec), around))
        assert not any(p.kind == "heat-map" for p in made)
        assert [warning.code for warning in warnings] == codes


def test_the_tokens_of_an_adapters_word_are_found(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = with_extras(tmp_path_factory.mktemp("extras"), "sd1")
    words = {"tokens": ["<it>", "cat"]}
    body = {"prompts": ["a <it> cat"], "adapters": [{"name": "word"}]}
    heats = [p for p in draw(model, **body, inspect=words) if p.kind == "heat-map"]
    assert [p.metadata["token"] for p in heats] == ["<it>", "cat"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"panorama": {"width": 96}}, "/inspect: A panorama"),
        ({"dataset": True}, "/inspect: A data set"),
        ({"prompts": ["a cat"] * 33}, "/inspect: Pictures are inspected in jobs of at most 32"),
        ({"inspect": {"tokens": ["dog"]}}, "/inspect/tokens/0: Expected words that stand in the"),
        ({"inspect": {"tokens": ["cat", "Cat"]}}, "/inspect/tokens/1: Expected each word once"),
        ({"inspect": {"tokens": []}}, "/inspect/tokens: Expected words or `segments`"),
    ],
)
def test_what_cannot_be_inspected_is_refused(
    sd1: DiffusionModel, body: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        draw(sd1, **({"prompts": ["a cat"], "inspect": {}} | body))


def transferred(model: DiffusionModel, **body: Any) -> list[Picture]:
    given = {
        "structure": {"upload": PHOTO_ID},
        "appearance": {"upload": "img_" + 32 * "3"},
        "domain": "cat",
        "appearance_domain": "dog",
        "seed": 5,
        "steps": 5,
        "skip_steps": 1,
    }
    around = replace(
        alone(), image=lambda i: PHOTO if i.upload == PHOTO_ID else Image.new("RGB", (64, 96))
    )
    request = AppearanceTransferRequest.model_validate(given | body).resolve(model.spec)
    return pictures(appearance_transfer(model, request, around))


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_transfer_shows_what_was_seen_of_its_three_pictures(
    family: Family, fit: str, models: dict[Family, DiffusionModel]
) -> None:
    with counted_calls(models[family]) as plainly:
        plain = by_stem(transferred(models[family], fit=fit))
    with counted_calls(models[family]) as inspecting:
        made = transferred(models[family], fit=fit, inspect={"segments": 3})
    assert inspecting == plainly
    seen = by_stem(made)
    assert all(np.array_equal(plain[stem], seen[stem]) for stem in plain)
    assert [p.stem for p in made][:4] == [
        "output-heat-photo",
        "output-heat-cat",
        "output-segments",
        "output-overlay",
    ]
    for stem in ("output", "structure-reconstruction", "appearance-reconstruction"):
        word = "dog" if stem.startswith("appearance") else "cat"
        for end in (f"-heat-{word}", "-segments"):
            assert seen[stem + end].shape[:2] == seen[stem].shape[:2]


def test_words_of_neither_text_of_a_transfer_are_refused(sd1: DiffusionModel) -> None:
    with pytest.raises(InvalidRequest, match="/inspect/tokens/0"):
        transferred(sd1, inspect={"tokens": ["house"]})
