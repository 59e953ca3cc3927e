"""Heat maps of the words of a text: where a picture reads each of them.

Source: Hertz et al. (Prompt-to-Prompt), ICLR 2023, arXiv 2208.01626.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from PIL import Image
from torch import Tensor

from core.contract.jobs import JobWarning
from core.contract.pictures import Picture
from core.contract.word_lists import file_stems
from core.diffusion.showing import heat_over


def heat_maps(
    prefix: str, picture: Image.Image, text: Tensor, positions: Mapping[str, Sequence[int]]
) -> Iterator[Picture]:
    """A picture `<prefix>-<word>` of each word that has tokens.

    text: how much each place reads of each token, (height, width, text tokens).
    positions: of each word's tokens.
    """
    for stem, (word, tokens) in zip(file_stems(prefix, positions), positions.items(), strict=True):
        if tokens:
            heat = text[..., list(tokens)].mean(dim=-1)
            yield Picture(stem, "heat-map", heat_over(picture, heat), {"token": word})


def without_map(word: str) -> JobWarning:
    """The warning of a word whose tokens the text encoder doesn't read."""
    detail = f'The text is cut off before "{word}", which therefore has no map.'
    return JobWarning(code="token-cut-off", detail=detail)
