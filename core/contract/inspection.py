"""What a caller asks to be shown of what the model looked at in a job's own pictures."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from core.contract.errors import FieldError
from core.contract.observed import MOST_SEGMENTS, MOST_TOKENS, Word, faults_of_words
from core.contract.requests import Strict
from core.contract.word_lists import contains, content_words, nouns

MOST_PICTURES = 32


class Inspect(Strict):
    """Heat maps of words and segments of each picture, from the run that draws it."""

    tokens: list[Word] | None = Field(
        default=None,
        max_length=MOST_TOKENS,
        description=(
            "Words whose heat maps are shown of the pictures whose texts have them; at least one "
            "text has to have each. Default: each text's content words; `[]` shows none. Segments "
            "are named by the words that are given here, or by each text's nouns."
        ),
    )
    segments: int | None = Field(
        default=None,
        ge=2,
        le=MOST_SEGMENTS,
        description=(
            "Also cut each picture into so many parts by its self-attention. What it takes from a "
            "reference is left out of that. Default: no segments."
        ),
    )

    def faults(self, texts: Sequence[str]) -> list[FieldError]:
        """What is wrong with it for pictures of these texts."""
        if len(texts) > MOST_PICTURES:
            detail = f"Pictures are inspected in jobs of at most {MOST_PICTURES}."
            return [FieldError(pointer="/inspect", detail=detail)]
        if self.tokens == [] and self.segments is None:
            detail = "Expected words or `segments`: without both there is nothing to show."
            return [FieldError(pointer="/inspect/tokens", detail=detail)]
        return faults_of_words("/inspect/tokens", self.tokens or [], texts)

    def words_in(self, text: str) -> list[str]:
        """The words whose heat maps a picture of `text` has."""
        if self.tokens is None:
            return content_words(text)[:MOST_TOKENS]
        return [word for word in self.tokens if contains(text, word)]

    def labels_in(self, text: str) -> list[str]:
        """The words that segments of a picture of `text` may be named."""
        return self.words_in(text) if self.tokens else nouns(text)[:MOST_TOKENS]
