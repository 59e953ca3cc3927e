"""Draw the pictures of `docs/gallery` on the built-in model, unpicked: seeds are fixed.

    python -m benchmarks.gallery [NAME …]

Each exhibit is some rows of pictures, each row one request; its caption says what to see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageDraw, ImageFont

from benchmarks.style_distance import WAYS, load
from core.algorithms.style_aligned import style_aligned
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from training.scenes import scene
from training.world import Content, Thing

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "gallery"
ZOOM = 2
LABEL_HEIGHT = 16

TARGETS = ["a cat", "a boat", "a tree", "a person"]
UPLOAD, OTHER_UPLOAD = ({"upload": f"img_{number:032d}"} for number in range(2))
INDEPENDENT = WAYS["independent"].model_dump()


@dataclass(frozen=True)
class Row:
    """One request, what is said beside it, and the picture that its uploads show."""

    label: str
    request: dict[str, Any]
    uploads: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class Exhibit:
    """One picture of the gallery."""

    title: str
    caption: str
    rows: Sequence[Row]


def drawn_scene(subject: str, colour: str, style: str, background: str, seed: int) -> Image.Image:
    """A picture that no model has made."""
    content = Content((Thing(subject, colour),), style, background)
    return Image.fromarray(scene(seed, content=content).picture)


def by_prompt(style: str, **more: Any) -> dict[str, Any]:
    """A reference drawn from a prompt."""
    return {"prompt": f"a house in {style} style"} | more


RIGHT = Image.linear_gradient("L").rotate(90).point(lambda level: 255 if level > 128 else 0)
GIRAFFE = drawn_scene("giraffe", "orange", "flat", "grass", 5)
REGIONS = [{"reference": 0, "to": 192}, {"reference": 1, "from": 192}]
SNAIL_LORA = {"adapters": [{"name": "snail-lora"}]}
SNAILS = ["a red snail", "a blue snail", "a yellow snail", "a green snail"]

EXHIBITS = {
    "from-text": Exhibit(
        "One style from a prompt",
        "The first picture's prompt names a style; the others' name none. Above: the same "
        "noise without sharing.",
        [
            Row(name, {"prompts": [f"a house in {style} style", *TARGETS], "seed": 7, **extra})
            for style in ("neon", "striped", "blueprint")
            for name, extra in (
                ("without", {"sharing": INDEPENDENT}),
                ("shared", {}),
            )
        ],
    ),
    "from-picture": Exhibit(
        "One style from a given picture",
        "The first picture is a drawn scene, inverted by DDIM. The rows follow it less and more.",
        [
            Row(
                f"strength {strength}",
                {
                    "prompts": TARGETS,
                    "seed": 7,
                    "reference": {
                        "image": UPLOAD,
                        "prompt": "a mushroom in dotted style",
                        "strength": strength,
                    },
                },
                [drawn_scene("mushroom", "purple", "dotted", "sand", 3)],
            )
            for strength in (0.5, 1, 2, 4)
        ],
    ),
    "several-references": Exhibit(
        "Several references",
        "A neon and a watercolor house, by weight. Last: one on each side, by mask.",
        [
            *(
                Row(
                    f"{one} : {other}",
                    {
                        "prompts": TARGETS,
                        "seed": 7,
                        "references": [
                            by_prompt("neon", weight=one),
                            by_prompt("watercolor", weight=other),
                        ],
                    },
                )
                for one, other in ((9, 1), (1, 1), (1, 9))
            ),
            Row(
                "left : right",
                {
                    "prompts": TARGETS,
                    "seed": 7,
                    "references": [
                        by_prompt("neon", mask=UPLOAD),
                        by_prompt("watercolor", mask=OTHER_UPLOAD),
                    ],
                },
                [RIGHT.transpose(Image.Transpose.FLIP_LEFT_RIGHT), RIGHT],
            ),
        ],
    ),
    "control": Exhibit(
        "Edges say what goes where",
        "A ControlNet sees the edges of a drawn giraffe; the reference, drawn without it, "
        "gives the style.",
        [
            Row(
                style,
                {
                    "prompts": ["a giraffe", "a horse", "a giraffe on grass"],
                    "seed": 7,
                    "reference": by_prompt(style),
                    "control": {"type": "canny", "image": UPLOAD},
                },
                [GIRAFFE],
            )
            for style in ("neon", "papercut", "sketch", "dotted")
        ],
    ),
    "character": Exhibit(
        "A character that the model has never seen",
        "A LoRA learnt from twelve scenes of a snail. It acts on the pictures, not on the "
        "reference. First row: without it.",
        [
            Row(
                f"{style}, {name}",
                {
                    "prompts": SNAILS,
                    "style": f"in {style} style",
                    "seed": 7,
                    "reference": {"prompt": "a house"},
                    **extra,
                },
            )
            for style, name, extra in (
                ("papercut", "without the LoRA", {}),
                ("papercut", "with it", SNAIL_LORA),
                ("striped", "with it", SNAIL_LORA),
                ("watercolor", "with it", SNAIL_LORA),
                ("blueprint", "with it", SNAIL_LORA),
            )
        ],
    ),
    "panorama": Exhibit(
        "Panoramas",
        "Windows of the model's size, denoised together (MultiDiffusion), each following the "
        "reference.",
        [
            Row(
                style,
                {
                    "prompts": ["a house"],
                    "seed": 7,
                    "reference": by_prompt(style),
                    "panorama": {"width": 320, "stride": 16},
                },
            )
            for style in ("papercut", "striped", "blueprint")
        ],
    ),
    "two-styles": Exhibit(
        "Two styles in one picture",
        "The left half follows one reference and the right half another, and between them "
        "one goes over into the other.",
        [
            Row(
                f"{left}, {right}",
                {
                    "prompts": [prompt],
                    "seed": 7,
                    "references": [by_prompt(left), by_prompt(right)],
                    "panorama": {"width": 384, "stride": 16, "blend": 128, "regions": REGIONS},
                },
            )
            for prompt, left, right in (
                ("a house", "watercolor", "neon"),
                ("a tree", "sketch", "glass"),
                ("a mushroom", "dotted", "blueprint"),
            )
        ],
    ),
    "ablations": Exhibit(
        "What sharing is made of",
        "The same noise with more and more of the method; last, all pictures attending to all.",
        [
            Row(
                name,
                {
                    "prompts": TARGETS,
                    "seed": 7,
                    "reference": by_prompt("neon"),
                    "sharing": sharing.model_dump(),
                },
            )
            for name, sharing in (WAYS | {"full sharing": Sharing(full=True)}).items()
        ],
    ),
}


def pictures_of(model: DiffusionModel, row: Row) -> list[Image.Image]:
    """References, what the ControlNet sees, and pictures, in this order."""
    request = StyleAlignedRequest.model_validate(row.request).resolve(model.spec)
    shown = {f"img_{number:032d}": image for number, image in enumerate(row.uploads)}
    around = replace(alone(), image=lambda image: shown[image.upload].convert("RGB"))
    made = [m for m in style_aligned(model, request, around) if isinstance(m, Picture)]
    kinds = ("reference", "control", "image")
    pictures = [p for kind in kinds for p in made if p.kind == kind]
    if not request.draws_references_apart:
        pictures = pictures[1:]  # the reference is the first picture
    controls = [p for p in pictures if p.kind == "control"]
    return [p.image for p in pictures if p not in controls[1:]]


def sheet(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    """Rows of pictures, each below its label, magnified."""
    gap = 4
    heights = [LABEL_HEIGHT + ZOOM * max(image.height for image in row) + gap for _, row in rows]
    width = max(sum(ZOOM * image.width + gap for image in row) for _, row in rows)
    page = Image.new("RGB", (width, sum(heights)), (255, 255, 255))
    text = ImageDraw.Draw(page)
    top = 0
    for (label, row), height in zip(rows, heights, strict=True):
        text.text((2, top + 2), label, fill=(60, 60, 60), font=ImageFont.load_default(12))
        left = 0
        for image in row:
            large = image.resize(
                (ZOOM * image.width, ZOOM * image.height), Image.Resampling.BICUBIC
            )
            page.paste(large, (left, top + LABEL_HEIGHT))
            left += large.width + gap
        top += height
    return page


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Exhibits; all if absent.")] = None,
) -> None:
    """Draw the exhibits and write the page that shows them."""
    model, _ = load()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or EXHIBITS:
        rows = [(row.label, pictures_of(model, row)) for row in EXHIBITS[name].rows]
        sheet(rows).quantize(256, dither=Image.Dither.NONE).save(
            FOLDER / f"{name}.png", optimize=True
        )
        typer.echo(name)
    (FOLDER / "README.md").write_text(page())


def page() -> str:
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
