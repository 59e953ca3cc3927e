"""What a worker is like after hundreds of jobs: cancels, memory, and turns between keys.

    python -m benchmarks.endurance [--jobs 500] [--cancels 200]

With tiny random models, a real broker and real processes (`tests/deployment.py`):

- cancels: jobs of 200 steps are canceled at random moments. Told are the steps that still end
  after the cancel is recorded, and the seconds from its answer over HTTP until the job has ended;
- memory: resident memory of the process that holds the model, after jobs of every technique have
  warmed it and after `--jobs` more of them;
- turns: three keys send 200, 20 and 2 jobs, the largest first, to one worker. Told is how long each
  key's jobs waited, as a share of the time that all took together.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, quantiles
from typing import Annotated, Any

import httpx
import torch
import typer
from redis import Redis

from benchmarks.chaos import Caller, Request, requests
from benchmarks.record import write
from core.contract.jobs import Job, Progress, new_job_id
from core.contract.keys import ApiKey
from core.contract.models import load_catalog
from core.contract.settings import Settings
from core.jobs.needs import Needs
from core.jobs.queue import JobQueue
from core.jobs.store import Claim, JobStore
from core.storage.places import Places
from tests.deployment import Deployment, deployed
from worker.drawing import Drawing
from worker.memory import DeviceMemory
from worker.runner import Pulse, Runner
from worker.warm import WarmModels

SHARES = {"many": 200, "some": 20, "few": 2}
LONG: Request = ("style-aligned", {"prompts": ["a cat"], "seed": 1, "sampling": {"steps": 200}})


_FEW_STEPS = {
    "style-aligned": {"sampling": {"steps": 6}},
    "segmentation": {"sampling": {"steps": 6}},
    "attention-maps": {"sampling": {"steps": 6}},
}


def run_all(caller: Caller, kinds: Sequence[Request], count: int) -> None:
    """Run so many jobs, each kind in its turn, a few at once."""
    waiting: list[str] = []
    for number in range(count):
        waiting.append(caller.submit(kinds[number % len(kinds)], f"{time.time()}-{number}"))
        while len(waiting) > 5:
            if caller.job(waiting[0])["ended_at"]:
                waiting.pop(0)
            time.sleep(0.02)
    for job_id in waiting:
        _ended(caller, job_id)


def canceled(caller: Caller, count: int, chance: random.Random) -> dict[str, float]:
    """Cancel so many running jobs. Seconds from the answer until the job has ended."""
    seconds = []
    for number in range(count):
        job_id = caller.submit(LONG, f"cancel-{time.time()}-{number}")
        while not (caller.job(job_id)["progress"] or {}).get("step"):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        caller.say("POST", f"/v1/jobs/{job_id}/cancel")
        asked = time.monotonic()
        _ended(caller, job_id)
        seconds.append(time.monotonic() - asked)
    return _figures(seconds)


def steps_after_cancel(
    settings: Settings, template: Job, count: int, chance: random.Random
) -> dict[str, float]:
    """Cancel so many runs in this process: steps that still end after the cancel was recorded."""
    found = []
    with Redis.from_url(settings.redis_url) as redis, Redis.from_url(settings.redis_url) as other:
        store = _Counting(redis)
        models = WarmModels(load_catalog(settings.models_file), torch.device("cpu"))
        drawing = Drawing(models, DeviceMemory(models.device), Needs(redis))
        places = Places.under(settings.data_dir)
        runner = Runner(store, JobQueue(redis, "bench"), places, drawing, 30.0, Pulse())
        for _ in range(count):
            job = template.model_copy(update={"id": new_job_id(), "pool": "bench"})
            store.create(job)
            noted: list[int] = []

            def cancel(job: Job = job, noted: list[int] = noted) -> None:
                while store.steps < 2:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.3))
                JobStore(other).request_cancel(job.id)
                noted.append(store.steps)

            store.steps = 0
            canceling = threading.Thread(target=cancel)
            canceling.start()
            runner.run(job.id)
            canceling.join()
            assert store.get(job.id).status == "canceled"
            found.append(store.steps - noted[0])
    return _figures(found)


class _Counting(JobStore):
    """Counts the steps that are told to it."""

    steps = 0

    def beat(self, claim: Claim, lease_seconds: float, progress: Progress | None = None) -> bool:
        self.steps += 1
        return super().beat(claim, lease_seconds, progress)


def grown(deployment: Deployment, caller: Caller, jobs: int) -> dict[str, Any]:
    """Memory of the worker before and after so many jobs."""
    kinds = [(name, body | _FEW_STEPS.get(name, {})) for name, body in requests(caller)]
    run_all(caller, kinds, 60)
    (child,) = deployment.children()
    sizes = [_resident_mb(child)]
    for _ in range(5):
        run_all(caller, kinds, jobs // 5)
        sizes.append(_resident_mb(child))
        typer.echo(f"{sizes[-1]:.1f} MB")
    assert deployment.children() == [child]
    return {"jobs": jobs, "resident MB": [round(size, 1) for size in sizes]}


def turns(url: str) -> dict[str, Any]:
    """How long the jobs of each key waited, as shares of the time until all had ended."""
    clients = {
        name: httpx.Client(base_url=url, headers={"Authorization": f"Bearer {name}"}, timeout=30)
        for name in SHARES
    }
    body = {"prompts": ["a cat"], "seed": 1, "sampling": {"steps": 1}}
    began = time.monotonic()
    sent = {
        name: [
            client.post("/v1/style-aligned", json=body).raise_for_status().json()["id"]
            for _ in range(SHARES[name])
        ]
        for name, client in clients.items()
    }
    waits: dict[str, list[float]] = {name: [] for name in SHARES}
    for name, client in clients.items():
        for job_id in sent[name]:
            while (job := client.get(f"/v1/jobs/{job_id}").json())["ended_at"] is None:
                time.sleep(0.05)
            waits[name].append(job["measures"]["queue_seconds"])
    whole = time.monotonic() - began
    return {
        "seconds until all had ended": round(whole, 1),
        "waits as shares of that": {
            name: {
                "jobs": len(found),
                "mean": round(mean(found) / whole, 3),
                "most": round(max(found) / whole, 3),
            }
            for name, found in waits.items()
        },
    }


def _ended(caller: Caller, job_id: str) -> None:
    while caller.job(job_id)["ended_at"] is None:
        time.sleep(0.02)


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _figures(found: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(found, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3), "most": round(max(found), 3)}


def main(
    jobs: Annotated[int, typer.Option(help="Between the two looks at memory.")] = 500,
    cancels: Annotated[int, typer.Option(help="How many.")] = 200,
) -> None:
    """Run, print and record."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    document: dict[str, Any] = {}
    settings: dict[str, Any] = {"drain_seconds": 1}
    with (
        tempfile.TemporaryDirectory() as folder,
        deployed(Path(folder), **settings) as deployment,
    ):
        _one_worker(deployment)
        caller = Caller(deployment.url)
        with Redis.from_url(deployment.settings.redis_url) as redis:
            template = JobStore(redis).get(caller.submit(LONG, "template"))
        queued = template.model_copy(update={"status": "queued", "attempt": 0, "progress": None})
        document["cancels"] = {
            "count": cancels,
            "steps": steps_after_cancel(deployment.settings, queued, cancels, random.Random(1)),
            "seconds over HTTP": canceled(caller, cancels, random.Random(1)),
        }
        typer.echo(document["cancels"])
        document["memory"] = grown(deployment, caller, jobs)
    keys = tuple(
        ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest()) for name in SHARES
    )
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder), api_keys=keys) as guarded:
        _one_worker(guarded)
        document["turns"] = turns(guarded.url)
    typer.echo(document)
    write("endurance", f"--jobs {jobs} --cancels {cancels}", document)


def _one_worker(deployment: Deployment) -> None:
    deployment.held.add("two")
    while not (deployment.ready() and len(deployment.children()) == 1):
        time.sleep(0.2)


if __name__ == "__main__":
    typer.run(main)
