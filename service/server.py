"""Run the service. It listens beyond this machine only where API keys guard it."""

from __future__ import annotations

import ipaddress

import uvicorn

from core.contract.settings import Settings
from core.telemetry import logs, traces
from service.app import create_app


class UnguardedAddress(ValueError):
    """The service was asked to listen beyond this machine without API keys."""


def check_address(settings: Settings) -> None:
    """Raise UnguardedAddress, with how to mend it, for an open address without keys."""
    if settings.api_keys or _is_loopback(settings.host):
        return
    raise UnguardedAddress(
        f"Refusing to listen on {settings.host} without API keys: anyone who reaches it could "
        "use it. Either listen on 127.0.0.1, or make a key with\n"
        "  attention-please keys new NAME\n"
        "and set ATTENTION_PLEASE_API_KEYS as it says."
    )


def build_server(settings: Settings) -> uvicorn.Server:
    """A server that is ready to `run()`; set `should_exit` to stop it. Leaves logging alone."""
    check_address(settings)
    app = create_app(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,  # its lines would show signatures; `service.middleware` has its own
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
    app.state.is_stopping = lambda: server.should_exit
    return server


def serve(settings: Settings) -> None:
    """Run the service until it is told to stop. Raises UnguardedAddress."""
    server = build_server(settings)
    logs.configure(settings.log_format)
    traces.configure("service")
    server.run()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
