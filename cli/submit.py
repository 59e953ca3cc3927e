"""`attention-please submit`: one request to a running service, and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from attention_please_client import Client
from cli.progress import progress_bar


def submit_request(
    technique: str, body: Path, out: Path, url: str, key: str | None, console: Console
) -> None:
    """Submit the JSON in the file `body`, wait with a bar, and write the files to `out`.

    Raises ClientError, OSError, or ValueError where the file is not JSON.
    """
    request = json.loads(body.read_bytes())
    with Client(url, key) as client:
        # A service that does not answer is tried for a while: say what is going on.
        with console.status(f"Submitting to {url} …"):
            # Which techniques there are, and what they take, is for the service to say.
            job = client.submit(cast(Any, technique), request)
        console.print(job.id, highlight=False)
        with progress_bar(console, technique) as report:
            job = client.wait(job, on_progress=report)
        for warning in job.warnings:
            console.print(f"[yellow]{warning.code}[/yellow] {warning.detail}", highlight=False)
        files = client.download(job, out)
    console.print(f"{len(files)} files in {out.resolve()}")
