"""Draw the pictures of `docs/gallery` on the built-in model, unpicked: seeds are fixed.

    python -m benchmarks.gallery [NAME …]

Each exhibit is some rows of pictures, each row one request; its caption says what to see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

from benchmarks.exhibits import EXHIBITS, Row
from benchmarks.style_distance import load
from core import catalog
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from core.diffusion.showing import for_people, heat_legend

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "gallery"
ZOOM = 2
LABEL_HEIGHT = 16


def pictures_of(model: DiffusionModel, row: Row) -> list[tuple[str, Image.Image]]:
    """What was given, what the ControlNet sees, and what was drawn, in this order; magnified.

    Or the artifacts that are to be shown, with their names.
    """
    technique = catalog.technique(row.technique)
    request = technique.request.model_validate(row.request).resolve(model.spec)
    shown = {f"img_{number:032d}": image for number, image in enumerate(row.uploads)}
    around = replace(alone(), image=lambda image: shown[image.upload].convert("RGB"))
    made = [m for m in technique.load()(model, request, around) if isinstance(m, Picture)]
    if row.stems:
        of_stem = {p.stem: p.image for p in made}
        given = [("given", for_people(image)) for image in row.uploads]
        return given + [(stem, for_people(of_stem[stem])) for stem in row.stems]
    uploads = list(row.uploads) if row.technique == "appearance-transfer" else []
    if isinstance(request, StyleAlignedRequest) and not request.draws_references_apart:
        made = made[1:]  # the reference is the first picture
    control = [p.image for p in made if p.kind == "control"][:1]
    kinds = ("reference", "output", "image")
    drawn = {kind: [p.image for p in made if p.kind == kind] for kind in kinds}
    everything = [*uploads, *drawn["reference"], *control, *drawn["output"], *drawn["image"]]
    return [("", _magnified(image)) for image in everything]


def _magnified(image: Image.Image) -> Image.Image:
    size = ZOOM * image.width, ZOOM * image.height
    return image.resize(size, Image.Resampling.BICUBIC)


def sheet(rows: Sequence[tuple[str, Sequence[tuple[str, Image.Image]]]]) -> Image.Image:
    """Rows of pictures, each row below its label and each picture below its name, if it has one.

    Where there are heat maps, their legend is last.
    """
    gap = 4
    heads = [LABEL_HEIGHT * (2 if any(name for name, _ in row) else 1) for _, row in rows]
    heights = [
        head + max(image.height for _, image in row) + gap
        for head, (_, row) in zip(heads, rows, strict=True)
    ]
    width = max(sum(image.width + gap for _, image in row) for _, row in rows)
    heat = any("-heat-" in name for _, row in rows for name, _ in row)
    heights.append(heat_legend().height + gap if heat else 0)
    page = Image.new("RGB", (width, sum(heights)), (255, 255, 255))
    text = ImageDraw.Draw(page)
    top = 0
    font = ImageFont.load_default(12)
    for (label, row), head, height in zip(rows, heads, heights, strict=False):
        text.text((2, top + 2), label, fill=(60, 60, 60), font=font)
        left = 0
        for name, image in row:
            text.text((left + 2, top + LABEL_HEIGHT + 2), name, fill=(60, 60, 60), font=font)
            page.paste(image, (left, top + head))
            left += image.width + gap
        top += height
    if heat:
        page.paste(heat_legend(), (0, top))
    return page


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Exhibits; all if absent.")] = None,
) -> None:
    """Draw the exhibits and write the page that shows them."""
    model, _ = load()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or EXHIBITS:
        rows = [(row.label, pictures_of(model, row)) for row in EXHIBITS[name].rows]
        page = sheet(rows)
        if not any(row.stems for row in EXHIBITS[name].rows):  # whose colours have to be exact
            page = page.quantize(256, dither=Image.Dither.NONE)
        page.save(FOLDER / f"{name}.png", optimize=True)
        typer.echo(name)
    (FOLDER / "README.md").write_text(text_of_all())


def text_of_all() -> str:
    """The gallery's page, with one request of each exhibit."""
    parts = [
        "# Gallery\n",
        "Drawn on the built-in model, unpicked, by `python -m benchmarks.gallery`.\n",
    ]
    for name, exhibit in EXHIBITS.items():
        request = json.dumps(exhibit.rows[-1].request, indent=2)
        parts += [
            f"## {exhibit.title}\n",
            f"{exhibit.caption}\n",
            f"![{exhibit.title}]({name}.png)\n",
            f"<details><summary>The last row's request</summary>\n\n```json\n{request}\n```\n\n"
            "</details>\n",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    typer.run(main)
