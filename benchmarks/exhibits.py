"""What the gallery shows: for each exhibit, some rows of pictures, each row one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from benchmarks.appearance_pairs import make_pairs
from benchmarks.style_distance import WAYS
from core.contract.style_aligned import Sharing
from training.scenes import scene
from training.world import Content, Thing

TARGETS = ["a cat", "a boat", "a tree", "a person"]
UPLOAD, OTHER_UPLOAD = ({"upload": f"img_{number:032d}"} for number in range(2))
INDEPENDENT = WAYS["independent"].model_dump()


@dataclass(frozen=True)
class Row:
    """One request, what is said beside it, and the pictures that its uploads show.

    stems: the artifacts that are shown, each below its name, after what was given; by default
    all pictures drawn.
    """

    label: str
    request: dict[str, Any]
    uploads: Sequence[Image.Image] = ()
    technique: str = "style-aligned"
    stems: Sequence[str] = ()


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
TWO_THINGS = "a red cat and a blue house on grass"
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
    "appearance-transfer": Exhibit(
        "The shape of one picture in the look of another",
        "Structure, appearance, and what came of them: the first eight pairs of the benchmark.",
        [
            Row(
                f"{pair.structure.content.things[0].subject}, {pair.structure.content.style}; "
                f"{pair.appearance.content.things[0].subject}, {pair.appearance.content.style}",
                pair.request({}).model_dump(mode="json", exclude_defaults=True),
                [Image.fromarray(s.picture) for s in (pair.structure, pair.appearance)],
                technique="appearance-transfer",
            )
            for pair in make_pairs(8)
        ],
    ),
    "segmentation": Exhibit(
        "What parts a picture has",
        "Cut by the model's own attention and named by it: a new picture by both methods, and "
        "a given one. The last picture shows three components of the features as colours.",
        [
            *(
                Row(
                    f"drawn, {method}",
                    {"prompt": TWO_THINGS, "method": method, "seed": 7},
                    technique="segmentation",
                    stems=["image", "overlay", "mask-cat", "features"],
                )
                for method in ("clusters", "merge")
            ),
            Row(
                "given",
                {"image": UPLOAD, "prompt": "an orange giraffe on grass", "seed": 7},
                [GIRAFFE],
                technique="segmentation",
                stems=["overlay", "mask-giraffe", "features"],
            ),
        ],
    ),
    "attention-maps": Exhibit(
        "What the model looks at",
        "Heat maps of words, what one point reads, and components of features and of "
        "self-attention. The heat of a ground's word lies in the sky too: see the model card.",
        [
            Row(
                TWO_THINGS,
                {"prompt": TWO_THINGS, "queries": [[20, 40]], "seed": 7},
                technique="attention-maps",
                stems=["overview"],
            )
        ],
    ),
    "inspect": Exhibit(
        "What it looked at in a set of one style",
        "From the run that draws the set, which stays the same picture for picture.",
        [
            Row(
                f"{prompt}, in papercut style",
                {
                    "prompts": ["a red cat", "a blue house", "a yellow boat"],
                    "style": "in papercut style",
                    "seed": 7,
                    "inspect": {"segments": 5},
                },
                stems=[f"image-{number:03d}{end}" for end in ends],
            )
            for number, (prompt, ends) in enumerate(
                {
                    "a red cat": ("", "-heat-red", "-heat-cat", "-overlay"),
                    "a blue house": ("", "-heat-blue", "-heat-house", "-overlay"),
                    "a yellow boat": ("", "-heat-yellow", "-heat-boat", "-overlay"),
                }.items()
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
