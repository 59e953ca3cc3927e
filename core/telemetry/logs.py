"""Log lines, for a person or as JSON, each with the request and the job it was written for."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from opentelemetry import trace

LogFormat = Literal["text", "json"]

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_job_id: ContextVar[str | None] = ContextVar("job_id", default=None)

_TEXT = "%(asctime)s %(levelname)s %(name)s [%(about)s] %(message)s"
_JSON = {"asctime": "time", "levelname": "level", "name": "logger"}


@contextmanager
def about(*, request_id: str | None = None, job_id: str | None = None) -> Iterator[None]:
    """Lines written in the block are about this request, or this job."""
    tokens = [_request_id.set(request_id), _job_id.set(job_id)]
    try:
        yield
    finally:
        _job_id.reset(tokens[1])
        _request_id.reset(tokens[0])


def configure(log_format: LogFormat) -> None:
    """Write every line to standard error in this format. Called once, when a process starts."""
    formatters = {
        "text": {"format": _TEXT},
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": _JSON,
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
        },
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"about": {"()": lambda: _add_ids}},
            "formatters": {"line": formatters[log_format]},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["about"],
                }
            },
            "root": {"level": "INFO", "handlers": ["stderr"]},
        }
    )


def _add_ids(record: logging.LogRecord) -> bool:
    """Give the record the ids that are known; those of `extra` stay."""
    span = trace.get_current_span().get_span_context()
    ids = {
        "request_id": _request_id.get(),
        "job_id": _job_id.get(),
        "trace_id": trace.format_trace_id(span.trace_id) if span.is_valid else None,
    }
    for name, value in ids.items():
        if value is not None:
            setattr(record, name, value)
    record.__dict__.setdefault("about", ids["job_id"] or ids["request_id"] or "-")
    return True
