"""What a platform engineer sees: metrics, log lines, traces."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from core.contract.errors import JobError
from core.contract.jobs import Job
from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.tally import count_run
from tests.conftest import running_service

BODY = {"prompts": ["a cat"]}
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def samples(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Values by name and the values of the labels, by the names of those."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_jobs_and_the_line_are_counted(
    client: httpx.Client,
    store: JobStore,
    queue: JobQueue,
    redis: Redis,
    new_job: Callable[..., Job],
) -> None:
    done, failed, canceled, _waiting = jobs = [new_job() for _ in range(4)]
    for job in jobs:
        store.create(job)
    claims = [store.claim(job.id, 30) for job in (done, failed)]
    assert claims[0]
    assert claims[1]
    store.succeed(claims[0], {})
    store.fail(claims[1], JobError(code="numerics", detail="NaN.", retryable=False))
    store.request_cancel(canceled.id)
    count_run(redis, "style-aligned", 0.2, 45, {"denoising": 40.0, "storing": 5.0})
    queue.learn(45)
    found = samples(client)
    for status in ("succeeded", "failed", "canceled"):
        assert found["attention_jobs_total", status, "style-aligned"] == 1
    assert found["attention_jobs_waiting", "default"] == 1
    assert found["attention_run_seconds_mean", "default"] == 45
    assert found["attention_broker_up",] == 1
    assert found["attention_job_queue_seconds_bucket", "0.5", "style-aligned"] == 1
    assert found["attention_job_run_seconds_bucket", "30", "style-aligned"] == 0
    assert found["attention_job_run_seconds_bucket", "60", "style-aligned"] == 1
    assert found["attention_job_run_seconds_sum", "style-aligned"] == 45
    assert found["attention_job_run_seconds_count", "style-aligned"] == 1
    assert found["attention_job_stage_seconds_total", "denoising", "style-aligned"] == 40
    assert ("attention_expected_wait_seconds", "default") not in found, "no worker is alive"


def test_requests_are_counted_by_route_and_not_by_id(settings: Settings) -> None:
    with running_service(settings) as url, httpx.Client(base_url=url) as client:
        for job_id in ("job_1", "job_2"):
            client.get(f"/v1/jobs/{job_id}")
        client.get("/nowhere")
        found = samples(client)
    assert found["attention_http_requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 2
    assert found["attention_http_requests_total", "GET", "none", "404"] == 1
    assert found["attention_http_request_seconds_count", "GET", "/v1/jobs/{job_id}"] == 2
    assert not any("job_1" in part for name in found for part in name)


def test_methods_that_callers_make_up_are_one_series(settings: Settings) -> None:
    with running_service(settings) as url, httpx.Client(base_url=url) as client:
        for method in ("BREW", "brew", "WHEN"):
            client.request(method, "/healthz")
        found = samples(client)
    assert found["attention_http_requests_total", "other", "/healthz", "405"] == 3
    assert found["attention_http_request_seconds_count", "other", "/healthz"] == 3
    assert not any("BREW" in part for name in found for part in name)


def test_metrics_are_answered_while_the_broker_is_away(settings: Settings) -> None:
    deaf = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with running_service(deaf) as url, httpx.Client(base_url=url) as client:
        assert samples(client)["attention_broker_up",] == 0


def test_log_lines_can_be_json_with_the_ids_they_are_about() -> None:
    script = (
        "import logging\n"
        "from core.telemetry.logs import about, configure\n"
        "configure('json')\n"
        "with about(request_id='req_1', job_id='job_1'):\n"
        "    logging.getLogger('a').info('forged\\nline %s', 'x', extra={'seconds': 0.5})\n"
        "logging.getLogger('b').warning('outside')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, second = (json.loads(line) for line in run.stderr.splitlines())
    assert first["message"] == "forged\nline x"
    assert (first["request_id"], first["job_id"], first["seconds"]) == ("req_1", "job_1", 0.5)
    assert (first["level"], first["logger"]) == ("INFO", "a")
    assert (second["level"], "job_id" in second) == ("WARNING", False)


def test_each_request_has_one_line_with_what_became_of_it(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.get("/v1/jobs/job_1?sig=secret")
        until = time.monotonic() + 5
        while not (lines := [r for r in caplog.records if r.name == "service.middleware"]):
            assert time.monotonic() < until, "no line"  # it is written after the answer
            time.sleep(0.01)
    (line,) = lines
    assert (vars(line)["path"], vars(line)["status"]) == ("/v1/jobs/job_1", 404)
    assert "secret" not in line.getMessage()


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[], tuple[ReadableSpan, ...]]:
    exporter.clear()
    return exporter.get_finished_spans


def test_a_callers_trace_goes_through_the_request_into_the_record(
    client: httpx.Client, store: JobStore, spans: Callable[[], tuple[ReadableSpan, ...]]
) -> None:
    headers = {"traceparent": PARENT, "X-Request-Id": "order-17"}
    job_id = client.post("/v1/style-aligned", json=BODY, headers=headers).json()["id"]
    job = store.get(job_id)
    (span,) = (span for span in spans() if span.name == "POST /v1/style-aligned")
    context = span.get_span_context()
    assert context is not None
    assert trace.format_trace_id(context.trace_id) == TRACE_ID
    span_id = trace.format_span_id(context.span_id)
    assert job.trace["traceparent"] == f"00-{TRACE_ID}-{span_id}-01"
    assert job.request_id == "order-17"


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-0", "x" * 5000])
def test_a_trace_that_can_not_be_read_begins_anew(client: httpx.Client, header: str) -> None:
    answer = client.post("/v1/style-aligned", json=BODY, headers={"traceparent": header})
    assert answer.status_code == 202
