"""Segments for people and programs: an indexed picture, an overlay, a record in COCO's terms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco

from core.diffusion.showing import for_people
from core.inspection.parts import Part, mask_of_label

PALETTE = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)),
    *((204, 121, 167), (60, 60, 60), (136, 34, 85), (153, 153, 51), (51, 34, 136), (170, 68, 153)),
    *((68, 170, 153), (221, 221, 221), (102, 51, 0), (17, 119, 51)),
)
"""Okabe and Ito's colours without white, then Tol's; told apart by all kinds of colour vision."""

_LINE = 20


def colour_of(part: Part) -> tuple[int, int, int]:
    return PALETTE[part.value % len(PALETTE)]


def indexed(parts: Sequence[Part]) -> Image.Image:
    """A picture whose pixels are the segments' numbers, with their colours as its palette."""
    values = np.zeros(parts[0].mask.shape, np.uint8)
    for part in parts:
        values[part.mask] = part.value
    image = Image.fromarray(values)
    image.putpalette([level for part in parts for level in colour_of(part)])
    return image


def overlay(picture: Image.Image, parts: Sequence[Part]) -> Image.Image:
    """The segments' colours and borders over the picture in grey, enlarged, with a legend below.

    A segment's number stands in it as in the legend, so that nothing hangs on its colour alone.
    """
    shown = for_people(picture)
    factor = shown.width // picture.width
    values = np.asarray(indexed(parts)).repeat(factor, 0).repeat(factor, 1)
    colours = np.array([colour_of(part) for part in parts], np.float32)[values]
    levels = 0.35 * np.asarray(shown.convert("L"), np.float32)[..., None] + 0.65 * colours
    levels[_borders(values)] = 255
    whole = Image.new("RGB", (shown.width, shown.height + _LINE * len(parts) + 6), "white")
    whole.paste(Image.fromarray(levels.round().astype(np.uint8)))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for line, part in enumerate(parts):
        top = shown.height + 4 + line * _LINE
        draw.rectangle((4, top + 2, 22, top + 16), fill=colour_of(part), outline="black")
        score = "" if part.score is None else f"score {part.score:.2f}, "
        share = f"{part.area / part.mask.size:.0%}"
        draw.text((28, top + 2), f"{part.value}  {part.name}: {score}{share}", "black", font)
        y, x = (factor * side for side in _middle(part.mask))
        draw.text((x, y), str(part.value), "white", font, "mm", stroke_width=2, stroke_fill="black")
    return whole


def mask_image(mask: NDArray[np.bool_]) -> Image.Image:
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


def record(parts: Sequence[Part], labels: Sequence[str], about: dict[str, Any]) -> bytes:
    """`segments.json`: each segment and each label with its score, area, box and COCO RLE.

    Areas are pixels, boxes [left, top, width, height] in pixels.
    """
    height, width = parts[0].mask.shape
    segments = [
        {
            "value": part.value,
            "label": part.label,
            "score": _rounded(part.score),
            "scores": {label: _rounded(score) for label, score in part.scores.items()},
            **_region(part.mask),
        }
        for part in parts
    ]
    named = [
        {
            "label": label,
            "score": _rounded(best_score(parts, label)),
            "segments": [part.value for part in parts if part.label == label],
            **_region(mask_of_label(parts, label)),
        }
        for label in labels
    ]
    whole = {"width": width, "height": height, **about, "segments": segments, "labels": named}
    return (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()


def best_score(parts: Sequence[Part], label: str) -> float:
    """The score of a label in the segment that it fits best."""
    return max(part.scores[label] for part in parts)


def _region(mask: NDArray[np.bool_]) -> dict[str, Any]:
    run_lengths = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    box = [int(side) for side in coco.toBbox(run_lengths)]
    rle = {"size": list(run_lengths["size"]), "counts": run_lengths["counts"].decode("ascii")}
    return {"area": int(mask.sum()), "box": box, "rle": rle}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _borders(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the next pixel below or to the right is of another segment."""
    found = np.zeros(values.shape, np.bool_)
    found[:-1] |= values[:-1] != values[1:]
    found[:, :-1] |= values[:, :-1] != values[:, 1:]
    return found


def _middle(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """A pixel (y, x) of the mask that is far from its border."""
    inner = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(inner.argmax()), mask.shape)
    return int(y), int(x)
