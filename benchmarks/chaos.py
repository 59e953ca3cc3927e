"""What kills do to accepted jobs: processes are killed at random while jobs of every technique run.

    python -m benchmarks.chaos [--kills 200] [--seed 1]        (`make chaos`)

Broker, service and two supervised workers run with tiny random models. Each kill is one of

- `child`: SIGKILL of a process that holds the models;
- `frozen`: SIGSTOP of one for longer than its lease, then SIGCONT;
- `drained`: SIGTERM of a supervisor, as in a rolling restart;
- `supervisor`, `service`: SIGKILL, and started again;
- `broker`: SIGKILL of the server, and started again on its append-only file.

Every submission carries an idempotency key and is sent until it is answered. At the end each
accepted job must have succeeded, each of its files be there once, in the record and on disk, and
have the bytes that the same request gave before anything was killed. For kills of a child that had
a job in hand, the time is told until the job was back in its line, and until it ran again.
"""

from __future__ import annotations

import io
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import httpx
import typer
from PIL import Image
from redis.exceptions import RedisError

from benchmarks.record import write
from core.jobs.store import JobStore
from tests.deployment import Deployment, deployed

LEASE_SECONDS = 2.0
AT_ONCE = 5
KINDS = {
    "child": 40,
    "frozen": 15,
    "drained": 10,
    "supervisor": 10,
    "service": 10,
    "broker": 15,
}
"""How often each is, of 100."""

Request = tuple[str, dict[str, Any]]


class Caller:
    """Speaks to the service, however often it has to say a thing."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=10)

    def say(self, method: str, path: str, **given: Any) -> httpx.Response:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                answer = self.client.request(method, path, **given)
                if answer.status_code < 500:
                    return answer.raise_for_status()
            time.sleep(0.2)
        raise TimeoutError(f"{method} {path}")

    def submit(self, request: Request, key: str) -> str:
        technique, body = request
        answer = self.say("POST", f"/v1/{technique}", json=body, headers={"Idempotency-Key": key})
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.say("GET", f"/v1/jobs/{job_id}").json()
        return found

    def upload(self, image: Image.Image) -> dict[str, str]:
        file = io.BytesIO()
        image.save(file, "PNG")
        answer = self.say("POST", "/v1/images", files={"file": file.getvalue()})
        return {"upload": answer.json()["id"]}


def requests(caller: Caller) -> list[Request]:
    """One of each kind, a second or several long."""
    noise = [Image.effect_noise((64, 64), 80).convert("RGB") for _ in range(2)]
    one, other = (caller.upload(image) for image in noise)
    steps = {"steps": 60}
    return [
        ("style-aligned", {"prompts": ["a cat", "a house"], "seed": 1, "sampling": steps}),
        (
            "style-aligned",
            {"prompts": [f"a {n}" for n in range(12)], "seed": 2, "dataset": True},
        ),
        (
            "style-aligned",
            {
                "prompts": ["a cat"],
                "reference": {"image": one, "prompt": "a house"},
                "inspect": {"segments": 3},
                "seed": 3,
                "sampling": steps,
            },
        ),
        (
            "style-aligned",
            {"prompts": ["a cat"], "panorama": {"width": 128}, "seed": 7, "sampling": steps},
        ),
        (
            "appearance-transfer",
            {"structure": one, "appearance": other, "domain": "cat", "seed": 4},
        ),
        ("segmentation", {"prompt": "a cat and a house", "seed": 5, "sampling": steps}),
        ("attention-maps", {"image": other, "prompt": "a cat", "seed": 6, "sampling": steps}),
    ]


def fingerprints(job: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}


@dataclass
class Times:
    """Seconds from kills of a child with a job in hand."""

    noticed: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    watching: list[threading.Thread] = field(default_factory=list)

    def watch(self, deployment: Deployment) -> None:
        """Look at the jobs that run at this moment until each has lost its worker and runs again.

        A job that only goes on, or ends, was another worker's.
        """
        killed = time.monotonic()
        with deployment.redis() as redis:
            running = [j.decode() for j in redis.zrange("attention-please:running", 0, -1)]
            jobs = [JobStore(redis).get(job_id) for job_id in running]
        for job in jobs:
            arguments = (deployment, job.id, job.attempt, killed)
            thread = threading.Thread(target=self._follow, args=arguments, daemon=True)
            thread.start()
            self.watching.append(thread)

    def _follow(self, deployment: Deployment, job_id: str, attempt: int, killed: float) -> None:
        noticed = None
        with deployment.redis() as redis:
            store = JobStore(redis)
            while time.monotonic() < killed + 60:
                with suppress(RedisError):
                    job = store.get(job_id)
                    lost = job.status == "queued" or job.attempt > attempt
                    if noticed is None and lost:
                        noticed = time.monotonic() - killed
                    if noticed is not None and job.attempt > attempt:
                        self.noticed.append(noticed)
                        self.running.append(time.monotonic() - killed)
                        return
                    if job.is_final:
                        return
                time.sleep(0.02)


def kill(deployment: Deployment, kind: str, chance: random.Random, times: Times) -> bool:
    """One kill. False where there is nothing to kill just now."""
    if kind not in ("child", "frozen"):
        name = chance.choice(["one", "two"]) if kind in ("supervisor", "drained") else kind
        with suppress(OSError, ValueError):
            pid = deployment.broker() if kind == "broker" else deployment.parts[name].pid
            os.kill(pid, signal.SIGTERM if kind == "drained" else signal.SIGKILL)
            return True
        return False
    children = deployment.children()
    if not children:
        return False
    pid = chance.choice(children)
    with suppress(OSError, RedisError):
        if kind == "child":
            times.watch(deployment)
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            pause = chance.uniform(1.5, 3) * LEASE_SECONDS
            threading.Timer(pause, _wake, [pid]).start()
        return True
    return False


def storm(
    deployment: Deployment, caller: Caller, kinds: Sequence[Request], kills: int, seed: int
) -> tuple[dict[str, Request], Counter[str], Times]:
    """Submit and kill. Gives the accepted jobs, how often what was killed, and the times."""
    chance, done, times = random.Random(seed), Counter[str](), Times()
    accepted: dict[str, Request] = {}
    open_jobs: list[str] = []
    while sum(done.values()) < kills:
        while len(open_jobs) < AT_ONCE:
            request = kinds[len(accepted) % len(kinds)]
            job_id = caller.submit(request, f"chaos-{seed}-{len(accepted)}")
            accepted[job_id] = request
            open_jobs.append(job_id)
        time.sleep(chance.uniform(0.2, 4))
        (kind,) = chance.choices([*KINDS], [*KINDS.values()])
        if kill(deployment, kind, chance, times):
            done[kind] += 1
            typer.echo(f"{sum(done.values())}: {kind}, {len(accepted)} jobs")
        open_jobs = [job_id for job_id in open_jobs if caller.job(job_id)["ended_at"] is None]
    return accepted, done, times


def judged(
    deployment: Deployment,
    caller: Caller,
    accepted: dict[str, Request],
    undisturbed: Callable[[Request], dict[str, str]],
) -> dict[str, Any]:
    """What became of every accepted job."""
    found: Counter[str] = Counter()
    attempts = []
    until = time.monotonic() + 600
    for job_id, request in accepted.items():
        while (job := caller.job(job_id))["ended_at"] is None and time.monotonic() < until:
            time.sleep(0.2)
        attempts.append(job["attempt"])
        found["lost"] += job["status"] != "succeeded"
        with deployment.redis() as redis:
            published = redis.lrange(f"attention-please:job:{job_id}:published", 0, -1)
        found["files published twice"] += len(published) - len(job["artifacts"])
        found["other bytes"] += fingerprints(job) != undisturbed(request)
        if job["status"] != "succeeded":
            typer.echo(f"{job_id}: {job['status']}, {job['error']}")
    time.sleep(2 * LEASE_SECONDS)  # who is late tidies up
    on_disk = len([*(deployment.settings.data_dir / "artifacts").glob("*/*/*")])
    named = sum(len(caller.job(job_id)["artifacts"]) for job_id in accepted)
    kept = named + sum(len(undisturbed(request)) for request in set_of(accepted.values()))
    return {
        "jobs": len(accepted),
        **{what: found[what] for what in ("lost", "files published twice", "other bytes")},
        "files too many on disk": on_disk - kept,
        "attempts": {"mean": round(sum(attempts) / len(attempts), 2), "most": max(attempts)},
    }


def set_of(kinds: Iterator[Request] | Any) -> list[Request]:
    """Each request once: they hold lists, so they can't be hashed."""
    once: list[Request] = []
    for request in kinds:
        if request not in once:
            once.append(request)
    return once


