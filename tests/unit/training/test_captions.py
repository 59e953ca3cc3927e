"""Captions and the tokenizer that reads them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from training.tokenizer import NOWHERE, TEXT_LENGTH, CaptionEncoder, save_tokenizer
from training.world import (
    BACKGROUNDS,
    COLOUR_NAMES,
    MAX_WORDS,
    STYLES,
    SUBJECTS,
    VOCABULARY,
    Content,
    Thing,
    caption,
    plain_caption,
    random_content,
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> CaptionEncoder:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return CaptionEncoder(folder)


def test_every_word_of_the_world_is_one_token(encoder: CaptionEncoder) -> None:
    lengths = {word: len(encoder.tokenizer.tokenize(word)) for word in VOCABULARY}
    assert {word for word, length in lengths.items() if length != 1} == set()


def test_unknown_words_fall_into_letters(encoder: CaptionEncoder) -> None:
    assert encoder.tokenizer.tokenize("zebra")[0] == "z"


def test_a_caption_keeps_what_each_token_names(encoder: CaptionEncoder) -> None:
    content = Content((Thing("cat", "red"), Thing("house", "blue")), "neon", "grass")
    words = caption(content, random.Random(4))
    tokens = encoder(words)
    for word, thing in ((content.things[0].subject, 0), (content.things[1].subject, 1)):
        at = tokens.ids.tolist().index(encoder.tokenizer.convert_tokens_to_ids(word + "</w>"))
        assert tokens.things[at] == thing


def test_the_empty_caption_is_the_tokenizers_empty_prompt(encoder: CaptionEncoder) -> None:
    prompt = encoder.tokenizer("", padding="max_length", max_length=TEXT_LENGTH).input_ids
    tokens = encoder(())
    assert tokens.ids.tolist() == prompt
    assert set(tokens.things) == {NOWHERE}


def test_a_caption_reads_as_the_pipeline_would_read_it(encoder: CaptionEncoder) -> None:
    rng = random.Random(0)
    for _ in range(50):
        words = caption(random_content(rng), rng)
        text = " ".join(word.text for word in words)
        prompt = encoder.tokenizer(
            text, padding="max_length", max_length=TEXT_LENGTH, truncation=True
        ).input_ids
        assert encoder(words).ids.tolist() == prompt


def test_no_caption_outgrows_the_text_length() -> None:
    rng = random.Random(0)
    assert max(len(caption(random_content(rng), rng)) for _ in range(500)) <= MAX_WORDS


def test_the_plain_caption_names_everything() -> None:
    content = Content((Thing("cat", "red"), Thing("house", "blue")), "neon", "grass")
    assert plain_caption(content) == "a red cat and a blue house on grass in neon style"


def test_captions_leave_out_colour_background_and_style_now_and_then() -> None:
    rng = random.Random(0)
    content = Content((Thing("cat", "red"),), "neon", "grass")
    captions = [{word.text for word in caption(content, rng)} for _ in range(200)]
    assert all(any(word not in words for words in captions) for word in ("red", "grass", "neon"))
    assert all("cat" in words for words in captions)


def test_no_word_means_two_things() -> None:
    words = (*SUBJECTS, *STYLES, *BACKGROUNDS, *COLOUR_NAMES)
    assert len(set(words)) == len(words)
