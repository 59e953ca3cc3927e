"""Traces by OpenTelemetry: from a request through the queue into the stages of its job.

The spans of requests are the framework's. What is here takes them further.

Without the SDK, or where the standard variables name no collector, spans cost next to nothing and
go nowhere; the `traceparent` of a caller still travels with the job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

tracer = trace.get_tracer("attention-please")


def configure(part: str) -> None:
    """Send the spans of this process, named as `part`, to the collector that the variables name.

    Raises ModuleNotFoundError where one is named and the extra `tracing` is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", f"attention-please-{part}")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def carried() -> dict[str, str]:
    """The current span, as what travels with a job."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier


def context_of(carrier: Mapping[str, str]) -> Context:
    """What was carried, to begin a span in. Headers that can't be read begin a new trace."""
    return extract(carrier)
