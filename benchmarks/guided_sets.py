"""Control, a new character, two styles in one panorama, and the ablations, on known scenes.

    python -m benchmarks.guided_sets [--sets 10] [--steps 25]

On the built-in model and the networks that ship beside it. Each figure is a mean over sets
with its spread, the standard deviation of the sets' means. Style distance is that of
`benchmarks.style_distance`.

control: the edges of a drawn scene say where things go. Structure is the overlap (IoU) of
what the masker takes for things in the picture with the scene's exact mask.
character: a LoRA for a snail, which the model has never seen; the probe says whether one is
there. All prompts name the style, as in the paper: without, the LoRA's few scenes win.
panorama: two references, left and right. A side is judged on the window at its far end.
ablations: consistency is the mean style distance of a set's pictures to each other; lower
is more alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean, stdev
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks.record import write
from benchmarks.style_distance import (
    MODELS,
    WAYS,
    StyleSet,
    gram_distance,
    load,
    pixels,
    style_sets,
)
from core.algorithms.style_aligned import style_aligned
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import Sharing, StyleAlignedRequest
from core.diffusion.model import DiffusionModel
from training.judge import Judge
from training.masker import Masker, load_masker
from training.probe import Probe, load_probe
from training.scenes import scene
from training.world import COLOUR_NAMES, STYLES, SUBJECTS, Content, Thing

UPLOAD = {"upload": "img_" + 32 * "0"}
PANORAMA_WIDTH = 256


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the sets' means."""

    mean: float
    spread: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(mean(values), stdev(values))

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.spread:.3f}"


Found = dict[str, Spread]


@dataclass(frozen=True)
class Judges:
    """What measures the pictures."""

    judge: Judge
    masker: Masker
    probe: Probe

    @classmethod
    def load(cls, judge: Judge) -> Judges:
        probe = load_probe(MODELS / "tiny-world-adapters" / "snail-judge.safetensors", judge)
        return cls(judge, load_masker(MODELS / "tiny-world-judge"), probe)


def draw(
    model: DiffusionModel, steps: int, image: Image.Image | None = None, **body: Any
) -> dict[str, list[Tensor]]:
    """Pictures by kind, each (1, 3, h, w) in [0, 1]; `image` is what the body's upload shows."""
    body = body | {"sampling": {"steps": steps}, "output": {"grid": False}}
    request = StyleAlignedRequest.model_validate(body).resolve(model.spec)
    around = alone() if image is None else replace(alone(), image=lambda _: image)
    kinds: dict[str, list[Tensor]] = {}
    for made in style_aligned(model, request, around):
        if isinstance(made, Picture):
            kinds.setdefault(made.kind, []).append(pixels([made.image]))
    return kinds


def collect(results: Sequence[Mapping[str, float]]) -> Found:
    return {name: Spread.of([result[name] for result in results]) for name in results[0]}


def control(model: DiffusionModel, judges: Judges, sets: list[StyleSet], steps: int) -> Found:
    """Structure and style with control and without."""
    results = []
    for item in sets:
        content = Content((Thing(item.targets[0], "blue"),), "flat", "plain")
        shown = scene(item.seed, content=content)
        wanted = torch.from_numpy(shown.masks.any(0))
        body: dict[str, Any] = {
            "prompts": [f"a {item.targets[0]}"] * 2,
            "reference": {"prompt": f"a {item.reference} in {item.style} style"},
            "seed": item.seed,
        }
        result = {}
        for name, extra in (
            ("with control", {"control": {"type": "canny", "image": UPLOAD}}),
            ("without", {}),
        ):
            drawn = draw(model, steps, Image.fromarray(shown.picture), **body, **extra)
            targets = torch.cat(drawn["image"])
            result[f"structure IoU {name}"] = overlap(judges.masker, targets, wanted)
            distance = gram_distance(judges.judge, targets, drawn["reference"][0])
            result[f"style distance {name}"] = float(distance.mean())
        results.append(result)
    return collect(results)


def overlap(masker: Masker, images: Tensor, wanted: Tensor) -> float:
    """Mean IoU of the things in `images` with the mask `wanted` (h, w)."""
    found = masker.foreground(images) > 0.5
    both = (found & wanted).sum(dim=(1, 2))
    return float((both / (found | wanted).sum(dim=(1, 2))).mean())


LORA = {"adapters": [{"name": "snail-lora"}]}
CHARACTER_WAYS: dict[str, dict[str, Any]] = {
    "LoRA, shared": LORA,
    "LoRA, independent": LORA | {"sharing": WAYS["independent"]},
    "no LoRA, shared": {},
}


