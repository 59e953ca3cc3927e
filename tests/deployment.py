"""The processes of a deployment on this machine, each started again once it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from redis.exceptions import RedisError

from core.contract.settings import Settings
from core.jobs import workers
from tests.ports import free_port
from tests.tiny_models import models_file


@dataclass
class Deployment:
    """A broker, a service and two supervised workers with a tiny random model."""

    settings: Settings
    folder: Path
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ended: list[tuple[str, int]] = field(default_factory=list)
    """Names and exit codes of parts that were started again."""
    held: set[str] = field(default_factory=set)
    """Names of parts that are not to be started again for now."""
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def commands(self) -> dict[str, list[str]]:
        port = self.settings.redis_url.rpartition(":")[2].partition("/")[0]
        broker = ["cli.broker", "--port", port, "--data-dir", str(self.folder / "broker")]
        return {"broker": broker, "service": ["service"], "one": ["worker"], "two": ["worker"]}

    def keep_up(self) -> None:
        """Start what does not run, until stopped."""
        (self.folder / "broker").mkdir(exist_ok=True)
        while not self.stopped.wait(0.1):
            for name, command in self.commands.items():
                part = self.parts.get(name)
                if name in self.held or (part is not None and part.poll() is None):
                    continue
                if part is not None:
                    self.ended.append((name, part.returncode))
                with (self.folder / f"{name}.log").open("ab") as log:
                    self.parts[name] = subprocess.Popen(
                        [sys.executable, "-m", *command],
                        env=os.environ | self.settings.environment(),
                        stdout=log,
                        stderr=log,
                    )

    def redis(self) -> Redis:
        return Redis.from_url(self.settings.redis_url, socket_timeout=2)

    def children(self) -> list[int]:
        """The processes that hold models, by what they announce."""
        with suppress(RedisError), self.redis() as redis:
            pids = [int(worker.name.split("-")[-2]) for worker in workers.alive(redis)]
            return [pid for pid in pids if _lives(pid)]
        return []

    def broker(self) -> int:
        """The server itself, not who started it."""
        return int((self.folder / "broker" / "valkey.pid").read_text())

    def ready(self) -> bool:
        """Whether work can be taken."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200
        return False

    def end(self) -> None:
        """Stop everything, the broker last."""
        self.stopped.set()
        broker = self.parts.pop("broker")
        for part in self.parts.values():
            part.terminate()
        for part in self.parts.values():
            part.wait(60)
        broker.terminate()
        broker.wait(60)


@contextmanager
def deployed(folder: Path, **settings: Any) -> Iterator[Deployment]:
    """A deployment for the length of a `with` block. It may not be ready yet."""
    own = Settings(
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        port=free_port(),
        data_dir=folder / "data",
        models_file=models_file(folder),
        submissions_per_minute=10**6,
        **settings,
    )
    deployment = Deployment(own, folder)
    keeper = threading.Thread(target=deployment.keep_up)
    keeper.start()
    try:
        yield deployment
    finally:
        deployment.stopped.set()
        keeper.join()
        deployment.end()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False
