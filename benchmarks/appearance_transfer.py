"""How well appearance transfer keeps a shape and takes a look, and what does it.

    python -m benchmarks.appearance_transfer [--pairs 32] [--sheet sheet.png]

On the built-in model, where the truth is known. A pair is two drawn scenes of one thing each:
a structure and an appearance of another colour and background, a quarter each of the same and
another subject in the same and another style. It is run in several ways from the same noise.

- shape: IoU of the output's subject, as the masker sees it, with the structure's exact mask.
- colour: Euclidean distance, in levels of 0 to 255, of the mean RGB inside the subject's mask of
  one picture to that of another. "Nearer" is a pair whose output is nearer to the appearance than
  its structure was.
- style: share of the pairs of two styles in which the judge sees the appearance's.

Beside it, how near a picture comes back from its edit-friendly inversion, against how near it
comes back from the autoencoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.appearance_pairs import Pair, colour_distance, make_pairs, overlap, thing_in
from benchmarks.record import write
from benchmarks.style_distance import MODELS, load, pixels
from core.algorithms.appearance_transfer import appearance_transfer
from core.diffusion.images import decode_image, encode_image
from core.diffusion.model import DiffusionModel
from training.judge import Judge
from training.masker import Masker, load_masker
from training.world import STYLES

NOWHERE = {"start": 0, "end": 0}
NO_SWAP = {"fine": NOWHERE, "coarse": NOWHERE}
WAYS: dict[str, dict[str, Any]] = {
    "balanced": {},
    "swap alone": {"ranges": {"adain": NOWHERE}},
    "AdaIN alone": {"ranges": NO_SWAP},
    "neither": {"ranges": {**NO_SWAP, "adain": NOWHERE}},
    "whole AdaIN": {"mask_adain": False},
    "contrast 1.67": {"contrast": 1.67},
    "swap alone, contrast 1.67": {"ranges": {"adain": NOWHERE}, "contrast": 1.67},
    "strong": {"preset": "strong"},
    "faithful": {"preset": "faithful"},
}


@dataclass(frozen=True)
class Outcome:
    """One pair in one way. Distances are of colours; `before` is the structure's."""

    iou: float
    distance: float
    before: float
    style_seen: bool


@dataclass(frozen=True)
class Figures:
    """One way over pairs."""

    pairs: int
    iou: float
    iou_spread: float
    iou_above_07: float
    distance: float
    distance_spread: float
    before: float
    nearer: float
    holds: float
    """Share of the pairs that are nearer and have an IoU of 0.7 at least."""
    style_seen: float | None


def subject_of(masker: Masker, picture: Image.Image) -> NDArray[np.bool_]:
    """Where the masker sees a subject, (height, width)."""
    return np.asarray(masker.foreground(pixels([picture]))[0] > 0.5)


def judge_output(pair: Pair, output: Image.Image, masker: Masker, judge: Judge) -> Outcome:
    """What came of one pair."""
    seen = subject_of(masker, output)
    own, others = thing_in(pair.structure), thing_in(pair.appearance)
    target = pair.appearance.picture
    style = STYLES.index(pair.appearance.content.style)
    return Outcome(
        iou=overlap(seen, own),
        distance=colour_distance(np.asarray(output), seen, target, others),
        before=colour_distance(pair.structure.picture, own, target, others),
        style_seen=int(judge.styles(pixels([output])).argmax()) == style,
    )


def measure(
    model: DiffusionModel,
    judge: Judge,
    masker: Masker,
    pairs: Sequence[Pair],
    ways: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, list[Outcome]], list[list[Image.Image]]]:
    """Every pair in each of `ways`: outcomes, and the output pictures pair by pair."""
    outcomes: dict[str, list[Outcome]] = {way: [] for way in ways}
    outputs: list[list[Image.Image]] = []
    for pair in track(pairs, "transferring", console=Console(stderr=True)):
        around = pair.around()
        outputs.append([])
        for way, settings in ways.items():
            request = pair.request(settings).resolve(model.spec)
            output = next(iter(appearance_transfer(model, request, around))).image
            outcomes[way].append(judge_output(pair, output, masker, judge))
            outputs[-1].append(output)
    return outcomes, outputs


def figures(outcomes: Sequence[Outcome], pairs: Sequence[Pair]) -> Figures:
    """What outcomes of the same pairs come to."""
    two_styles = [o for o, p in zip(outcomes, pairs, strict=True) if not p.of_one_style]
    ious, distances = [o.iou for o in outcomes], [o.distance for o in outcomes]
    return Figures(
        pairs=len(outcomes),
        iou=mean(ious),
        iou_spread=stdev(ious),
        iou_above_07=mean(float(iou >= 0.7) for iou in ious),
        distance=mean(distances),
        distance_spread=stdev(distances),
        before=mean(o.before for o in outcomes),
        nearer=mean(float(o.distance < o.before) for o in outcomes),
        holds=mean(float(o.distance < o.before and o.iou >= 0.7) for o in outcomes),
        style_seen=mean(float(o.style_seen) for o in two_styles) if two_styles else None,
    )


