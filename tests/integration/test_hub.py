"""Models from a hub: the commands, and workers that fetch what they serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cli.local import LocalStack
from core.contract.settings import Settings
from tests.hub import Hub, hub_server
from tests.tiny_models import save_tiny
from tests.waiting import until

WAIT = {"Prefer": "wait=60"}
TABLE = """
[models.{name}]
source = "{repository}"
revision = "{revision}"
family = "{family}"
variant = "fp16"
dtype = "float16"
width = 64
height = 64
grid = 16
min_size = 32
max_size = 256
steps = 3
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Two models, in half precision."""
    with hub_server() as hub:
        for repository, family in (("stable/xl", "sdxl"), ("stable/two", "sd2")):
            folder = tmp_path_factory.mktemp(family)
            save_tiny(folder, family, "fp16")  # type: ignore[arg-type]
            hub.repositories[repository] = folder
        yield hub


@pytest.fixture(autouse=True)
def awake(hub: Hub) -> None:
    hub.down, hub.seconds_a_megabyte = False, 0.0
    hub.asked.clear()


def models_file(folder: Path, hub: Hub) -> Path:
    """A deployment's: `xl` from the start, `two` when a job first wants it."""
    tables = [
        TABLE.format(name=name, repository=of, revision=hub.commit(of), family=family)
        for name, of, family in (("xl", "stable/xl", "sdxl"), ("two", "stable/two", "sd2"))
    ]
    path = folder / "models.toml"
    path.write_text('default = "xl"\n' + "".join(tables))
    return path


@contextmanager
def stack(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, workers: int = 1
) -> Iterator[httpx.Client]:
    for name, value in hub.environment(folder / "cache").items():
        monkeypatch.setenv(name, value)
    settings = Settings(data_dir=folder / "data", models_file=models_file(folder, hub), port=0)
    with (
        LocalStack(settings, workers=workers, console=Console(quiet=True)) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


def command(folder: Path, hub: Hub, *words: str) -> subprocess.CompletedProcess[str]:
    given = {
        "ATTENTION_PLEASE_MODELS_FILE": str(models_file(folder, hub)),
        "ATTENTION_PLEASE_DATA_DIR": str(folder / "data"),
        "COLUMNS": "200",
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env=os.environ | hub.environment(folder / "cache") | given,
        capture_output=True,
        text=True,
        check=False,
    )


def fetched_files(hub: Hub) -> list[str]:
    return [path for path in hub.asked if "/resolve/" in path]


def test_workers_are_ready_once_their_weights_are_here_and_share_them(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack(tmp_path, hub, monkeypatch, workers=2) as client:
        first = fetched_files(hub)
        assert first
        assert all(path.startswith("stable/xl/") for path in first)
        weights = [path for path in first if path.endswith(".safetensors")]
        assert len(weights) == len(set(weights)), "two workers, one cache: each file once"
        (xl,) = [m for m in client.get("/v1/models").json()["models"] if m["name"] == "xl"]
        assert xl["warm_workers"]
        body = {"prompts": ["a cat", "a house"], "seed": 1}
        job = client.post("/v1/style-aligned", json=body, headers=WAIT).json()
        assert job["status"] == "succeeded", job["error"]
        hub.seconds_a_megabyte = 2
        body |= {"model": "two"}
        job = client.post("/v1/style-aligned", json=body).json()
        stages = set()

        def ended() -> bool:
            now = client.get(job["links"]["self"]).json()
            stages.add((now["progress"] or {}).get("stage"))
            return bool(now["status"] == "succeeded")

        until("the job", ended)
        assert "fetching" in stages
        done = client.get(job["links"]["self"]).json()
        assert done["measures"]["stages"]["fetching"] > 0


def test_a_job_whose_model_is_still_being_fetched_can_be_canceled(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack(tmp_path, hub, monkeypatch) as client:
        hub.seconds_a_megabyte = 8
        body = {"prompts": ["a cat"], "model": "two"}
        path = client.post("/v1/style-aligned", json=body).json()["links"]["self"]

        def job() -> Any:
            return client.get(path).json()

        until("fetching", lambda: (job()["progress"] or {}).get("stage") == "fetching")
        client.post(f"{path}/cancel").raise_for_status()
        until("the end", lambda: job()["status"] == "canceled", 5)
        hub.seconds_a_megabyte = 0
        again = client.post("/v1/style-aligned", json=body, headers=WAIT).json()
        assert again["status"] == "succeeded", again["error"]


def test_a_worker_without_a_network_serves_what_was_fetched_and_says_what_was_not(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = command(tmp_path, hub, "models", "fetch", "xl")
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    assert "xl: here" in fetched.stdout
    monkeypatch.setattr(hub, "offline", True)
    hub.asked.clear()
    with stack(tmp_path, hub, monkeypatch) as client:
        body = {"prompts": ["a cat"], "seed": 1}
        job = client.post("/v1/style-aligned", json=body, headers=WAIT).json()
        assert job["status"] == "succeeded", job["error"]
        body |= {"model": "two"}
        error = client.post("/v1/style-aligned", json=body, headers=WAIT).json()["error"]
        assert (error["code"], error["retryable"]) == ("model-unavailable", False)
        assert error["detail"] == "The weights of two are not here."
        log = (tmp_path / "data" / "logs" / "worker-0.log").read_text()
        assert "stable/two is not here in full" in log
    examined = command(tmp_path, hub, "doctor")
    assert examined.returncode == 1
    assert "ok      model xl: sdxl, 64 x 64, here, 0.00 GB" in examined.stdout
    assert "missing model two: sd2, 64 x 64, stable/two is not here in full" in examined.stdout
    assert hub.asked == []


def test_what_is_here_is_fine_though_the_hub_is_away_and_half_a_model_is_not_without_it(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(tmp_path, hub, "models", "fetch", "two").returncode == 0  # not the first one
    monkeypatch.setattr(hub, "offline", True)
    told = command(tmp_path, hub, "doctor").stdout
    assert "missing model xl: sdxl, 64 x 64, stable/xl is not here in full" in told
    assert "ok      model two: sd2, 64 x 64, here" in told
    (weights,) = (tmp_path / "cache").rglob("unet/*.safetensors")
    weights.unlink()
    told = command(tmp_path, hub, "doctor").stdout
    assert "missing model two" in told
    assert "GB are here, and HF_HUB_OFFLINE is set" in told


def test_ctrl_c_ends_a_fetch_at_once(hub: Hub, tmp_path: Path) -> None:
    hub.seconds_a_megabyte = 60
    variables = {"ATTENTION_PLEASE_MODELS_FILE": str(models_file(tmp_path, hub))}
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "models", "fetch"],
        env=os.environ | hub.environment(tmp_path / "cache") | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as fetching:
        until("a large file", lambda: any(".safetensors" in path for path in hub.asked))
        fetching.send_signal(signal.SIGINT)
        assert fetching.wait(5) != 0


def test_the_commands_say_what_is_wrong(hub: Hub, tmp_path: Path) -> None:
    unknown = command(tmp_path, hub, "models", "fetch", "sd9")
    assert unknown.returncode == 1
    assert "There is no model sd9. There are: two, xl." in unknown.stdout
    pinned = command(tmp_path, hub, "models", "pin", "stable/xl")
    assert f'revision = "{hub.commit("stable/xl")}"' in pinned.stdout
    nowhere = command(tmp_path, hub, "models", "pin", "nobody/nothing")
    assert nowhere.returncode == 1
    assert "the hub has no nobody/nothing" in nowhere.stdout
