"""Which words of a prompt may name something in a picture, without a tagger.

Lists instead of a model: taggers need a download, and cross-attention itself tells later whether
a word is anywhere in the picture (`docs/decisions/0011-what-the-model-looks-at.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"\w+(?:['’-]\w+)*")

FUNCTION_WORDS = _set(
    """
    a about above across after against along among an and are around as at back be been before
    behind being below beneath beside besides between beyond both but by can could did do does
    down during each either every for from front had has have having he her hers him his how i if
    in inside into is it its itself just like made many may me might more most much must my near
    nor not of off on onto or other our out outside over own per she should so some such than that
    the their them then there these they this those through to together toward towards under until
    up upon us very was we were what when where which while who whose will with within without
    would you your
    """
)
"""Words that carry no picture: articles, prepositions, pronouns, auxiliaries."""

DESCRIPTIONS = _set(
    """
    amber aqua azure beige black blue bronze brown colorful colourful coral crimson cyan dark
    golden gray green grey indigo ivory khaki lavender light lilac lime magenta maroon navy olive
    orange peach pink purple red scarlet silver tan teal turquoise violet white yellow
    ancient beautiful big bright clean close cold cosy cozy cute detailed dry empty fluffy fresh
    full funny furry giant gorgeous happy high huge large little long low lovely modern narrow new
    old open plain pretty realistic round sad sharp shiny short simple sleeping small smiling soft
    square standing tall tiny vintage warm wet wide wooden young
    one two three four five six seven eight nine ten
    eating flying holding looking lying playing riding running sitting swimming walking wearing
    """
)
"""Words that say how something is and not what: colours, sizes, numbers, what it does."""

PICTURE_WORDS = _set(
    """
    8k background bokeh cartoon drawing drawings hd illustration image images lighting painting
    photo photograph photography photos picture pictures portrait quality render rendering scene
    shot shows sketch style view wallpaper
    """
)
"""Words that speak of the picture and not of what it shows."""

_STYLE = re.compile(r"(?:(?:in|,)\s+)?(?:the\s+|a\s+)?[\w'’-]+\s+style\b", re.IGNORECASE)


def content_words(text: str) -> list[str]:
    """The words of `text` that are no function words, in their order, each once, in lower case."""
    return _others(text, FUNCTION_WORDS)


def nouns(text: str) -> list[str]:
    """The words of `text` that may name a thing, in their order, each once, in lower case.

    Content words but those that say how a thing is, or speak of the picture; the word before
    "style" is left out with it.
    """
    return _others(_STYLE.sub(" ", text), FUNCTION_WORDS | DESCRIPTIONS | PICTURE_WORDS)


def contains(text: str, words: str) -> bool:
    """Whether `words` stand in `text` as whole words, whatever their case."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def file_stems(prefix: str, words: Iterable[str]) -> list[str]:
    """A file name for each of `words`, without suffix: `mask-cat`; no two are the same."""
    stems: list[str] = []
    for index, word in enumerate(words):
        stem = f"{prefix}-" + re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")[:40]
        stems.append(f"{stem}-{index}" if stem in stems or stem == f"{prefix}-" else stem)
    return stems


def _others(text: str, left_out: frozenset[str]) -> list[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return [word for word in dict.fromkeys(words) if word not in left_out and not word.isdigit()]