def figures_by_kind(outcomes: Sequence[Outcome], pairs: Sequence[Pair]) -> dict[str, Figures]:
    """The same for pairs of one or two subjects in one or two styles apart."""
    kinds: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        subjects = "one subject" if pair.of_one_subject else "two subjects"
        styles = "one style" if pair.of_one_style else "two styles"
        kinds.setdefault(f"{subjects}, {styles}", []).append(index)
    return {
        kind: figures([outcomes[i] for i in of_kind], [pairs[i] for i in of_kind])
        for kind, of_kind in kinds.items()
    }


def reconstruction(model: DiffusionModel, pairs: Sequence[Pair]) -> dict[str, float]:
    """Mean absolute error, in levels, of pictures that come back; of the given and of the VAE's.

    Two guidances of the inversion. The loop draws without guidance, so that of 1 is exact.
    """
    errors: dict[str, list[float]] = {"autoencoder": []}
    for pair in pairs:
        given = pair.structure.picture.astype(float)
        latents = encode_image(model, Image.fromarray(pair.structure.picture))
        decoded = np.asarray(decode_image(model, latents), float)
        errors["autoencoder"].append(float(np.abs(decoded - given).mean()))
        for scale in (1.0, 3.5):
            settings = {"inversion_guidance_scale": scale, "ranges": WAYS["neither"]["ranges"]}
            request = pair.request(settings).resolve(model.spec)
            again = next(
                np.asarray(picture.image, float)
                for picture in appearance_transfer(model, request, pair.around())
                if picture.stem == "structure-reconstruction"
            )
            name = f"inverted at guidance {scale:g}"
            errors.setdefault(name, []).append(float(np.abs(again - given).mean()))
            errors.setdefault(f"{name}, beyond the autoencoder", []).append(
                float(np.abs(again - decoded).mean())
            )
    return {name: round(mean(values), 3) for name, values in errors.items()}


def masks_found(model: DiffusionModel, pairs: Sequence[Pair], rule: str) -> dict[str, float]:
    """IoU of the jobs' own masks of both pictures with the exact ones: the mean and the worst."""
    ious = []
    for pair in pairs:
        request = pair.request({"mask_rule": rule}).resolve(model.spec)
        made = {p.stem: p.image for p in appearance_transfer(model, request, pair.around())}
        for name, one in (("structure", pair.structure), ("appearance", pair.appearance)):
            found = np.asarray(made[f"{name}-mask"].convert("L")) > 127
            ious.append(overlap(found, thing_in(one)))
    return {"mean": round(mean(ious), 3), "worst": round(min(ious), 3)}


def sheet(pairs: Sequence[Pair], outputs: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """A row a pair: structure, appearance, then the ways in order."""
    rows = [
        np.concatenate(
            [pair.structure.picture, pair.appearance.picture, *map(np.asarray, images)], axis=1
        )
        for pair, images in zip(pairs, outputs, strict=True)
    ]
    return Image.fromarray(np.concatenate(rows))


def show(title: str, f: Figures) -> None:
    style = "" if f.style_seen is None else f"  style {f.style_seen:.0%}"
    typer.echo(
        f"{title:26} IoU {f.iou:.2f} ± {f.iou_spread:.2f} (>= .7: {f.iou_above_07:.0%})  "
        f"colour {f.before:.0f} -> {f.distance:.0f} ± {f.distance_spread:.0f} "
        f"nearer {f.nearer:.0%} both {f.holds:.0%}{style}"
    )


def main(
    pairs: Annotated[int, typer.Option(min=8)] = 32,
    sheet_at: Annotated[Path | None, typer.Option("--sheet")] = None,
) -> None:
    """Measure, print, and write `results/appearance_transfer.json`."""
    model, judge = load()
    masker = load_masker(MODELS / "tiny-world-judge")
    chosen = make_pairs(pairs)
    outcomes, outputs = measure(model, judge, masker, chosen, WAYS)
    overall = {way: figures(found, chosen) for way, found in outcomes.items()}
    for way, found in overall.items():
        show(way, found)
    by_kind = figures_by_kind(outcomes["balanced"], chosen)
    for kind, found in by_kind.items():
        show(kind, found)
    again = reconstruction(model, chosen[:8])
    typer.echo(f"error of pictures that come back, in levels: {again}")
    own = {rule: masks_found(model, chosen[:16], rule) for rule in ("threshold", "contrast")}
    typer.echo(f"IoU of the jobs' own masks: {own}")
    seen = [
        overlap(
            subject_of(masker, Image.fromarray(pair.structure.picture)), thing_in(pair.structure)
        )
        for pair in chosen
    ]
    if sheet_at is not None:
        sheet(chosen, outputs).save(sheet_at)
    write(
        "appearance_transfer",
        f"--pairs {pairs}",
        {
            "masker_iou_on_structures": round(mean(seen), 3),
            "ways": {way: asdict(found) for way, found in overall.items()},
            "balanced_by_kind": {kind: asdict(found) for kind, found in by_kind.items()},
            "own_mask_iou": own,
            "reconstruction_error_levels": again,
        },
        model,
    )


if __name__ == "__main__":
    typer.run(main)
