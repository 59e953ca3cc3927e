"""Where words are among tokens; the tiny tokenizer knows letters only, so words have several."""

from __future__ import annotations

import pytest

from core.diffusion.model import DiffusionModel
from core.diffusion.words import token_positions
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")


def test_every_token_of_a_word_counts_wherever_it_occurs(model: DiffusionModel) -> None:
    assert token_positions(model, "a cat", "cat") == [2, 3, 4]
    assert token_positions(model, "cat a CAT", "cat") == [1, 2, 3, 5, 6, 7]
    assert token_positions(model, "a big cat", "big cat") == [2, 3, 4, 5, 6, 7]


def test_a_part_of_another_word_is_not_the_word(model: DiffusionModel) -> None:
    assert token_positions(model, "category", "cat") == []


def test_words_beyond_what_is_read_are_nowhere(model: DiffusionModel) -> None:
    assert token_positions(model, "a " * 20 + "cat", "cat") == []
