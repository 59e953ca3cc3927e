"""`attention-please run`: one request to files, in this process."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from rich.console import Console

from cli.progress import progress_bar
from core import catalog
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.execution import Kept, Remarks, execute

OWNER = "local"
"""Whose pictures these are; the same as a service without API keys says."""


def run_request(name: str, body: Path, out: Path, settings: Settings, console: Console) -> None:
    """Run the request in the JSON file `body` and write its files and `job.json` to `out`.

    Raises AttentionPleaseError or OSError.
    """
    from core.diffusion.model import best_device, load_model, quiet_loading

    technique = catalog.technique(name)
    kept = Kept.under(settings.data_dir)
    models = load_catalog(settings.models_file)
    effective = technique.effective(body.read_bytes(), models)
    effective = effective.with_images(partial(kept.images.see, OWNER))
    spec = models.resolve(effective.model)
    quiet_loading()
    with console.status(f"Loading {spec.name} …"):
        model = load_model(spec, best_device(settings.device))
    out.mkdir(parents=True, exist_ok=True)
    artifacts, remarks = [], Remarks()
    with progress_bar(console, name) as report:
        around = kept.around(OWNER, model, report, remarks)
        for artifact, data in execute(technique, model, effective, around):
            (out / artifact.name).write_bytes(data)
            artifacts.append(artifact.model_dump(mode="json"))
    for warning in remarks.warnings:
        console.print(f"[yellow]{warning.code}[/yellow] {warning.detail}", highlight=False)
    job = {
        "technique": name,
        "request": effective.model_dump(mode="json"),
        "artifacts": artifacts,
        "measures": remarks.measures,
        "warnings": [warning.model_dump() for warning in remarks.warnings],
    }
    (out / "job.json").write_text(json.dumps(job, indent=2, ensure_ascii=False) + "\n")
    console.print(f"{len(artifacts)} files in {out.resolve()}")
