"""`attention-please jobs …`: what an operator does with jobs, at the broker."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from redis.exceptions import RedisError
from rich.table import Column, Table

from cli.terminal import console, fail, read_settings
from core.contract.errors import AttentionPleaseError
from core.contract.jobs import new_job_id
from core.jobs.broker import connect
from core.jobs.dead import dead, send_again
from core.jobs.store import JobStore

app = typer.Typer(no_args_is_help=True, help="Jobs that failed by no fault of their submitters.")

JobId = Annotated[str, typer.Argument(help="The job's id.")]


@app.command("dead")
def list_dead() -> None:
    """List them: those whose workers died each time, and those that met a bug."""
    # An id that is cut short is of no use.
    whole = Column("job", no_wrap=True, min_width=len(new_job_id()))
    table = Table(whole, "technique", "key", "attempts", "ended", "why")
    for job in dead(_store()):
        why = job.error.detail if job.error else ""
        ended = f"{job.ended_at:%Y-%m-%d %H:%M}" if job.ended_at else ""
        table.add_row(job.id, job.technique, job.owner, str(job.attempt), ended, why)
    console.print(table)


@app.command("show")
def show(job_id: JobId) -> None:
    """Print a job's whole record, its request included, as JSON."""
    try:
        job = _store().get(job_id)
    except AttentionPleaseError as error:
        fail(error.detail)
    typer.echo(json.dumps(job.model_dump(mode="json"), indent=2, ensure_ascii=False))


@app.command("again")
def again(job_id: JobId) -> None:
    """Send a dead job's request again, as a new job of the same key."""
    try:
        job = send_again(_store(), job_id)
    except AttentionPleaseError as error:
        fail(error.detail)
    typer.echo(job.id)


def _store() -> JobStore:
    redis = connect(read_settings().redis_url)
    try:
        redis.ping()
    except RedisError:
        fail("No broker answers at ATTENTION_PLEASE_REDIS_URL.")
    return JobStore(redis)
