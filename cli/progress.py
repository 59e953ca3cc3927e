"""A job's progress as a bar in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Shown(Protocol):
    """What the bar shows of a job's progress, as the domain or the client tells it."""

    @property
    def stage(self) -> str: ...
    @property
    def fraction(self) -> float: ...


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[Shown], None]]:
    """A bar; the block calls what it gets with each `Progress` of the job."""
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[stage]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=1.0, stage="queued")

        def report(progress: Shown) -> None:
            bar.update(task, completed=progress.fraction, stage=progress.stage)

        yield report
        # Not reached when the block raises: a job that failed does not look finished.
        bar.update(task, completed=1.0, stage="done")
