"""`/metrics`, for Prometheus: this process's requests, and the deployment's jobs and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from core.jobs.queue import Load
from core.jobs.tally import Tally, tally
from service.backends import Backends, WithBackends
from service.documentation import Responses, problem_responses

router = APIRouter(tags=["Health"])

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SUCCESS: Responses = {
    200: {
        "description": "Prometheus's text format.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


class HttpMetrics:
    """What this process answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "attention_http_requests",
            "Requests that were answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "attention_http_request_seconds",
            "From a request to the end of its answer; waits and streams are long on purpose.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )

    def count(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """Count one request. route: the path's template, so that ids make no series."""
        method = method if method in _METHODS else "other"  # callers may send any word
        self._requests.labels(method, route, str(status or "none")).inc()
        self._seconds.labels(method, route).observe(seconds)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Read the metrics",
    response_class=Response,
    responses=_SUCCESS | problem_responses(),
)
def get_metrics(request: Request, backends: WithBackends) -> Response:
    """Needs no key, and tells of no key or job by name: keep it inside, as `/healthz`.

    Series of jobs, of the line and of workers are the whole deployment's, and the same from each
    service of it: take their maximum, not their sum. `attention_expected_wait_seconds`, how long
    a job sent now would wait, is what to scale workers by.
    """
    shared = CollectorRegistry()
    shared.register(_Shared(backends))
    text = generate_latest(request.app.state.registry) + generate_latest(shared)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


_OF_A_LINE: dict[str, tuple[str, Callable[[Load], float | None]]] = {
    "attention_jobs_waiting": ("Jobs in the line.", lambda load: load.waiting),
    "attention_workers": ("Workers that are alive.", lambda load: load.workers),
    "attention_workers_busy": ("Workers with a job in hand.", lambda load: load.busy),
    "attention_run_seconds_mean": ("Mean of the last runs.", lambda load: load.run_seconds),
    "attention_expected_wait_seconds": (
        "Of a job that is sent now.",
        lambda load: load.wait_seconds(load.waiting + 1),
    ),
}


class _Shared(Collector):
    """What the broker knows. While it is away, only that it is."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("attention_broker_up", "Whether the broker answers.")
        try:
            found = [*self._line(), *_jobs(tally(self._backends.redis))]
        except RedisError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from found

    def _line(self) -> Iterator[Metric]:
        loads = {pool: self._backends.queue(pool).load() for pool in self._backends.pools()}
        for name, (meaning, read) in _OF_A_LINE.items():
            gauge = GaugeMetricFamily(name, meaning, labels=["pool"])
            for pool, load in loads.items():
                if (value := read(load)) is not None:
                    gauge.add_metric([pool], value)
            if gauge.samples:
                yield gauge


def _jobs(found: Tally) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "attention_jobs", "Jobs that have ended.", labels=["technique", "status"]
    )
    for labels, count in sorted(found.ended.items()):
        ended.add_metric(labels, count)
    yield ended
    for name, meaning, of_technique in (
        ("attention_job_queue_seconds", "From a job's submission to its run.", found.queue),
        ("attention_job_run_seconds", "A run that succeeded.", found.run),
    ):
        family = HistogramMetricFamily(name, meaning, labels=["technique"])
        for technique, histogram in sorted(of_technique.items()):
            family.add_metric([technique], histogram.cumulative(), histogram.seconds)
        yield family
    stages = CounterMetricFamily(
        "attention_job_stage_seconds",
        "Time spent in each stage of runs that succeeded.",
        labels=["technique", "stage"],
    )
    for stage_labels, seconds in sorted(found.stages.items()):
        stages.add_metric(stage_labels, seconds)
    yield stages
