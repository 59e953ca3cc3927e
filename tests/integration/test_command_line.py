"""`run` and `doctor`, without a server."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from core.catalog import TECHNIQUES
from core.contract.keys import ApiKey
from core.storage.pictures import RECIPE_KEY
from tests.buckets import bucket_settings, closed_port
from tests.tiny_models import models_file
from tests.web import respond, web_server


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_file(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def environment(tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_MODELS_FILE", str(tiny_models))
    monkeypatch.setenv("ATTENTION_PLEASE_DATA_DIR", str(tmp_path / "data"))


def request_file(folder: Path, body: object) -> str:
    path = folder / "request.json"
    path.write_text(json.dumps(body))
    return str(path)


def test_a_pictures_recipe_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    body = {"prompts": ["a cat", "a house"], "style": "neon"}
    arguments = ["run", "style-aligned", request_file(tmp_path, body), "--out"]
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "one")]).exit_code == 0
    with Image.open(tmp_path / "one" / "image-001.png") as picture:
        recipe = json.loads(picture.info[RECIPE_KEY])
    assert recipe["request"]["seed"] is not None
    request_file(tmp_path, recipe["request"])
    assert CliRunner().invoke(app, [*arguments, str(tmp_path / "other")]).exit_code == 0
    for path in (tmp_path / "one").glob("*.png"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_a_recipe_with_a_given_reference_needs_that_picture_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style, stray = tmp_path / "style.png", tmp_path / "stray.png"
    Image.effect_noise((80, 64), 90).save(style)
    data = base64.b64encode(style.read_bytes()).decode()
    reference = {"image": {"data": f"data:image/png;base64,{data}"}, "prompt": "noise"}
    body = request_file(tmp_path, {"prompts": ["a cat"], "reference": reference})
    run = ["run", "style-aligned"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert CliRunner().invoke(app, [*run, body, "--out", str(one)]).exit_code == 0
    recipe = str(one / "image-000.png")
    monkeypatch.setenv("ATTENTION_PLEASE_DATA_DIR", str(tmp_path / "elsewhere"))
    without = CliRunner().invoke(app, [*run, recipe, "--out", str(other)])
    assert without.exit_code == 1
    assert "/reference/image" in without.output
    given = CliRunner().invoke(app, [*run, recipe, "--image", str(style), "--out", str(other)])
    assert given.exit_code == 0, given.output
    for path in one.glob("*.png"):
        assert path.read_bytes() == (other / path.name).read_bytes()
    Image.new("RGB", (8, 8)).save(stray)
    assert CliRunner().invoke(app, [*run, str(stray), "--out", str(other)]).exit_code == 1


@pytest.mark.parametrize(
    ("technique", "body", "said"),
    [
        ("style-aligned", {}, "/prompts"),
        ("style-aligned", {"prompts": ["a"], "model": "none"}, "Known: tiny"),
        ("style-aligned", {"prompts": ["a"], "sampling": {"width": 65}}, "multiple of 16"),
        ("no-such", {"prompts": ["a"]}, "Known: " + ", ".join(sorted(TECHNIQUES))),
        ("appearance-transfer", {"domain": "cat"}, "/structure: This is required"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    technique: str, body: object, said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["run", technique, request_file(tmp_path, body), "--out", str(out)]
    )
    assert result.exit_code == 1
    assert said in result.output.replace("\n", " ")
    assert not out.exists()


def test_the_doctor_finds_what_is_here_and_forgives_a_missing_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "model tiny" in result.output
    assert "missing broker" in result.output


def test_a_request_with_a_picture_by_its_url_is_run_and_names_an_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.effect_noise((80, 64), 90).save(tmp_path / "style.png")
    data = (tmp_path / "style.png").read_bytes()
    with web_server(lambda request: respond(request, 200, data)) as port:
        reference = {"image": {"url": f"http://127.0.0.1:{port}/"}, "prompt": "noise"}
        body = request_file(tmp_path, {"prompts": ["a cat"], "reference": reference})
        arguments = ["run", "style-aligned", body, "--out", str(tmp_path / "out")]
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 1
        assert "/reference/image/url" in refused.output
        monkeypatch.setenv("ATTENTION_PLEASE_OUTBOUND_HTTP", "true")
        monkeypatch.setenv("ATTENTION_PLEASE_OUTBOUND_NETWORKS", '["127.0.0.1"]')
        monkeypatch.setenv("ATTENTION_PLEASE_OUTBOUND_PORTS", f"[{port}]")
        assert CliRunner().invoke(app, arguments).exit_code == 0
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    assert set(job["request"]["reference"]["image"]) == {"upload"}


def test_a_new_key_is_what_the_service_is_told_to_accept() -> None:
    made = CliRunner().invoke(app, ["keys", "new", "shop"]).output.split()
    key = next(word for word in made if word.startswith("ap_"))
    told = ApiKey.model_validate_json(made[-1])
    assert (told.name, told.sha256) == ("shop", hashlib.sha256(key.encode()).hexdigest())
    assert CliRunner().invoke(app, ["keys", "new", "no name"]).exit_code == 1


def test_doctor_says_when_the_service_would_refuse_to_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_HOST", "0.0.0.0")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "keys new" in result.output


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("WARM_MODELS", '["other"]', "WARM_MODELS names other"),
        ("MAX_MODELS", "1", "MAX_MODELS is 1, and 2 models of a pool are to be warm"),
    ],
)
def test_doctor_says_when_a_worker_could_not_begin_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
    tiny_models: Path,
    tmp_path: Path,
    setting: str,
    value: str,
    said: str,
) -> None:
    text = tiny_models.read_text().replace(
        'source = "tiny"', f'source = "{tiny_models.parent}/tiny"'
    )
    table = text[text.index("[models.tiny]") :] + "warm = true\n"
    (tmp_path / "models.toml").write_text(
        f"{text}warm = true\n{table.replace('[models.tiny]', '[models.twin]')}"
    )
    monkeypatch.setenv("ATTENTION_PLEASE_MODELS_FILE", str(tmp_path / "models.toml"))
    monkeypatch.setenv(f"ATTENTION_PLEASE_{setting}", value)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert said in result.output.replace("\n", " ")


def test_models_are_for_machines_with_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str) -> object:
        return None if name in ("huggingface_hub", "torch") else found(name)

    monkeypatch.setattr("cli.models.find_spec", without)
    monkeypatch.setattr("cli.doctor.find_spec", without)
    listed = CliRunner().invoke(app, ["models", "list"])
    assert listed.exit_code == 1
    assert "huggingface_hub is not installed" in listed.output
    examined = CliRunner().invoke(app, ["doctor"])
    assert "ok      models: tiny; their weights are for workers to have" in examined.output


def test_doctor_names_the_extra_that_traces_want(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package.startswith("opentelemetry-exporter"):
            raise PackageNotFoundError
        return "1"

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318")
    monkeypatch.setattr("cli.doctor.version", version)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "attention-please[tracing]" in result.output


def test_doctor_tries_the_bucket_and_names_what_is_wrong_with_it(
    bucket_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket_settings(bucket_endpoint).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", "redis://127.0.0.1:1/0")
    fine = CliRunner().invoke(app, ["doctor"])
    assert fine.exit_code == 0, fine.output
    assert "ok      bucket: s3://" in fine.output
    away = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("ATTENTION_PLEASE_STORAGE_ENDPOINT", away)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "missing bucket: s3://" in result.output
    monkeypatch.delenv("ATTENTION_PLEASE_SIGNING_SECRET")
    for command in ("doctor", "serve", "worker"):
        refused = CliRunner().invoke(app, [command])
        assert refused.exit_code == 1
        assert "set ATTENTION_PLEASE_SIGNING_SECRET" in refused.output.replace("\n", " ")


def test_doctor_names_the_extra_that_a_bucket_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bucket_settings("http://127.0.0.1:1").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "core.storage.bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "attention-please[s3]" in result.output
