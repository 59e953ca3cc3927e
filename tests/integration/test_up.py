"""`attention-please up`: everything on one machine, as a person starts and stops it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from core.contract.settings import Settings
from tests.ports import free_port
from tests.tiny_models import models_file

JOB = {"prompts": ["a cat", "a house"], "seed": 4}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", models_file=models_file(tmp_path), port=free_port())


@contextmanager
def up(settings: Settings) -> Iterator[httpx.Client]:
    """The command in a process of its own, ready; Ctrl-C at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up"],
        env=os.environ | settings.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that runs these tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=70) as client:
            until = time.monotonic() + 90
            while not _ready(client):
                assert process.poll() is None, "it ended"
                assert time.monotonic() < until, "it takes too long"
                time.sleep(0.1)
            yield client
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output.decode()
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(600)
def test_it_draws_over_http_stops_on_ctrl_c_and_remembers(settings: Settings) -> None:
    with up(settings) as client:
        answer = client.post("/v1/style-aligned", json=JOB, headers={"Prefer": "wait=60"})
        assert answer.status_code == 200
        job = answer.json()
        names = [artifact["name"] for artifact in job["artifacts"]]
        assert names == ["reference.png", "image-000.png", "image-001.png", "grid.png"]
        before = {a["name"]: client.get(a["url"]).content for a in job["artifacts"]}
    assert _parts_of(settings) == []

    with up(settings) as client:
        again = client.get(f"/v1/jobs/{job['id']}").json()
        assert again["status"] == "succeeded"
        after = {a["name"]: client.get(a["url"]).content for a in again["artifacts"]}
    assert before == after


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _parts_of(settings: Settings) -> list[str]:
    """Command lines of processes that name this test's data directory or settings."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        marker = f"ATTENTION_PLEASE_DATA_DIR={settings.data_dir}".encode()
        if marker in environment and command:
            found.append(command)
    return found
