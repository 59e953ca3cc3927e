"""The compose file: valid, closed to the outside, patient with a drain."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from core.contract.settings import Settings
from tests.unit.deploy.files import DRAIN_SECONDS, ROOT, documents, seconds, unknown_settings

PATH = ROOT / "docker-compose.yml"
(FILE,) = documents(PATH)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = ("service", "worker", "worker-cpu")


def test_it_is_a_compose_file_by_the_specification() -> None:
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validators.validator_for(schema)(schema).validate(FILE)


def test_each_profile_adds_its_parts_to_redis_and_the_service() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles == {
        "redis": None,
        "service": None,
        "worker": ["gpu"],
        "worker-cpu": ["cpu"],
        "storage": ["storage"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_only_this_machine_reaches_a_port_and_none_reaches_redis_or_the_storage() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert {name for name, ports in published.items() if ports} == {
        "service",
        "prometheus",
        "grafana",
    }
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_redis_keeps_its_append_only_file() -> None:
    redis = SERVICES["redis"]
    assert "--appendonly yes" in " ".join(redis["command"])
    assert redis["volumes"] == ["redis:/data"]
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


@pytest.mark.parametrize("name", ["worker", "worker-cpu"])
def test_a_worker_has_longer_than_its_drain_to_end(name: str) -> None:
    assert seconds(SERVICES[name]["stop_grace_period"]) > DRAIN_SECONDS


@pytest.mark.parametrize("name", OURS)
def test_ours_run_with_nothing_to_write_to_but_their_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "data:/data" in service["volumes"]
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", OURS)
def test_ours_are_built_from_the_targets_of_the_dockerfile(name: str) -> None:
    build = SERVICES[name]["build"]
    targets = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    assert f" AS {build['target']}\n" in targets
    for argument in build.get("args", {}):
        assert f"\nARG {argument}=" in targets


def test_a_gpu_is_reserved_for_the_worker_of_that_profile_alone() -> None:
    devices = SERVICES["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert SERVICES["worker"]["environment"]["ATTENTION_PLEASE_DEVICE"] == "cuda"
    assert SERVICES["worker-cpu"]["deploy"] == {}
    assert SERVICES["worker-cpu"]["environment"]["ATTENTION_PLEASE_DEVICE"] == "cpu"


def test_every_variable_is_one_that_the_processes_read() -> None:
    assert not unknown_settings(PATH.read_text(encoding="utf-8"))


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in FILE["volumes"] or (ROOT / source).exists(), source


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
def test_the_script_that_writes_env_makes_a_key_that_the_service_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = new_env(tmp_path, "gpu", "storage")
    assert written.returncode == 0, written.stderr
    key = written.stdout.split()[-1]
    text = (tmp_path / ".env").read_text()
    assert key not in text
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in text.splitlines())
    assert values["COMPOSE_PROFILES"] == "gpu,storage"
    assert (ROOT / values["ATTENTION_PLEASE_MODELS_FILE"].removeprefix("/app/")).is_file()
    assert not unknown_settings(text)
    for name, value in values.items():
        monkeypatch.setenv(name, value.strip("'"))
    settings = Settings()
    assert [k.sha256 for k in settings.api_keys] == [hashlib.sha256(key.encode()).hexdigest()]
    assert settings.storage_url == "s3://attention-please"
    assert f"-bucket={settings.storage_url.removeprefix('s3://')}" in SERVICES["storage"]["command"]
    assert settings.storage_endpoint == "http://storage:8333"


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
def test_the_script_overwrites_no_env_and_knows_the_profiles(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("mine")
    assert new_env(tmp_path, "cpu").returncode == 1
    assert (tmp_path / ".env").read_text() == "mine"
    assert new_env(tmp_path / "none", "gpus").returncode == 2


def composed(folder: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    """What an implementation of compose makes of the file and of the .env in `folder`."""
    # It only asks podman whether it is there.
    podman = folder / "bin" / "podman"
    podman.parent.mkdir(exist_ok=True)
    podman.write_text("#!/bin/sh\necho podman version 5.0.0\n")
    podman.chmod(0o755)
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    command = ["-f", str(PATH), "--env-file", f"{folder}/.env", *chosen, "config"]
    return subprocess.run(
        [sys.executable, "-m", "podman_compose", *command],
        env={"PATH": f"{podman.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
@pytest.mark.parametrize(
    ("profiles", "started"),
    [
        (["cpu"], {"worker-cpu"}),
        (["gpu"], {"worker"}),
        (
            ["gpu", "storage", "monitoring"],
            {"worker", "storage", "prometheus", "grafana"},
        ),
    ],
)
def test_compose_starts_what_the_profiles_say_with_what_env_says(
    tmp_path: Path, profiles: list[str], started: set[str]
) -> None:
    assert new_env(tmp_path, *profiles).returncode == 0
    read = composed(tmp_path, *profiles)
    assert read.returncode == 0, read.stderr
    services = yaml.safe_load(read.stdout)["services"]
    assert services.keys() == {"redis", "service"} | started
    told = services["service"]["environment"]
    (key,) = json.loads(told["ATTENTION_PLEASE_API_KEYS"])
    assert key["name"] == "me"
    wanted = "/app/models/gpu.toml" if "gpu" in profiles else "/app/models/models.toml"
    for name in {"service", *started} & set(OURS):
        environment = services[name]["environment"]
        assert environment["ATTENTION_PLEASE_MODELS_FILE"] == wanted
        assert environment["ATTENTION_PLEASE_REDIS_URL"] == "redis://redis:6379/0"
        assert ("HF_TOKEN" in environment) == (name != "service")


def test_compose_refuses_to_start_without_a_key_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("")
    read = composed(tmp_path, "cpu")
    assert read.returncode != 0
    assert "run deploy/new-env.sh first" in read.stderr


def new_env(folder: Path, *profiles: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "deploy" / "new-env.sh", *profiles],
        env=os.environ | {"ENV_FILE": str(folder / ".env")},
        capture_output=True,
        text=True,
        check=False,
    )
