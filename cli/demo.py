"""`attention-please demo`: the main job, as a client would run it."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from cli.local import LocalStack
from cli.progress import progress_bar
from core.contract.jobs import Progress
from core.contract.pictures import Report
from core.contract.settings import Settings

PROMPTS = ["a house", "a cat", "a boat", "a tree", "a car", "a mushroom"]
REQUEST: dict[str, Any] = {
    "prompts": [f"{PROMPTS[0]} in blueprint style", *PROMPTS[1:]],
    "seed": 3,
    "metadata": {"from": "demo"},
}
_ENLARGE = 3


class DemoFailed(RuntimeError):
    """The demo's job did not succeed."""


def run_demo(out: Path, console: Console) -> None:
    """Start everything, draw the set with and without sharing, leave the pictures in `out`."""
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.png"), *out.glob("logs/*.log")):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="attention-please-demo-") as folder:
        settings = Settings(data_dir=Path(folder), host="127.0.0.1", port=0, api_keys=())
        stack = LocalStack(settings, workers=1, console=console)
        with _kept_logs(stack.logs, out / "logs"), stack:
            ready = time.monotonic()
            with httpx.Client(base_url=stack.url, timeout=30) as client:
                drawing = _Drawing(client, stack, console)
                shared = drawing.pictures(REQUEST, "with sharing   ", out)
                done = time.monotonic()
                apart = drawing.pictures(REQUEST | _WITHOUT_SHARING, "without sharing")
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


_WITHOUT_SHARING = {
    "sharing": {
        "attention": False,
        "adain_queries": False,
        "adain_keys": False,
        "group_norm": False,
    }
}


@dataclass(frozen=True)
class _Drawing:
    """A client of the running service."""

    client: httpx.Client
    stack: LocalStack
    console: Console

    def pictures(
        self, request: dict[str, Any], what: str, out: Path | None = None
    ) -> list[Image.Image]:
        """Submit, wait with a progress bar, download. Writes every artifact to `out` if given.

        Raises DemoFailed, or StackFailed where a part of the stack ends meanwhile.
        """
        try:
            with progress_bar(self.console, what) as report:
                job = self._finished(request, report)
            images = []
            for artifact in job["artifacts"]:
                data = self.client.get(artifact["url"]).raise_for_status().content
                if out is not None:
                    (out / artifact["name"]).write_bytes(data)
                if artifact["kind"] == "image":
                    images.append(Image.open(io.BytesIO(data)).convert("RGB"))
            return images
        except httpx.HTTPError as error:
            raise DemoFailed(f"The service did not answer as it should: {error}") from error

    def _finished(self, request: dict[str, Any], report: Report) -> dict[str, Any]:
        job = self.client.post("/v1/style-aligned", json=request).raise_for_status().json()
        while job["status"] in ("queued", "running"):
            self.stack.check()
            time.sleep(0.1)
            job = self.client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
            if job["progress"]:
                report(Progress.model_validate(job["progress"]))
        if job["status"] != "succeeded":
            raise DemoFailed(f"The job {job['status']}: {(job['error'] or {}).get('detail')}")
        finished: dict[str, Any] = job
        return finished


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