def character(
    model: DiffusionModel,
    judges: Judges,
    sets: list[StyleSet],
    steps: int,
    ways: Mapping[str, dict[str, Any]] = CHARACTER_WAYS,
) -> Found:
    """Whether the snail is there, and how near its pictures are to the reference's style."""
    results = []
    for item in sets:
        body: dict[str, Any] = {
            "prompts": [f"a {colour} snail" for colour in COLOUR_NAMES[:4]],
            "style": f"in {item.style} style",
            "reference": {"prompt": f"a {item.reference}"},
            "seed": item.seed,
        }
        result = {}
        for name, extra in ways.items():
            drawn = draw(model, steps, **body, **extra)
            targets = torch.cat(drawn["image"])
            result[f"snails, {name}"] = float((judges.probe.shows(targets) > 0.5).float().mean())
            distance = gram_distance(judges.judge, targets, drawn["reference"][0])
            result[f"style distance, {name}"] = float(distance.mean())
        results.append(result)
    return collect(results)


def panorama(model: DiffusionModel, judges: Judges, sets: list[StyleSet], steps: int) -> Found:
    """Style distance of each side to its own reference and to the other's."""
    results = []
    half = PANORAMA_WIDTH // 2
    for item in sets:
        other = STYLES[(STYLES.index(item.style) + 3) % len(STYLES)]
        drawn = draw(
            model,
            steps,
            prompts=[f"a {item.targets[0]}"],
            references=[
                {"prompt": f"a {item.reference} in {style} style"} for style in (item.style, other)
            ],
            seed=item.seed,
            panorama={
                "width": PANORAMA_WIDTH,
                "stride": 16,
                "regions": [{"reference": 0, "to": half}, {"reference": 1, "from": half}],
            },
        )
        picture = drawn["image"][0]
        sides = (picture[..., :64], picture[..., -64:])
        own, others, nearer = [], [], []
        for index, side in enumerate(sides):
            distances = [
                float(gram_distance(judges.judge, side, reference))
                for reference in drawn["reference"]
            ]
            own.append(distances[index])
            others.append(distances[1 - index])
            nearer.append(float(own[-1] < others[-1]))
        results.append(
            {
                "to its own reference": mean(own),
                "to the other's": mean(others),
                "sides nearer to their own": mean(nearer),
            }
        )
    return collect(results)


def ablations(model: DiffusionModel, judges: Judges, sets: list[StyleSet], steps: int) -> Found:
    """Consistency of a set, and whether its subjects are still there."""
    results = []
    for item in sets:
        result = {}
        for name, sharing in (WAYS | {"full sharing": Sharing(full=True)}).items():
            drawn = draw(
                model,
                steps,
                prompts=[f"a {subject}" for subject in item.targets],
                reference={"prompt": f"a {item.reference} in {item.style} style"},
                seed=item.seed,
                sharing=sharing,
            )
            everyone = [*drawn["reference"], *drawn["image"]]
            distances = [
                float(gram_distance(judges.judge, one, two))
                for one, two in combinations(everyone, 2)
            ]
            result[f"consistency, {name}"] = mean(distances)
            wanted = torch.tensor([SUBJECTS.index(subject) for subject in item.targets])
            seen = judges.judge.subjects(torch.cat(drawn["image"])).argmax(1)
            result[f"subjects, {name}"] = float((seen == wanted).float().mean())
        results.append(result)
    return collect(results)


MEASURES = {
    "control": control,
    "character": character,
    "panorama": panorama,
    "ablations": ablations,
}


def main(
    sets: Annotated[int, typer.Option(min=2)] = 10,
    steps: Annotated[int, typer.Option(min=1)] = 25,
) -> None:
    """Measure, print, and write `results/guided_sets.json`."""
    model, judge = load()
    judges = Judges.load(judge)
    found = {}
    for name, measure in MEASURES.items():
        found[name] = measure(model, judges, style_sets(sets), steps)
        typer.echo(name)
        for figure, spread in found[name].items():
            typer.echo(f"  {figure:40} {spread}")
    write(
        "guided_sets",
        f"--sets {sets} --steps {steps}",
        {
            "figures": {
                name: {figure: vars(spread) for figure, spread in spreads.items()}
                for name, spreads in found.items()
            }
        },
        model,
    )


if __name__ == "__main__":
    typer.run(main)
