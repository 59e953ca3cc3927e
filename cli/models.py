"""`attention-please models …`: the models of `models.toml`, and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from cli.terminal import console, fail, read_settings
from core.contract.models import ModelCatalog, ModelSpec, load_catalog
from core.weights.hub import (
    Holding,
    cache_folder,
    commit_of,
    may_fetch,
    survey,
    with_weights_here,
)
from core.weights.parts import WeightsMissing

app = typer.Typer(no_args_is_help=True, help="The models of the models file, and their weights.")

Names = Annotated[list[str] | None, typer.Argument(help="Of models. Default: all.")]


@app.callback()
def for_workers() -> None:
    """Weights are for workers: where none runs, what fetches them is not installed."""
    if find_spec("huggingface_hub") is None:
        fail("huggingface_hub is not installed: this is for machines with workers.")


@app.command("list")
def list_models() -> None:
    """List them: what each is, its pool, and whether its weights are here."""
    settings, catalog = read_settings(), _catalog()
    warm = {name for pool in catalog.pools(settings.pool) for name in catalog.warm_in(pool)}
    table = Table("model", "family", "pixels", "steps", "pool", "loaded", "weights")
    for spec, weights, _ in weights_of(catalog):
        name = spec.name
        told = f"{name} (default)" if name == catalog.default else name
        size, pool = f"{spec.width} x {spec.height}", spec.pool or settings.pool
        when = "at the start" if name in warm else "on demand"
        table.add_row(told, spec.family, size, str(spec.steps), pool, when, weights)
    console.print(table)


@app.command("fetch")
def fetch(names: Names = None) -> None:
    """Fetch the weights of models into the cache, so that no worker has to."""
    catalog = _catalog()
    if unknown := sorted(set(names or ()) - set(catalog.models)):
        fail(f"There is no model {unknown[0]}. There are: {', '.join(sorted(catalog.models))}.")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console) as bar:
            for name in names or catalog.models:
                task = bar.add_task(name, total=None)
                with_weights_here(catalog.models[name], partial(_show, bar, task))
                bar.update(task, description=f"{name}: here")
    except WeightsMissing as missing:
        fail(str(missing))
    console.print(f"Weights of the hub are in {cache_folder()}.", soft_wrap=True)


@app.command("pin")
def pin(
    repository: Annotated[str, typer.Argument(help="Of the hub, such as owner/name.")],
    branch: Annotated[str, typer.Option(help="A branch or tag of it.")] = "main",
) -> None:
    """Look up the commit that a repository is at, for `revision` in the models file."""
    try:
        commit = commit_of(repository, branch)
    except WeightsMissing as missing:
        fail(str(missing))
    typer.echo(f'source = "{repository}"\nrevision = "{commit}"')


def _show(bar: Progress, task: TaskID, here_bytes: int, whole_bytes: int) -> None:
    bar.update(task, completed=here_bytes, total=whole_bytes or None)


def weights_of(catalog: ModelCatalog) -> Iterator[tuple[ModelSpec, str, bool]]:
    """Each model, what there is to say of its weights, and whether that is fine.

    A hub that is away is asked once: each time takes half a minute.
    """
    ask = True
    for spec in catalog.models.values():
        try:
            told, fine = _what_is_here(survey(spec, ask=ask))
        except WeightsMissing as missing:
            told, fine = str(missing), False
            ask = ask and not missing.retryable
        yield spec, told, fine


def _what_is_here(holdings: list[Holding]) -> tuple[str, bool]:
    whole = sum(holding.size_bytes for holding in holdings)
    here = sum(holding.here_bytes for holding in holdings)
    if not holdings:
        return "here", True
    if here == whole:
        return f"here, {whole / 1e9:.2f} GB", True
    rest = "the rest is fetched when first used" if may_fetch() else "and HF_HUB_OFFLINE is set"
    return f"{here / 1e9:.2f} of {whole / 1e9:.2f} GB are here, {rest}", may_fetch()


def _catalog() -> ModelCatalog:
    path = read_settings().models_file
    try:
        return load_catalog(path)
    except (OSError, ValueError) as error:
        fail(f"{path}: {error}")
