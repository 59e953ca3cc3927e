"""The models file and the settings."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.errors import InvalidRequest
from core.contract.keys import ApiKey, Limits
from core.contract.models import BUILT_IN_MODELS, load_catalog, transformer_blocks
from core.contract.settings import Settings
from core.contract.style_aligned import StyleAlignedRequest
from core.contract.weights import MergedLora, Weights

COMMIT = "0123456789" * 4
UPLOAD = "img_" + "0" * 32
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


def test_a_source_without_a_revision_is_a_path_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        'default = "a"\n[models.a]'
        + TABLE.format(source="mine")
        + "[models.b]"
        + TABLE.format(source="owner/name")
        + f'revision = "{COMMIT}"\n'
        + f'vae = {{ source = "owner/vae", revision = "{COMMIT}" }}\n'
        + 'lora = { source = "/else/lora" }\n'
        + 'controls.canny = { source = "edges" }\n'
    )
    catalog = load_catalog(file)
    assert catalog.models["a"].source == str(tmp_path / "mine")
    model = catalog.models["b"]
    assert (model.vae, model.lora) == (
        Weights(source="owner/vae", revision=COMMIT),
        MergedLora(source="/else/lora"),
    )
    assert (model.source, model.controls["canny"].source) == ("owner/name", str(tmp_path / "edges"))


@pytest.mark.parametrize(
    "wrong",
    [
        'revision = "main"',
        'depth_estimator = "owner/depth"',
        'lora = { source = "owner/lora", weight_name = "lora.bin" }',
        'scheduler = { timestep_spacing = "trailing" }',
        'scheduler = { kind = "lcm" }',
        "steps = 9\nmax_steps = 8",
        "max_steps = 201",
        "warmth = true",
        'controls = "edges"',
        "adapters = { snail = 1 }",
        "vae = {}",
        'vae = { source = "" }',
    ],
)
def test_a_model_that_makes_no_sense_is_refused(tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f'default = "a"\n[models.a]{TABLE.format(source="a")}\n{wrong}\n')
    with pytest.raises(ValidationError):
        load_catalog(file)


def test_workers_begin_with_the_models_that_say_so_or_else_the_first_of_their_pool(
    tmp_path: Path,
) -> None:
    file = tmp_path / "models.toml"
    tables = {"a": "", "b": "warm = true", "c": "warm = true", "d": 'pool = "other"'}
    written = [f"[models.{n}]{TABLE.format(source=n)}\n{more}\n" for n, more in tables.items()]
    file.write_text('default = "a"\n' + "".join(written))
    catalog = load_catalog(file)
    assert catalog.warm_in("default") == ["b", "c"]
    assert catalog.warm_in("other") == ["d"]


def test_more_steps_than_a_model_takes_are_refused_with_its_limit() -> None:
    spec = load_catalog(BUILT_IN_MODELS).resolve(None)
    few = spec.model_copy(update={"steps": 4, "max_steps": 8})
    asked = StyleAlignedRequest.model_validate({"prompts": ["a cat"], "sampling": {"steps": 9}})
    with pytest.raises(InvalidRequest) as refused:
        asked.resolve(few)
    (error,) = refused.value.errors
    assert (error.pointer, error.detail) == (
        "/sampling/steps",
        "tiny-world draws in 1 to 8 steps, not in 9.",
    )
    transfer = {"structure": {"upload": UPLOAD}, "appearance": {"upload": UPLOAD}, "domain": "cat"}
    assert AppearanceTransferRequest.model_validate(transfer).resolve(few).steps == 8
    with pytest.raises(InvalidRequest) as refused:
        AppearanceTransferRequest.model_validate(transfer | {"steps": 9}).resolve(few)
    assert refused.value.errors[0].pointer == "/steps"


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


SHOP = {"name": "shop", "sha256": hashlib.sha256(b"key").hexdigest()}


@pytest.mark.parametrize(
    "wrong",
    [
        [SHOP | {"sha256": "key"}],
        [SHOP | {"sha256": SHOP["sha256"].upper()}],
        [SHOP | {"name": "../shop"}],
        [SHOP | {"max_queued": 0}],
        [SHOP | {"key": "the key itself"}],
        [SHOP, SHOP],
        [SHOP, {"name": "shop", "sha256": "0" * 64, "max_queued": 5}],
    ],
)
def test_keys_that_mean_nothing_are_refused(wrong: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"api_keys": wrong})


def test_a_key_has_the_limits_it_names_and_else_those_of_the_service() -> None:
    keys = [SHOP | {"max_queued": 5}, {"name": "lab", "sha256": "0" * 64}]
    settings = Settings.model_validate({"api_keys": keys, "submissions_per_minute": 9})
    assert settings.limits_of("shop") == Limits(5, 9)
    assert settings.limits_of("lab") == Limits(1000, 9)


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_API_KEYS", json.dumps([SHOP]))
    monkeypatch.setenv("ATTENTION_PLEASE_PORT", "9000")
    settings = Settings()
    assert (settings.api_keys, settings.port) == ((ApiKey.model_validate(SHOP),), 9000)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def config_of(**values: Any) -> dict[str, Any]:
    """A UNet's configuration, SD 1's where nothing else is said."""
    stable = {
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "layers_per_block": 2,
    }
    return stable | values


SDXL = {
    "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
    "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
}
DISTILLED = SDXL | {
    "transformer_layers_per_block": [1, [2, 2], [4, 4]],
    "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
    "mid_block_type": "UNetMidBlock2D",
}


@pytest.mark.parametrize(
    ("values", "blocks"), [({}, 16), (SDXL, 70), (DISTILLED, 34), ({"mid_block_type": None}, 15)]
)
def test_blocks_are_counted_by_the_unets_configuration(
    tmp_path: Path, values: dict[str, Any], blocks: int
) -> None:
    spec = load_catalog(BUILT_IN_MODELS).resolve(None)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config_of(**values)))
    assert transformer_blocks(spec.model_copy(update={"source": str(tmp_path)})) == blocks


@pytest.mark.parametrize(("family", "blocks"), [("sd1", 16), ("sd2", 16), ("sdxl", 70)])
def test_a_hub_model_has_as_many_blocks_as_its_family(family: str, blocks: int) -> None:
    spec = load_catalog(BUILT_IN_MODELS).resolve(None)
    hub = {"source": "someone/some-model", "family": family}
    assert transformer_blocks(spec.model_copy(update=hub)) == blocks
