"""The models file and the settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.contract.errors import InvalidRequest
from core.contract.models import BUILT_IN_MODELS, load_catalog
from core.contract.settings import Settings

TABLE = """
source = "{source}"
family = "sdxl"
width = 1024
height = 1024
grid = 8
min_size = 256
max_size = 2048
"""


def test_the_built_in_models_can_be_read() -> None:
    catalog = load_catalog(BUILT_IN_MODELS)
    assert catalog.resolve(None).name == catalog.default
    for spec in catalog.models.values():
        assert spec.size_fault(spec.width) is None
        assert spec.size_fault(spec.height) is None


def test_a_folder_beside_the_file_is_made_absolute_and_a_hub_id_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    file = tmp_path / "models.toml"
    file.write_text(
        'default = "a"\n[models.a]'
        + TABLE.format(source="mine")
        + "[models.b]"
        + TABLE.format(source="hub/name")
    )
    catalog = load_catalog(file)
    assert catalog.models["a"].source == str(tmp_path / "mine")
    assert catalog.models["b"].source == "hub/name"


def test_an_unknown_model_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        load_catalog(BUILT_IN_MODELS).resolve("sd9")
    assert refused.value.errors[0].pointer == "/model"
    assert "tiny-world" in refused.value.errors[0].detail


def test_a_default_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('default = "b"\n[models.a]' + TABLE.format(source="hub/name"))
    with pytest.raises(ValidationError, match="not among the models"):
        load_catalog(file)


def test_key_hashes_are_sha256_in_any_case() -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    assert Settings(api_key_hashes=(digest.upper(),)).api_key_hashes == (digest,)
    for wrong in ("key", digest[:-1], digest + "0", "g" * 64):
        with pytest.raises(ValidationError, match="64 hexadecimal"):
            Settings(api_key_hashes=(wrong,))


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    monkeypatch.setenv("ATTENTION_PLEASE_API_KEY_HASHES", f'["{digest}"]')
    monkeypatch.setenv("ATTENTION_PLEASE_PORT", "9000")
    settings = Settings()
    assert (settings.api_key_hashes, settings.port) == ((digest,), 9000)
