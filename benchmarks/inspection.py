"""What inspecting a job's own pictures costs on the built-in model, as ratios within one run.

    python -m benchmarks.inspection [--repeat 9]

Style-aligned sets and an appearance transfer, to finished files, with heat maps of every content
word, with five segments, and with both. Repetitions take turns; a ratio is of medians of CPU time,
which other programs on the machine disturb less than the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated, Any

import torch
import typer

from benchmarks.appearance_pairs import make_pairs
from benchmarks.record import write
from benchmarks.style_distance import load
from core import catalog
from core.contract.pictures import Surroundings, alone
from core.diffusion.model import DiffusionModel
from core.execution import execute

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "heat maps": {"inspect": {}},
    "segments": {"inspect": {"tokens": [], "segments": 5}},
    "both": {"inspect": {"segments": 5}},
}
SET: dict[str, Any] = {
    "prompts": ["a red cat on grass", "a house", "a boat", "a tree on sand"],
    "style": "in neon style",
    "seed": 7,
}


@dataclass(frozen=True)
class Job:
    """A request but for what is inspected, and its surroundings."""

    technique: str
    body: Mapping[str, Any]
    around: Surroundings


def jobs() -> dict[str, Job]:
    pair = make_pairs(1)[0]
    body = pair.request({}).model_dump(mode="json", exclude_defaults=True)
    keeping = pair.around()
    forgetting = replace(keeping, cached=lambda key, make, note: make())
    return {
        "set of four": Job("style-aligned", SET, alone()),
        "one picture": Job("style-aligned", SET | {"prompts": SET["prompts"][:1]}, alone()),
        "transfer": Job("appearance-transfer", body, forgetting),
        "transfer, inversions kept": Job("appearance-transfer", body, keeping),
    }


def seconds(model: DiffusionModel, job: Job, way: Mapping[str, Any]) -> float:
    """CPU time from request to finished files."""
    technique = catalog.technique(job.technique)
    request = technique.request.model_validate({**job.body, **way}).resolve(model.spec)
    start = time.process_time()
    for _ in execute(technique, model, request, job.around):
        pass
    return time.process_time() - start


def main(repeat: Annotated[int, typer.Option(min=1)] = 9) -> None:
    """Measure, print, and write `results/inspection.json`."""
    torch.set_num_threads(1)
    model, _ = load()
    found: dict[str, dict[str, float]] = {}
    for name, job in jobs().items():
        seconds(model, job, WAYS["both"])
        rounds = [{w: seconds(model, job, body) for w, body in WAYS.items()} for _ in range(repeat)]
        spent = {way: median(one[way] for one in rounds) for way in WAYS}
        ratios = {way: round(spent[way] / spent["plain"], 3) for way in WAYS if way != "plain"}
        found[name] = {"plain_seconds": round(spent["plain"], 3)} | ratios
        typer.echo(f"{name:28} {found[name]}")
    write("inspection", f"--repeat {repeat}", {"time_ratios": found}, model)


if __name__ == "__main__":
    typer.run(main)
