"""What requests share that look at one picture: a new one of a prompt, or a given one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from core.contract.demand import Demand
from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput
from core.contract.models import ModelSpec
from core.contract.requests import (
    MAX_PROMPT_CHARACTERS,
    JobRequest,
    Sampling,
    effective_sampling,
    settled,
)
from core.contract.stored import Stored
from core.contract.word_lists import contains

MOST_TOKENS = 24
MOST_SEGMENTS = 16

BACKGROUND_THRESHOLD = 0.35
"""The paper's: a segment whose best label scores no more is background."""

Word = Annotated[str, Field(min_length=1, max_length=60, pattern=r"\w")]


class ObservedRequest(JobRequest):
    """A picture and the words that are looked for in it."""

    prompt: str | None = Field(
        default=None,
        max_length=MAX_PROMPT_CHARACTERS,
        description=(
            "What the picture shows. Without `image` it is drawn from this text; with it, the text "
            "goes with the given picture."
        ),
    )
    image: ImageInput | None = Field(
        default=None,
        description=(
            "A given picture. It is cut to the model's shape around the middle, inverted by DDIM, "
            "and the model is watched while it goes back along the inversion."
        ),
    )
    sampling: Sampling = Sampling()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, of an effective request."""
        return settled(self.sampling.width), settled(self.sampling.height)

    def demand(self, model: ModelSpec) -> Demand:
        return Demand(type(self).__name__, self.size)

    def with_stored(self, stored: Stored) -> Self:
        if self.image is None:
            return self
        return self.model_copy(update={"image": stored.image("/image", self.image)})

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        if self.image is None and not (self.prompt or "").strip():
            raise refused("/prompt", "This is required where no image is given: text.")
        sampling = effective_sampling(self.sampling, model)
        return super()._effective(model) | {"sampling": sampling}


def text_with(words: Sequence[str]) -> str:
    """A text that names `words`: "a cat and a dog"; empty without any."""
    return " and ".join(f"a {word}" for word in words)


def check_words(pointer: str, words: Sequence[str], text: str) -> None:
    """Raise InvalidRequest unless each of `words` is once among them and stands in `text`."""
    if faults := faults_of_words(pointer, words, [text]):
        raise InvalidRequest.of(faults)


def faults_of_words(pointer: str, words: Sequence[str], texts: Sequence[str]) -> list[FieldError]:
    """What is wrong with words that should each be there once and stand in one of `texts`."""
    faults = []
    shown = f"the prompt: {texts[0]}" if len(texts) == 1 else "one of the prompts."
    for index, word in enumerate(words):
        if word.lower() in (earlier.lower() for earlier in words[:index]):
            detail = "Expected each word once."
        elif not any(contains(text, word) for text in texts):
            detail = f"Expected words that stand in {shown}"
        else:
            continue
        faults.append(FieldError(pointer=f"{pointer}/{index}", detail=detail))
    return faults


def refused(pointer: str, detail: str) -> InvalidRequest:
    return InvalidRequest.of([FieldError(pointer=pointer, detail=detail)])
