"""`attention-please demo`: the main job, as a client would run it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from attention_please_client import Client, ClientError, WaitTimeout
from attention_please_client.requests import Sharing, StyleAlignedRequest
from cli.local import LocalStack
from cli.progress import progress_bar
from core.contract.settings import Settings

PROMPTS = ["a house", "a cat", "a boat", "a tree", "a car", "a mushroom"]
REQUEST: StyleAlignedRequest = {
    "prompts": [f"{PROMPTS[0]} in blueprint style", *PROMPTS[1:]],
    "seed": 3,
    "metadata": {"from": "demo"},
}
_WITHOUT_SHARING: Sharing = {
    "attention": False,
    "adain_queries": False,
    "adain_keys": False,
    "group_norm": False,
}
_ENLARGE = 3
_LOOK_SECONDS = 5.0
"""Between two looks at whether all parts still run."""


class DemoFailed(RuntimeError):
    """The demo's job did not succeed."""


def run_demo(out: Path, console: Console) -> None:
    """Start everything, draw the set with and without sharing, leave the pictures in `out`."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.png"), *out.glob("logs/*.log")):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="attention-please-demo-") as folder:
        os.environ.pop("ATTENTION_PLEASE_STORAGE_URL", None)  # it keeps to its own folder
        settings = Settings(data_dir=Path(folder), host="127.0.0.1", port=0, api_keys=())
        stack = LocalStack(settings, workers=1, console=console)
        with _kept_logs(stack.logs, out / "logs"), stack:
            ready = time.monotonic()
            shared = _drawn(stack, console, REQUEST, "with sharing   ", out)
            done = time.monotonic()
            alone: StyleAlignedRequest = {**REQUEST, "sharing": _WITHOUT_SHARING}
            apart = _drawn(stack, console, alone, "without sharing", Path(folder) / "apart")
    _contact_sheet(apart, shared).save(out / "contact-sheet.png")
    console.print(
        f"Ready after {ready - began:.1f} s, the set drawn in {done - ready:.1f} s.\n"
        f"[green]Pictures:[/green] {out.resolve()}\n"
        f"  image-000.png …    one for each prompt: {', '.join(PROMPTS)}\n"
        "  grid.png           all of them\n"
        "  contact-sheet.png  without sharing above, with sharing below",
        highlight=False,
    )


@contextmanager
def _kept_logs(logs: Path, where: Path) -> Iterator[None]:
    """Keep the logs of a run that fails: its folder is a temporary one."""
    try:
        yield
    except BaseException:
        shutil.copytree(logs, where, dirs_exist_ok=True)
        raise


def _drawn(
    stack: LocalStack, console: Console, body: StyleAlignedRequest, what: str, out: Path
) -> list[Image.Image]:
    """Submit, wait with a progress bar, download into `out`. The pictures, without the grid.

    Raises DemoFailed, or StackFailed where a part of the stack has ended meanwhile.
    """
    try:
        with Client(stack.url, retry_seconds=5) as client, progress_bar(console, what) as report:
            job = client.submit("style-aligned", body)
            while True:
                try:
                    job = client.wait(job, _LOOK_SECONDS, report)
                    break
                except WaitTimeout:
                    stack.check()
            files = client.download(job, out)
    except ClientError as error:
        stack.check()
        raise DemoFailed(str(error)) from error
    kinds = {artifact.name: artifact.kind for artifact in job.artifacts}
    return [Image.open(file).convert("RGB") for file in files if kinds[file.name] == "image"]


def _contact_sheet(apart: list[Image.Image], shared: list[Image.Image]) -> Image.Image:
    """Two rows of the same prompts and seeds, enlarged, with their titles."""
    width, height = (side * _ENLARGE for side in shared[0].size)
    gap, title = 6, 26
    columns = len(shared)
    sheet = Image.new(
        "RGB", (columns * (width + gap) + gap, 2 * (height + title) + gap), (255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    rows = (("without sharing", apart), ("with sharing (StyleAligned)", shared))
    for row, (words, images) in enumerate(rows):
        top = row * (height + title)
        draw.text((gap, top + 3), words, fill=(30, 30, 30), font=font)
        for column, image in enumerate(images):
            enlarged = image.resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (gap + column * (width + gap), top + title))
    return sheet
