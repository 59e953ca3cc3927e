"""The requests that look at one picture: what is filled in, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.contract.errors import InvalidRequest
from core.contract.models import ModelSpec
from core.contract.parsing import parse
from core.contract.segmentation import SegmentationRequest
from core.contract.word_lists import content_words, file_stems, nouns

UPLOAD = {"upload": "img_" + 32 * "0"}


def model(side: int = 64) -> ModelSpec:
    values = {"width": side, "height": side, "grid": 16, "min_size": 32, "max_size": 1024}
    return ModelSpec.model_validate({"name": "m", "source": "m", "family": "sd1", **values})


def effective(side: int = 64, **fields: Any) -> SegmentationRequest:
    return parse(SegmentationRequest, json.dumps(fields).encode()).resolve(model(side))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red cat and a blue house on grass in flat style", ["cat", "house", "grass"]),
        ("a photo of two cute dogs running, by the sea", ["dogs", "sea"]),
        ("A Cat and a cat", ["cat"]),
        ("", []),
    ],
)
def test_nouns_are_what_the_word_lists_leave(text: str, found: list[str]) -> None:
    assert nouns(text) == found


def test_content_words_keep_colours_and_styles() -> None:
    assert content_words("a red cat in flat style") == ["red", "cat", "flat", "style"]


def test_words_get_file_names_that_differ() -> None:
    assert file_stems("mask", ["Cat", "cat!", "猫", "犬"]) == [
        "mask-cat",
        "mask-cat-1",
        "mask--2",
        "mask--3",
    ]


def test_absent_values_are_filled_in_and_resolving_twice_changes_nothing() -> None:
    once = effective(prompt="a cat on grass")
    assert once.labels == ["cat", "grass"]
    assert (once.segments, once.merge_threshold) == (5, 0.12)
    assert once.resolve(model()) == once
    open_values = {name for name, value in once.model_dump().items() if value is None}
    assert open_values == {"deadline_seconds", "image", "webhook"}


def test_merging_has_the_papers_threshold_where_the_papers_grids_are() -> None:
    request = effective(512, prompt="a cat", method="merge")
    assert (request.segments, request.merge_threshold) == (16, 1.0)


def test_a_given_picture_without_a_prompt_goes_with_its_labels() -> None:
    assert effective(image=UPLOAD, labels=["cat", "dog"]).prompt == "a cat and a dog"
    nameless = effective(image=UPLOAD)
    assert (nameless.prompt, nameless.labels) == ("", [])


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({}, "/prompt", "required"),
        ({"prompt": "  "}, "/prompt", "required"),
        ({"prompt": "a cat", "labels": ["cat", "dog"]}, "/labels/1", "stand in the prompt: a cat"),
        ({"prompt": "a cat", "labels": ["at"]}, "/labels/0", "stand in the prompt"),
        ({"prompt": "a cat", "labels": ["cat", "Cat"]}, "/labels/1", "once"),
        ({"prompt": "a cat", "labels": [""]}, "/labels/0", "1 to 60 characters"),
        ({"prompt": "a cat", "segments": 1}, "/segments", "from 2 to 16"),
        ({"prompt": "a cat", "method": "magic"}, "/method", '"clusters", "merge"'),
        ({"prompt": "a cat", "resolution": 17}, "/resolution", "8, 16, 32, 64"),
        ({"prompt": "a cat", "background_threshold": 2}, "/background_threshold", "0 to 1"),
        ({"prompt": "a cat", "sampling": {"width": 33}}, "/sampling/width", "multiple of 16"),
    ],
)
def test_what_is_refused_says_what_is_accepted(
    body: dict[str, Any], pointer: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        effective(**body)
    assert [error.pointer for error in caught.value.errors] == [pointer]
    assert words in caught.value.errors[0].detail
