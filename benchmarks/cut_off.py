"""What becomes of a job whose worker's host is cut off: how soon another runs it, and has done it.

    python -m benchmarks.cut_off [--cuts 10]

Two worker hosts are network namespaces, as in tests/faults/test_cut_off_workers.py, with the lease
of a deployment. In the middle of each job its host is cut off, and joined again after its end.
It takes root.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from benchmarks.record import write
from core.contract.settings import Settings
from tests.faults.hosts import Fleet, fleet, why_not
from tests.faults.test_cut_off_workers import ended, submitted
from tests.faults.test_killed_workers import fingerprints, in_the_middle, looked_at
from tests.waiting import until

LEASE_SECONDS = float(Settings.model_fields["lease_seconds"].default)


def cut_once(deployment: Fleet, client: httpx.Client) -> tuple[float, float, dict[str, Any]]:
    """Seconds from the cut until the job ran again, and until it had ended; and the job."""
    job = submitted(client)
    until("the middle of the job", lambda: in_the_middle(client, job))
    host = deployment.busy()
    deployment.network.cut(host)
    cut_at = time.monotonic()
    until("the next attempt", lambda: looked_at(client, job)["attempt"] == 2)
    again = time.monotonic() - cut_at
    done = ended(client, job)
    over = time.monotonic() - cut_at
    deployment.network.join(host)
    both = deployment.network.hosts.keys()
    until("both hosts", lambda: deployment.alive().keys() == both and not deployment.busy_hosts())
    return again, over, done


def main(cuts: Annotated[int, typer.Option(help="How many.")] = 10) -> None:
    """Cut, print and record."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if reason := why_not():
        typer.echo(f"skipped: {reason}")
        return
    again, over, others = [], [], 0
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet(Path(folder), ("one", "two"), LEASE_SECONDS) as deployment,
        httpx.Client(base_url=deployment.url, timeout=30) as client,
    ):
        began = time.monotonic()
        calm = fingerprints(ended(client, submitted(client)))
        alone = time.monotonic() - began
        for _ in range(cuts):
            ran_again, had_ended, job = cut_once(deployment, client)
            again.append(ran_again)
            over.append(had_ended)
            others += job["status"] != "succeeded" or fingerprints(job) != calm
            typer.echo(f"{ran_again:.1f} s, {had_ended:.1f} s")
    document = {
        "cuts": cuts,
        "lease seconds": LEASE_SECONDS,
        "seconds of a job that nothing disturbs": round(alone, 1),
        "seconds from the cut to the job running again": _figures(again),
        "seconds from the cut to the job's end": _figures(over),
        "jobs that failed or had other bytes": others,
    }
    typer.echo(document)
    write("cut_off", f"--cuts {cuts}", document)


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {"median": round(ordered[len(ordered) // 2], 1), "most": round(ordered[-1], 1)}


if __name__ == "__main__":
    typer.run(main)
