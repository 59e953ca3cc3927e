"""How much of a reference's style StyleAligned brings to the other pictures of a set.

    python -m benchmarks.style_distance [--sets 40] [--steps 25]

On the built-in model, where the truth is known. A set is a reference whose prompt names a
style ("a house in neon style") and targets whose prompts name none ("a cat"), drawn three
ways from the same noise: independently, with shared attention without AdaIN, and in full.
Then the same again with a given picture for a reference: a drawn scene, inverted.

Style distance of two pictures: the mean, over the three finer stages of the judge's network
(1/2, 1/4 and 1/8 of the picture's size), of |G_a - G_b|^2 / (|G_a| |G_b|) in the Frobenius
norm, where G is the Gram matrix of the stage's features (Gatys et al., CVPR 2016). The
coarsest stage holds subjects, not styles: real scenes of one style are as far apart in it
as those of two. How far real scenes are apart in the others is measured too, as the scale
on which to read the rest.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import mean, stdev
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from benchmarks.record import write
from core.algorithms.style_aligned import style_aligned
from core.contract.images import Upload
from core.contract.models import BUILT_IN_MODELS, load_catalog
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.model import DiffusionModel, best_device, load_model, quiet_loading
from training.judge import Judge, load_judge
from training.scenes import scene
from training.world import BACKGROUNDS, COLOUR_NAMES, STYLES, SUBJECTS, Content, Thing

MODELS = BUILT_IN_MODELS.parent
TARGETS_A_SET = 4
STYLE_STAGES = 3

WAYS = {
    "independent": Sharing(
        attention=False, adain_queries=False, adain_keys=False, group_norm=False
    ),
    "shared, no AdaIN": Sharing(adain_queries=False, adain_keys=False),
    "shared": Sharing(),
}


@dataclass(frozen=True)
class Figures:
    """One way of drawing, over all sets."""

    distance: float
    """Mean style distance of a set's targets to its reference, over sets."""
    distance_spread: float
    """Standard deviation of the sets' means."""
    subject_accuracy: float
    """Share of targets whose subject the judge names."""
    style_accuracy: float
    """Share of targets in which the judge sees the reference's style."""


@dataclass(frozen=True)
class StyleSet:
    """What one set shows."""

    style: str
    reference: str
    targets: tuple[str, ...]
    seed: int

    def request(self, sharing: Sharing, steps: int, *, given: bool) -> StyleAlignedRequest:
        reference = f"a {self.reference} in {self.style} style"
        image = {"image": {"upload": "img_" + 32 * "0"}} if given else {}
        return StyleAlignedRequest.model_validate(
            {
                "prompts": [f"a {subject}" for subject in self.targets],
                "reference": {"prompt": reference} | image,
                "seed": self.seed,
                "sharing": sharing,
                "sampling": {"steps": steps},
            }
        )

    def scene(self) -> Image.Image:
        """The reference as the world draws it."""
        thing = Thing(self.reference, COLOUR_NAMES[self.seed % len(COLOUR_NAMES)])
        content = Content((thing,), self.style, BACKGROUNDS[self.seed % len(BACKGROUNDS)])
        return Image.fromarray(scene(self.seed, content=content).picture)


def style_sets(count: int, targets: int = TARGETS_A_SET) -> list[StyleSet]:
    """`count` sets, the styles in turn, subjects drawn without replacement in each set."""
    rng = random.Random(0)
    sets = []
    for index in range(count):
        reference, *others = rng.sample(SUBJECTS, targets + 1)
        sets.append(StyleSet(STYLES[index % len(STYLES)], reference, tuple(others), 100 + index))
    return sets


def gram_distance(judge: Judge, ours: Tensor, theirs: Tensor) -> Tensor:
    """Style distance (n,) of pictures `ours` (n, 3, h, w) to `theirs` (n or 1, 3, h, w)."""
    distances = []
    for a, b in zip(_grams(judge, ours), _grams(judge, theirs), strict=True):
        lengths = a.norm(dim=(1, 2)) * b.norm(dim=(1, 2))
        distances.append((a - b).square().sum(dim=(1, 2)) / lengths)
    return torch.stack(distances).mean(dim=0)


def _grams(judge: Judge, images: Tensor) -> list[Tensor]:
    """Gram matrices (n, channels, channels) of the stages that hold style."""
    stages = judge.features(images)[:STYLE_STAGES]
    return [f.flatten(2) @ f.flatten(2).mT / f[0, 0].numel() for f in stages]


