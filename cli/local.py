"""Broker, API and workers as processes of this machine: what `up` and `demo` stand on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import httpx
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console

from core.contract.settings import Settings
from service.server import check_address

_PATIENCE_SECONDS = 60.0
_MODEL_PATIENCE_SECONDS = 3600.0
"""The first start of a large model fetches its weights."""
_GRACE_SECONDS = 20.0
"""More than a worker takes to go once its drain is over."""


class StackFailed(RuntimeError):
    """A part did not come up or ended; its message says which and where its log is."""


class LocalStack:
    """Starts the parts in order and stops them in the other. Use it in a `with` block.

    Entering raises StackFailed, or UnguardedAddress for an open address without API keys.

    Each part is a process in a session of its own, so that Ctrl-C reaches only this one, and
    ends when this one is gone. Logs go to `data_dir/logs`.
    """

    def __init__(self, settings: Settings, *, workers: int, console: Console) -> None:
        broker_port = _free_port("127.0.0.1")
        self.settings = settings.model_copy(
            update={
                "redis_url": f"redis://127.0.0.1:{broker_port}/0",
                "port": settings.port or _free_port(settings.host),
            }
        )
        self.broker_port = broker_port
        self.workers = workers
        self.console = console
        self.logs = settings.data_dir / "logs"
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.settings.host == "0.0.0.0" else self.settings.host
        return f"http://{host}:{self.settings.port}"

    def __enter__(self) -> Self:
        check_address(self.settings)
        self.logs.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, _as_exit)  # so that `with` blocks unwind
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait for Ctrl-C (KeyboardInterrupt). Raises StackFailed when a part ends by itself."""
        while True:
            self.check()
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop API and workers, then the broker. A job in hand has a grace to end in."""
        names = [name for name in self.parts if name != "broker"]
        for name in names:
            self.parts[name].terminate()
        for name in names:
            _end(self.parts.pop(name), self.settings.drain_seconds + _GRACE_SECONDS)
        if "broker" in self.parts:
            self.parts["broker"].terminate()
            _end(self.parts.pop("broker"), _GRACE_SECONDS)

    def _start_all(self) -> None:
        broker_data = self.settings.data_dir / "broker"
        broker_data.mkdir(parents=True, exist_ok=True)
        with self.console.status("Starting the broker …"):
            self._start(
                "broker",
                ["cli.broker", "--port", str(self.broker_port), "--data-dir", str(broker_data)],
            )
            self._until(self._broker_answers, "broker")
        with self.console.status("Starting the API …"):
            self._start("service", ["service"])
            self._until(lambda: self._answers("/healthz"), "service")
        with self.console.status("Loading the model …"):
            for number in range(self.workers):
                self._start(f"worker-{number}", ["worker"])
            self._until(lambda: self._answers("/readyz"), "worker-0", _MODEL_PATIENCE_SECONDS)

    def _start(self, name: str, module: list[str]) -> None:
        log = self._log(name).open("ab")
        self.parts[name] = subprocess.Popen(
            [sys.executable, "-m", "cli.part", str(os.getpid()), *module],
            env=os.environ | self.settings.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()

    def _until(
        self, ready: Callable[[], bool], name: str, patience: float = _PATIENCE_SECONDS
    ) -> None:
        until = time.monotonic() + patience
        while not ready():
            self.check()
            if time.monotonic() > until:
                raise StackFailed(f"The {name} did not get ready; see {self._log(name)}.")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise StackFailed if a part has ended by itself."""
        for name, part in self.parts.items():
            if part.poll() is not None:
                last = self._log(name).read_text(errors="replace").strip().rpartition("\n")[2]
                raise StackFailed(f"The {name} ended: {last} (see {self._log(name)})")

    def _broker_answers(self) -> bool:
        try:
            with Redis.from_url(self.settings.redis_url, socket_timeout=1) as redis:
                return bool(redis.ping())
        except RedisError:
            return False

    def _answers(self, path: str) -> bool:
        try:
            return httpx.get(self.url + path, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def _as_exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _end(part: subprocess.Popen[bytes], patience: float) -> None:
    try:
        part.wait(patience)
    except subprocess.TimeoutExpired:
        part.kill()
        part.wait()


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
