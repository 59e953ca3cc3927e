"""`attention-please run`: one request to files, in this process."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from cli.progress import progress_bar
from core import catalog
from core.contract.errors import FieldError, InvalidRequest
from core.contract.models import load_catalog
from core.contract.requests import JobRequest
from core.contract.settings import Settings
from core.execution import execute


def run_request(name: str, body: Path, out: Path, settings: Settings, console: Console) -> None:
    """Run the request in the JSON file `body` and write its files and `job.json` to `out`.

    Raises InvalidRequest, NotFound, JobFailure or OSError.
    """
    from core.diffusion.model import best_device, load_model, quiet_loading

    technique = catalog.technique(name)
    request = parse(technique.request, body)
    spec = load_catalog(settings.models_file).resolve(request.model)
    effective = request.resolve(spec)
    quiet_loading()
    with console.status(f"Loading {spec.name} …"):
        model = load_model(spec, best_device(settings.device))
    out.mkdir(parents=True, exist_ok=True)
    artifacts = []
    with progress_bar(console, name) as report:
        for artifact, data in execute(technique, model, effective, report):
            (out / artifact.name).write_bytes(data)
            artifacts.append(artifact.model_dump(mode="json"))
    job = {"technique": name, "request": effective.model_dump(mode="json"), "artifacts": artifacts}
    (out / "job.json").write_text(json.dumps(job, indent=2, ensure_ascii=False) + "\n")
    console.print(f"{len(artifacts)} files in {out.resolve()}")


def parse(model: type[JobRequest], path: Path) -> JobRequest:
    """The request in a JSON file. Raises InvalidRequest or OSError."""
    try:
        return model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidRequest.of(
            [
                FieldError(
                    pointer="".join(f"/{part}" for part in fault["loc"]), detail=fault["msg"]
                )
                for fault in error.errors()
            ]
        ) from None
