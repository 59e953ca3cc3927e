"""The words of the world: what exists, how it may look, and how a caption says it.

Everything a caption can mention is listed here once. The tokenizer makes each word one token,
the renderers look their colours up here, and the judge's classes are these tuples in order.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

Rgb = tuple[int, int, int]

SUBJECTS = (
    "cat",
    "fish",
    "bird",
    "giraffe",
    "horse",
    "house",
    "tree",
    "car",
    "boat",
    "flower",
    "mushroom",
    "person",
)
STYLES = (
    "flat",
    "sketch",
    "striped",
    "dotted",
    "papercut",
    "pixel",
    "neon",
    "watercolor",
    "blueprint",
    "glass",
)
BACKGROUNDS = ("plain", "grass", "sea", "sand", "snow", "night")
COLOURS: dict[str, Rgb] = {
    "red": (222, 42, 42),
    "orange": (245, 138, 30),
    "yellow": (248, 212, 48),
    "green": (62, 172, 70),
    "teal": (28, 176, 176),
    "blue": (48, 98, 222),
    "purple": (136, 66, 196),
    "pink": (244, 120, 180),
}
COLOUR_NAMES = tuple(COLOURS)

# White lines on blue paper: a colour word has nothing to act on.
COLOURLESS_STYLES = ("blueprint",)

PREFIXES = (
    (),
    ("a", "picture", "of"),
    ("a", "drawing", "of"),
    ("this", "is"),
    ("the", "image", "shows"),
    ("a", "toy"),
)
GRAMMAR_WORDS = (
    *("a", "an", "the", "this", "is", "of", "on", "in", "at", "with", "and", "one", "two"),
    *("picture", "drawing", "image", "photo", "painting", "shows", "background", "style"),
    *("small", "big", "beautiful", "toy", ",", "."),
)
VOCABULARY = tuple(dict.fromkeys((*GRAMMAR_WORDS, *SUBJECTS, *STYLES, *BACKGROUNDS, *COLOUR_NAMES)))

MAX_WORDS = 14
"""Words of a caption: the text length of 16 less the start and end tokens."""


@dataclass(frozen=True)
class Thing:
    """One subject of a scene and the colour of its body."""

    subject: str
    colour: str


@dataclass(frozen=True)
class Content:
    """What a scene shows: one thing, or two from left to right."""

    things: tuple[Thing, ...]
    style: str
    background: str


BACKGROUND = -1
"""In `Word.thing`: the word names the background."""


@dataclass(frozen=True)
class Word:
    """A word of a caption and what it speaks of.

    `thing` is the index of the thing that the word names (subject and colour words), or BACKGROUND,
    or None for words with no place in the picture.
    """

    text: str
    thing: int | None = None


def random_content(rng: random.Random, two_things: float = 0.3) -> Content:
    """Subjects, style, background and colours, each uniform; two things at the given rate."""
    count = 2 if rng.random() < two_things else 1
    subjects = rng.sample(SUBJECTS, count)
    colours = rng.sample(COLOUR_NAMES, count)
    things = tuple(Thing(s, c) for s, c in zip(subjects, colours, strict=True))
    return Content(things, rng.choice(STYLES), rng.choice(BACKGROUNDS))


def caption(content: Content, rng: random.Random) -> tuple[Word, ...]:
    """A random wording: colour, background and style are each left out now and then.

    Two full things leave no room for a prefix, so it is dropped where it does not fit.
    """
    words: list[Word] = []
    stray = len(content.things) == 1 and rng.random() < 0.12
    for index, thing in enumerate(content.things):
        if index:
            words.append(Word("and"))
        words.append(Word("a"))
        if stray:
            words.append(Word(_stray_word(rng)))
        if rng.random() < 0.6:
            words.append(Word(thing.colour, index))
        words.append(Word(thing.subject, index))
    if rng.random() < 0.6:
        words += _background_words(content.background)
    if rng.random() < 0.85:
        words += _style_words(content.style, rng)
    return _prefixed(words, rng)


def plain_caption(content: Content) -> str:
    """The full wording, as a person would prompt it: "a red cat on grass in flat style"."""
    things = " and ".join(f"a {thing.colour} {thing.subject}" for thing in content.things)
    where = " ".join(word.text for word in _background_words(content.background))
    return f"{things} {where} in {content.style} style"


def _stray_word(rng: random.Random) -> str:
    """An adjective that says nothing here, or letters that are no word: to be ignored."""
    if rng.random() < 0.5:
        return rng.choice(("small", "big", "beautiful", "toy"))
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 6)))


def _background_words(background: str) -> list[Word]:
    if background == "plain":
        return [Word("on"), Word("plain", BACKGROUND), Word("background", BACKGROUND)]
    return [Word("at" if background == "night" else "on"), Word(background, BACKGROUND)]


def _style_words(style: str, rng: random.Random) -> list[Word]:
    return [Word("in" if rng.random() < 0.65 else ","), Word(style), Word("style")]


def _prefixed(words: list[Word], rng: random.Random) -> tuple[Word, ...]:
    prefix = rng.choice(PREFIXES) if rng.random() < 0.4 else ()
    if prefix == ("a", "toy") or rng.random() < 0.15:
        words = words[1:]
    if len(prefix) + len(words) > MAX_WORDS:
        prefix = ()
    return (*(Word(text) for text in prefix), *words)
