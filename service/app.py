"""The application: routes put together, nothing done at import."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from core.contract.settings import Settings
from core.jobs.changes import revisions
from service import (
    archive,
    artifacts,
    events,
    health,
    images,
    jobs,
    listing,
    metrics,
    models,
    page,
    problems,
    techniques,
    webhooks,
)
from service.backends import opened
from service.documentation import API_VERSION, document
from service.metrics import HttpMetrics
from service.middleware import RequestContext
from service.watch import Watch


def create_app(settings: Settings) -> FastAPI:
    """The service for `settings`. Clients and files are opened when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with opened(settings) as backends:
            app.state.backends = backends
            app.state.watch = Watch(
                partial(revisions, backends.redis), lambda: app.state.is_stopping()
            )
            yield

    app = FastAPI(
        title="attention-please",
        summary="Attention control in diffusion models, as a service.",
        description=(
            "Submit a job, look at it until it is final, download its pictures by their signed "
            "URLs. Errors are problem details (RFC 9457) with a stable `code`. Unknown fields "
            "are errors. Times are RFC 3339 in UTC. Each answer names its request in "
            "`X-Request-Id`."
        ),
        version=API_VERSION,
        docs_url=None,  # as `page` shows it
        redoc_url=None,
        redirect_slashes=False,
        # Spans of requests, nothing more: exporters are `core.telemetry`'s, metrics `/metrics`.
        telemetry={"operation_spans": False, "metrics": False, "logs": False},
        lifespan=lifespan,
    )
    # Who runs the app may replace it, so that no caller who waits holds up the end.
    app.state.is_stopping = lambda: False
    app.state.registry = CollectorRegistry()
    app.add_middleware(RequestContext, metrics=HttpMetrics(app.state.registry))
    problems.install(app)
    of_jobs = (jobs, listing, events, webhooks, archive, artifacts)
    for part in (techniques, *of_jobs, images, models, health, metrics):
        app.include_router(part.router)
    app.webhooks.include_router(webhooks.told)
    page.install(app)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    return app
