"""What the commands have in common: their options, and where things are by default."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

WorkFolder = Annotated[Path, typer.Option("--work", help="Scenes, checkpoints and logs.")]
Processes = Annotated[int, typer.Option(help="Training processes of one thread each.")]
Size = Annotated[int, typer.Option(help="Side of the pictures in pixels, a multiple of 64.")]
Minutes = Annotated[float, typer.Option(help="Time budget of the stage.")]
Steps = Annotated[int, typer.Option(help="Steps of the optimizer.")]
Batch = Annotated[int, typer.Option(help="Batch of one process.")]
Seed = Annotated[int, typer.Option(help="Seed of the stage.")]
Scenes = Annotated[int, typer.Option(help="Scenes to draw.")]
Channels = Annotated[str, typer.Option(help="Widths of the levels, finest first.")]
Folder = Annotated[Path, typer.Option(help="Where to.")]
Model = Annotated[Path, typer.Option("--model", help="The finished model.")]
JudgeFolder = Annotated[Path, typer.Option("--judge", help="The model's judge.")]
Hardware = Annotated[str, typer.Option(help="What it was trained on.")]
Note = Annotated[str, typer.Option(help="What else the card should say of the run.")]

WORK = Path(".training")
MODEL = Path("models/tiny-world")
JUDGE = Path("models/tiny-world-judge")
CONTROL = Path("models/tiny-world-canny")
ADAPTERS = Path("models/tiny-world-adapters")
TWO_CORES = "2 CPU cores"


def show(title: str, total: int, counts: Iterable[int]) -> None:
    with Progress() as progress:
        task = progress.add_task(title, total=total)
        for done in counts:
            progress.update(task, completed=done)