def _figures(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 2), "p99": round(cuts[98], 2), "most": round(max(seconds), 2)}


def _wake(pid: int) -> None:
    with suppress(OSError):
        os.kill(pid, signal.SIGCONT)


def main(
    kills: Annotated[int, typer.Option(help="How many.")] = 200,
    seed: Annotated[int, typer.Option(help="Of what is killed, and when.")] = 1,
) -> None:
    """Kill, judge, print and record."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with (
        tempfile.TemporaryDirectory() as folder,
        deployed(
            Path(folder), lease_seconds=LEASE_SECONDS, max_attempts=1000, drain_seconds=1
        ) as deployment,
    ):
        caller = Caller(deployment.url)
        kinds = requests(caller)
        calm: list[tuple[Request, dict[str, str]]] = []
        for number, request in enumerate(kinds):
            job_id = caller.submit(request, f"calm-{number}")
            while (job := caller.job(job_id))["ended_at"] is None:
                time.sleep(0.2)
            assert job["status"] == "succeeded", job["error"]
            calm.append((request, fingerprints(job)))

        def undisturbed(request: Request) -> dict[str, str]:
            return next(files for known, files in calm if known == request)

        accepted, done, times = storm(deployment, caller, kinds, kills, seed)
        typer.echo("waiting for the end of all jobs")
        verdict = judged(deployment, caller, accepted, undisturbed)
    document = {
        "kills": dict(done),
        **verdict,
        "seconds from a kill to the job back in its line": _figures(times.noticed),
        "seconds from a kill to the job running again": _figures(times.running),
        "jobs whose worker was killed": len(times.running),
    }
    typer.echo(document)
    write("chaos", f"--kills {kills} --seed {seed}", document)
    if any(verdict[what] for what in ("lost", "files published twice", "other bytes")):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
