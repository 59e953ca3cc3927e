"""`attention-please`: start the parts, run the main job, say what is missing.

Each command imports what it needs when it runs: `serve` never loads torch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.markup import escape

from cli.jobs import app as jobs
from cli.models import app as models
from cli.terminal import console, fail, read_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Attention control in diffusion models: StyleAligned over HTTP.",
)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys, name="keys")
app.add_typer(jobs, name="jobs")
app.add_typer(models, name="models")

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on.")]
DataDir = Annotated[Path | None, typer.Option(help="Where artifacts and the broker's file go.")]


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
) -> None:
    """Run everything here: the embedded broker, the API and a worker, until Ctrl-C."""
    from cli.local import LocalStack, StackFailed
    from service.server import UnguardedAddress

    settings = read_settings(host=host, port=port, data_dir=data_dir)
    try:
        with LocalStack(settings, workers=workers, console=console) as stack:
            console.print(f"[green]Ready[/green] at {stack.url}  (docs at {stack.url}/docs)")
            bucket, folder = settings.storage_url, settings.data_dir.resolve()
            kept = (
                f"Pictures are kept in {bucket}, jobs" if bucket else "Pictures and jobs are kept"
            )
            console.print(f"{kept} in {folder}.")
            console.print("Ctrl-C stops it; queued jobs go on at the next start.")
            stack.wait()
    except KeyboardInterrupt:
        console.print("\nStopped.")
    except (StackFailed, UnguardedAddress) as error:
        fail(str(error))


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run the HTTP front end alone. It needs a broker, and a worker elsewhere."""
    from service.server import UnguardedAddress
    from service.server import serve as serve_http

    try:
        serve_http(read_settings(host=host, port=port, data_dir=data_dir))
    except UnguardedAddress as error:
        fail(str(error))


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run one supervised worker. It needs a broker."""
    from worker.supervisor import main

    main(read_settings(data_dir=data_dir))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Draw a StyleAligned set over HTTP on the built-in model and show where the pictures are."""
    from cli.demo import DemoFailed, run_demo
    from cli.local import StackFailed

    try:
        run_demo(out, console)
    except (StackFailed, DemoFailed) as error:
        fail(str(error))


@app.command()
def run(
    technique: Annotated[str, typer.Argument(help="Such as style-aligned.")],
    request: Annotated[
        Path,
        typer.Argument(help="A JSON file, the body of a POST; or a PNG made here, its recipe."),
    ],
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture that the request names by its id; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("output"),
) -> None:
    """Run one request here and now: no server, no broker. A recipe gives the same bytes again."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the supervisor does, and why
    from cli.run import run_request
    from core.contract.errors import AttentionPleaseError

    try:
        run_request(technique, request, out, read_settings(), console, image or ())
    except (AttentionPleaseError, OSError) as error:
        fail(str(error))


@app.command()
def submit(
    technique: Annotated[str, typer.Argument(help="Such as style-aligned.")],
    request: Annotated[Path, typer.Argument(help="A JSON file, the body of a POST.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("output"),
    url: Annotated[
        str, typer.Option(envvar="ATTENTION_PLEASE_URL", help="Where the service is.")
    ] = "http://127.0.0.1:8000",
) -> None:
    """Send one request to a running service, with the API key in ATTENTION_PLEASE_KEY if any."""
    from attention_please_client import ClientError, ServiceProblem
    from cli.submit import submit_request

    try:
        submit_request(
            technique, request, out, url, os.environ.get("ATTENTION_PLEASE_KEY"), console
        )
    except KeyboardInterrupt:
        fail("\nNo longer waiting. A job that was submitted goes on.")
    except ServiceProblem as problem:
        fail("\n".join([str(problem), *(f"{e.pointer}: {e.detail}" for e in problem.errors[1:])]))
    except (ClientError, OSError, ValueError) as error:
        fail(str(error))


@app.command()
def doctor() -> None:
    """Say what works here and what is missing."""
    from cli.doctor import examine

    findings = examine(read_settings())
    for finding in findings:
        mark = "[green]ok[/green]     " if finding.fine else "[red]missing[/red]"
        told = escape(f"{finding.what}: {finding.detail}")  # [tracing] is no markup
        console.print(f"{mark} {told}", highlight=False)
    if not all(finding.fine or finding.optional for finding in findings):
        raise typer.Exit(1)


@app.command()
def healthy() -> None:
    """Exit with 0 while a worker of this machine tells the broker that it is alive, else with 1."""
    from cli.doctor import worker_here

    finding = worker_here(read_settings())
    typer.echo(finding.detail)
    if not finding.fine:
        raise typer.Exit(1)


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Whose it is, such as shop.")],
) -> None:
    """Make an API key. It is shown once; the service is told its hash only."""
    import hashlib
    import secrets

    from core.contract.keys import ApiKey

    key = f"ap_{secrets.token_urlsafe(32)}"
    try:
        made = ApiKey(name=name, sha256=hashlib.sha256(key.encode()).hexdigest())
    except ValidationError:
        fail("A name has 1 to 40 lower-case letters, digits and hyphens.")
    typer.echo(f"The key, for `Authorization: Bearer`, shown only now:\n  {key}")
    typer.echo("For the service, among ATTENTION_PLEASE_API_KEYS, a JSON array:")
    typer.echo(f"  {made.model_dump_json(exclude_none=True)}")


if __name__ == "__main__":
    app()
