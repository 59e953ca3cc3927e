"""`attention-please run`: one request to files, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from cli.progress import progress_bar
from core import catalog
from core.contract.errors import NotFound
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.execution import Remarks, brought, execute, surroundings, with_fetched_images
from core.outbound.guard import Guard
from core.outbound.links import admitting_links
from core.outbound.rules import Rules
from core.storage.pictures import read_recipe
from core.storage.places import Places

OWNER = "local"
"""Whose pictures these are; the same as a service without API keys says."""


def run_request(
    name: str,
    body: Path,
    out: Path,
    settings: Settings,
    console: Console,
    images: Sequence[Path] = (),
) -> None:
    """Run the request in the file `body` and write its files and `job.json` to `out`.

    body: JSON, or a PNG that carries its recipe. images: files of pictures that the request
    names by their ids. Raises AttentionPleaseError or OSError.
    """
    from core.diffusion.model import best_device, load_model, quiet_loading

    technique = catalog.technique(name)
    places = Places.of(settings)
    models = load_catalog(settings.models_file)
    for image in images:
        places.images.put(OWNER, image.read_bytes())
    stored = admitting_links(places.stored(OWNER), settings)
    asked = technique.effective(_request_in(body, name), models, stored)
    guard = Guard(Rules.of(settings)) if settings.fetch_images else None
    effective = with_fetched_images(asked, places, OWNER, guard, lambda progress: None)
    spec = models.resolve(effective.model)
    quiet_loading()
    with console.status(f"Loading {spec.name} …"):
        model = load_model(brought(spec), best_device(settings.device))
    out.mkdir(parents=True, exist_ok=True)
    artifacts, remarks = [], Remarks()
    with progress_bar(console, name) as report:
        around = surroundings(places, OWNER, model, report, remarks)
        with closing(execute(technique, model, effective, around)) as files:
            for artifact, data in files:
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


def _request_in(body: Path, name: str) -> bytes:
    data = body.read_bytes()
    recipe = read_recipe(data)
    if recipe is None:
        return data
    if recipe["technique"] != name:
        raise NotFound(f"{body.name} was made by {recipe['technique']}, not by {name}.")
    return json.dumps(recipe["request"]).encode()
