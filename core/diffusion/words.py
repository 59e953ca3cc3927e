"""Where words are among the tokens of a text."""

from __future__ import annotations

from core.diffusion.model import DiffusionModel


def token_positions(model: DiffusionModel, text: str, words: str) -> list[int]:
    """The positions of all tokens of `words` in what the text encoder reads of `text`.

    Every occurrence counts. Empty where `text` is cut off before them.
    """
    tokenizer = model.pipeline.tokenizer
    # A word that an adapter brings may have several vectors, which are tokens of their own.
    text, words = (model.pipeline.maybe_convert_prompt(one, tokenizer) for one in (text, words))
    limit = tokenizer.model_max_length
    tokens = tokenizer(text, truncation=True, max_length=limit).input_ids
    wanted = tokenizer(words, add_special_tokens=False).input_ids
    return [
        position
        for start in range(len(tokens) - len(wanted) + 1)
        if wanted and tokens[start : start + len(wanted)] == wanted
        for position in range(start, start + len(wanted))
    ]
