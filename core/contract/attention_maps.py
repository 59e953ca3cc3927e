"""What a caller of attention maps asks for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from core.contract.models import ModelSpec, transformer_blocks
from core.contract.observed import (
    MOST_TOKENS,
    ObservedRequest,
    Word,
    check_words,
    refused,
    text_with,
)
from core.contract.word_lists import content_words

MOST_QUERIES = 16

Point = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]


class AttentionMapsRequest(ObservedRequest):
    """What the model looks at: for each word, for each point, and in its features."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "a red cat on grass", "queries": [[32, 32]], "seed": 7}]
        }
    )

    tokens: list[Word] | None = Field(
        default=None,
        max_length=MOST_TOKENS,
        description=(
            "Words whose heat maps are shown; each has to stand in `prompt`. Default: its content "
            "words. A picture given without a prompt goes with these words."
        ),
    )
    layers: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description=(
            "Transformer blocks that are watched, counted from 1 through encoder, decoder and "
            "middle. Default: those of the encoder and decoder that tell best where things are."
        ),
    )
    timesteps: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None,
        min_length=1,
        max_length=50,
        description=(
            "When to watch: from 1, all noise, to 0, the picture; of each the nearest step is "
            "taken. Maps are means over all of them. Default: every step up to 0.6."
        ),
    )
    queries: list[Point] = Field(
        default=[],
        max_length=MOST_QUERIES,
        description="Points [x, y] in pixels whose self-attention is shown: what they look at.",
    )
    components: Literal[3, 6, 9] = Field(
        default=3,
        description="Principal components that are shown, three to a picture.",
    )
    resolution: Literal[8, 16, 32, 64] = Field(
        default=32,
        description=(
            "Tokens a side, at most, of the self-attention that is kept. 64 takes 16 times the "
            "memory of 32."
        ),
    )

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        common = super()._effective(model)
        prompt = self.prompt or text_with(self.tokens or [])
        tokens = content_words(prompt)[:MOST_TOKENS] if self.tokens is None else self.tokens
        check_words("/tokens", tokens, prompt)
        width, height = common["sampling"].width, common["sampling"].height
        for index, (x, y) in enumerate(self.queries):
            if x >= width or y >= height:
                last = f"[{width - 1}, {height - 1}]"
                raise refused(f"/queries/{index}", f"Expected [x, y] from [0, 0] to {last}.")
        if self.layers:
            blocks = transformer_blocks(model)
            for index, number in enumerate(self.layers):
                if number > blocks:
                    detail = f"Expected a layer from 1 to {blocks}, as {model.name} has."
                    raise refused(f"/layers/{index}", detail)
        return common | {"prompt": prompt, "tokens": tokens}