def distance_of_scenes(judge: Judge, count: int = 200) -> dict[str, float]:
    """Mean style distance of drawn scenes of different subjects: of one style, and of two."""
    rng = random.Random(0)

    def drawn(style: str) -> Tensor:
        return pixels([StyleSet(style, rng.choice(SUBJECTS), (), rng.randrange(10**6)).scene()])

    distances: dict[str, list[float]] = {"one style": [], "two styles": []}
    for index in range(count):
        style = STYLES[index % len(STYLES)]
        other = rng.choice([name for name in STYLES if name != style])
        picture = drawn(style)
        for name, compared in (("one style", style), ("two styles", other)):
            distances[name].append(float(gram_distance(judge, drawn(compared), picture)))
    return {name: mean(values) for name, values in distances.items()}


def measure(
    model: DiffusionModel,
    judge: Judge,
    sets: Sequence[StyleSet],
    steps: int,
    *,
    given: bool = False,
    ways: Mapping[str, Sharing] = WAYS,
) -> dict[str, Figures]:
    """Draw all sets in each of the `ways` and judge them.

    given: the references are pictures of the world, inverted; distances are to those pictures.
    """
    distances: dict[str, list[float]] = {way: [] for way in ways}
    subjects: dict[str, list[bool]] = {way: [] for way in ways}
    styles: dict[str, list[bool]] = {way: [] for way in ways}
    for item in track(sets, "drawing sets", console=Console(stderr=True)):
        for way, sharing in ways.items():
            request = item.request(sharing, steps, given=given).resolve(model.spec)
            picture = item.scene()
            around = replace(alone(), image=partial(_always, picture))
            made = style_aligned(model, request, around)
            drawn = [thing for thing in made if isinstance(thing, Picture)]
            shown = [p.image for p in drawn if p.kind == "reference"]
            reference = pixels([picture] if given else shown)
            targets = pixels([p.image for p in drawn if p.kind == "image"])
            distances[way].append(float(gram_distance(judge, targets, reference).mean()))
            wanted = [SUBJECTS.index(subject) for subject in item.targets]
            subjects[way] += (judge.subjects(targets).argmax(1) == torch.tensor(wanted)).tolist()
            style = STYLES.index(item.style)
            styles[way] += (judge.styles(targets).argmax(1) == style).tolist()
    return {
        way: Figures(
            distance=mean(distances[way]),
            distance_spread=stdev(distances[way]),
            subject_accuracy=mean(map(float, subjects[way])),
            style_accuracy=mean(map(float, styles[way])),
        )
        for way in ways
    }


def _always(picture: Image.Image, _: Upload) -> Image.Image:
    return picture


def pixels(images: Sequence[Image.Image]) -> Tensor:
    """Pictures as float (n, 3, height, width) in [0, 1]."""
    levels = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255


def load() -> tuple[DiffusionModel, Judge]:
    """The built-in model, and the judge that ships with it."""
    quiet_loading()
    spec = load_catalog(BUILT_IN_MODELS).resolve("tiny-world")
    return load_model(spec, best_device()), load_judge(MODELS / "tiny-world-judge")


def show(title: str, figures: dict[str, Figures]) -> None:
    """Print a line a way, with the change from drawing independently."""
    typer.echo(title)
    base = figures["independent"].distance
    for way, f in figures.items():
        typer.echo(
            f"  {way:17} distance {f.distance:.3f} ± {f.distance_spread:.3f} "
            f"({f.distance / base - 1:+.0%})  subject {f.subject_accuracy:.0%}  "
            f"reference's style {f.style_accuracy:.0%}"
        )


def main(
    sets: Annotated[int, typer.Option(min=2)] = 40,
    steps: Annotated[int, typer.Option(min=1)] = 25,
) -> None:
    """Measure, print, and write `results/style_distance.json`."""
    model, judge = load()
    references = {"drawn from a prompt": False, "given as a picture": True}
    found = {
        name: measure(model, judge, style_sets(sets), steps, given=given)
        for name, given in references.items()
    }
    scenes = distance_of_scenes(judge)
    typer.echo(f"real scenes: {', '.join(f'{n} {d:.3f}' for n, d in scenes.items())}")
    for name, figures in found.items():
        show(f"reference {name}", figures)
    write(
        "style_distance",
        f"--sets {sets} --steps {steps}",
        {
            "scenes": scenes,
            "references": {
                name: {way: asdict(f) for way, f in figures.items()}
                for name, figures in found.items()
            },
        },
        model,
    )


if __name__ == "__main__":
    typer.run(main)
