"""How long a worker is busy with a job of each kind, and so how many workers a day's jobs take.

    python -m benchmarks.capacity [--jobs 10] [--workers 2]
    ATTENTION_PLEASE_MODELS_FILE=models/gpu.toml python -m benchmarks.capacity     on a GPU

The whole service on this machine, over HTTP: of each kind one job that is not counted, and then so
many at once for one worker, from the first submission to the last end. So what lies between two
jobs counts too. The set is drawn once more with `--workers`, which tells whether so many do as
much more. Prints the tables of docs/capacity.md.
"""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console

from attention_please_client import Client
from benchmarks.record import RESULTS, write
from cli.local import LocalStack
from core.contract.models import ModelSpec, load_catalog
from core.contract.settings import Settings
from core.diffusion.model import best_device

PROMPTS = ["a house", "a cat", "a boat", "a tree"]
SET: tuple[str, dict[str, Any]] = ("style-aligned", {"prompts": PROMPTS})
A_DAY = (1_000, 10_000, 100_000)
_NAME = "capacity-{}-{}"
BUSY = 0.7
"""Of the time, which workers are to be busy on the average."""


def kinds(client: Client, spec: ModelSpec, folder: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Techniques and requests by what they are called."""
    first = client.wait(
        client.submit("style-aligned", {"prompts": ["a house in blueprint style"]}), 3600
    )
    files = client.download(first, folder)
    (path,) = (file for file in files if file.stem == "image-000")
    given = {"upload": client.upload(path).id}
    turned = io.BytesIO()
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(15).save(turned, "PNG")
    other = {"upload": client.upload(turned.getvalue()).id}
    wide = {"width": 2 * spec.width, "height": spec.height}
    reference = {"image": given, "prompt": "a house in blueprint style"}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "set of 4": SET,
        "set of 4, the style of a picture": (
            "style-aligned",
            {"prompts": PROMPTS, "reference": reference},
        ),
        "panorama, twice as wide": ("style-aligned", {"prompts": PROMPTS[:1], "panorama": wide}),
        "appearance transfer": (
            "appearance-transfer",
            {"structure": given, "appearance": other, "domain": "house"},
        ),
        "segmentation of a picture": (
            "segmentation",
            {"image": given, "prompt": "a house", "labels": ["house"]},
        ),
    }
    if "canny" in spec.controls:
        control = {"type": "canny", "image": given}
        found["set of 4 with edges"] = ("style-aligned", {"prompts": PROMPTS, "control": control})
    return found


def measured(client: Client, technique: str, body: dict[str, Any], jobs: int) -> dict[str, float]:
    """Seconds of so many jobs of a kind: their runs, and what each takes of the time of all."""

    def sent(seed: int) -> str:
        return str(client.submit(technique, {**body, "seed": seed}).id)  # type: ignore[call-overload]

    client.wait(sent(0), 3600)
    began = time.monotonic()
    waiting = [sent(1 + number) for number in range(jobs)]
    ended = [client.wait(job, 36_000) for job in waiting]
    seconds = (time.monotonic() - began) / jobs
    if failed := [job.error for job in ended if job.status != "succeeded"]:
        raise RuntimeError(failed[0])
    runs = [float(job.measures["run_seconds"]) for job in ended]
    return {
        "run_seconds": round(fmean(runs), 3),
        "spread": round(stdev(runs), 3),
        "seconds_a_job": round(seconds, 3),
    }


@contextmanager
def service(workers: int) -> Iterator[tuple[Client, Path]]:
    """Speaks to a service with so many workers. Gives a folder that goes with it, too."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), host="127.0.0.1", port=0, api_keys=())
        with (
            LocalStack(settings, workers=workers, console=Console(stderr=True)) as stack,
            Client(stack.url) as client,
        ):
            yield client, Path(folder)


def workers_for(jobs_a_day: int, seconds: float) -> int:
    """How many workers, as docs/capacity.md says, without a spare one."""
    return math.ceil(jobs_a_day * seconds / (86_400 * BUSY))


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Jobs of each kind to workers, in Markdown."""
    many = " | ".join(f"{count:,} a day".replace(",", " ") for count in A_DAY)
    lines = [
        f"| job | seconds a job | a day of one worker | {many} |",
        f"|---|---:|---:|{'---:|' * len(A_DAY)}",
    ]
    for kind, found in figures.items():
        seconds = found["seconds_a_job"]
        own = f"{int(86_400 * BUSY / seconds):,}".replace(",", " ")
        counts = " | ".join(str(workers_for(count, seconds)) for count in A_DAY)
        lines.append(f"| {kind} | {seconds:.2f} | {own} | {counts} |")
    return "\n".join(lines)


def recorded(model: str, device: str) -> dict[str, Any]:
    """What was measured last of a model on a kind of device."""
    path = RESULTS / f"{_NAME.format(model, device)}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main(
    jobs: Annotated[int, typer.Option(min=2, help="Of each kind.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="For the last run.")] = 2,
) -> None:
    """Measure, print and record."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = Settings()
    spec = load_catalog(settings.models_file).resolve(None)
    with service(1) as (client, folder):
        found = {
            kind: measured(client, technique, body, jobs)
            for kind, (technique, body) in kinds(client, spec, folder).items()
        }
    with service(workers) as (client, _):
        several = measured(client, *SET, jobs * workers)
    more = found["set of 4"]["seconds_a_job"] / several["seconds_a_job"]
    figures = {
        "model": spec.name,
        "pixels": f"{spec.width} x {spec.height}",
        "steps": spec.steps,
        "kinds": found,
        f"jobs of {workers} workers over those of one": round(more, 2),
    }
    typer.echo(table(found))
    typer.echo(f"{workers} workers: {more:.2f} times the jobs of one")
    name = _NAME.format(spec.name, best_device(settings.device).type)
    write("capacity", f"--jobs {jobs} --workers {workers}", figures, file=name)


if __name__ == "__main__":
    typer.run(main)
