"""Weights from a hub, over HTTP."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from core.contract.models import Family, ModelSpec
from core.contract.weights import AdapterSource, MergedLora, Weights
from core.diffusion.model import DiffusionModel, load_model
from core.weights.hub import commit_of, survey, with_weights_here
from core.weights.parts import WeightsMissing
from tests.hub import Hub
from tests.tiny_models import save_tiny, save_tiny_lora, spec_of, tiny_model

CPU = torch.device("cpu")
REPOSITORY = "someone/tiny-model"


def published(
    hub: Hub, folder: Path, family: Family = "sd1", variant: str | None = None
) -> ModelSpec:
    """A tiny model in the hub, with what else a repository holds."""
    save_tiny(folder, family, variant)
    (folder / "README.md").write_text("# Tiny")
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80pickled")
    hub.repositories[REPOSITORY] = folder
    update = {"source": REPOSITORY, "revision": hub.commit(REPOSITORY), "variant": variant}
    return spec_of(folder, family).model_copy(update=update)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_every_family_is_fetched_in_the_hubs_layout_and_loaded(
    hub: Hub, tmp_path: Path, family: Family, variant: str | None
) -> None:
    spec = published(hub, tmp_path / "published", family, variant)
    spec = spec.model_copy(update={"dtype": "float16" if variant else "float32"})
    here = with_weights_here(spec)
    assert not [path for path in hub.asked if path.endswith((".bin", ".md"))]
    model = load_model(here, CPU)
    assert {part.dtype for part in (model.unet, model.vae, model.pipeline.text_encoder)} == {
        torch.float16 if variant else torch.float32
    }
    original = load_model(
        spec.model_copy(update={"source": str(tmp_path / "published"), "revision": None}), CPU
    )
    assert model.fingerprint == original.fingerprint


def test_what_is_here_is_not_asked_for_again_nor_needs_the_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published(hub, tmp_path / "published")
    first = with_weights_here(spec)
    hub.asked.clear()
    assert with_weights_here(spec) == first
    assert hub.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert with_weights_here(spec) == first
    hub.down = True
    assert with_weights_here(spec) == first


def test_progress_is_told_in_bytes_up_to_the_whole(hub: Hub, tmp_path: Path) -> None:
    spec = published(hub, tmp_path / "published")
    hub.seconds_a_megabyte = 4
    told: list[tuple[int, int]] = []
    with_weights_here(spec, lambda *bytes_: told.append(bytes_))
    (whole,) = {whole for _, whole in told if whole}
    (holding,) = survey(spec)
    assert holding.here_bytes == holding.size_bytes == whole
    here = [bytes_ for bytes_, _ in told]
    assert here == sorted(here)
    assert len(set(here)) > 2, "also while a file is under way"
    assert here[-1] == whole


def test_who_does_not_wait_any_longer_leaves_the_fetch_to_the_next(
    hub: Hub, tmp_path: Path
) -> None:
    spec = published(hub, tmp_path / "published")
    hub.seconds_a_megabyte = 2

    def impatient(here: int, whole: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        with_weights_here(spec, impatient)
    here = with_weights_here(spec)
    assert load_model(here, CPU).fingerprint
    whole_files = [path for path in hub.asked if "/resolve/" in path]
    assert len(whole_files) == len(set(whole_files)), "no file was fetched twice"


def test_every_part_of_a_model_comes_with_it(hub: Hub, tmp_path: Path) -> None:
    spec = published(hub, tmp_path / "published", "sdxl")
    model = tiny_model(tmp_path / "other", "sdxl")
    save_tiny_lora(model, tmp_path / "lora")
    hub.repositories |= {"a/vae": tmp_path / "other" / "vae", "a/lora": tmp_path / "lora"}
    pinned = {name: {"source": name, "revision": hub.commit(name)} for name in ("a/vae", "a/lora")}
    spec = spec.model_copy(
        update={
            "vae": Weights(**pinned["a/vae"]),
            "adapters": {"drawn": AdapterSource(kind="lora", **pinned["a/lora"])},
        }
    )
    here = with_weights_here(spec)
    assert not [path for path in hub.asked if path.startswith(REPOSITORY) and "/vae/" in path]
    assert here.vae is not None
    assert Path(here.vae.source).is_dir()
    assert Path(here.adapters["drawn"].source).is_file()
    hub.down = True
    loaded: DiffusionModel = load_model(here, CPU)
    assert torch.equal(loaded.vae.decoder.conv_in.weight, model.vae.decoder.conv_in.weight)


@pytest.mark.parametrize(
    ("wrong", "reason", "retryable"),
    [
        ({"source": "someone/nothing"}, "the hub has no someone/nothing", False),
        ({"source": "no name"}, "no name is no name of a repository", False),
        ({"revision": "0" * 40}, "someone/tiny-model has no such revision", False),
        (
            {"variant": "int4", "vae": Weights(source="a/gated", revision="0" * 40)},
            "HF_TOKEN",
            False,
        ),
        ({"vae": Weights(source="nowhere")}, "there is no nowhere; .* vae needs a revision", False),
    ],
)
def test_what_is_wrong_with_a_source_is_said(
    hub: Hub, tmp_path: Path, wrong: dict[str, object], reason: str, retryable: bool
) -> None:
    spec = published(hub, tmp_path / "published")
    hub.repositories["a/gated"] = tmp_path
    hub.gated.add("a/gated")
    with pytest.raises(WeightsMissing, match=reason) as missing:
        with_weights_here(spec.model_copy(update=wrong))
    assert missing.value.retryable == retryable


def test_a_folder_here_is_looked_through(tmp_path: Path) -> None:
    save_tiny(tmp_path, "sd1")
    spec = spec_of(tmp_path, "sd1")
    assert survey(spec) == []
    assert with_weights_here(spec) == spec
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="/unet has no weights in safetensors"):
        with_weights_here(spec)


def test_a_hub_that_is_away_is_worth_another_try(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published(hub, tmp_path / "published")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between five tries, longer and longer
    hub.down = True
    with pytest.raises(WeightsMissing, match="the hub does not help") as missing:
        with_weights_here(spec)
    assert missing.value.retryable
    hub.down = False
    survey(spec)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsMissing, match="offline mode is enabled") as missing:
        with_weights_here(spec)
    assert not missing.value.retryable, "no caller's other try makes it online"


@pytest.mark.parametrize(
    ("failure", "retryable"),
    [
        (RuntimeError("as hf_xet fails"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (None, True),
    ],
)
def test_a_fetch_that_fails_is_never_taken_for_one_that_is_done(
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception | None,
    retryable: bool,
) -> None:
    spec = published(hub, tmp_path / "published")

    def fails(*_: object, **__: object) -> None:
        if failure is not None:
            raise failure

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    told: list[tuple[int, int]] = []
    with pytest.raises(WeightsMissing) as missing:
        with_weights_here(spec, lambda *bytes_: told.append(bytes_))
    assert missing.value.retryable == retryable
    assert all(here < whole for here, whole in told if whole)


def test_a_cache_that_keeps_no_listing_is_looked_through_where_no_hub_can_be_asked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published(hub, tmp_path / "published")
    here = with_weights_here(spec)
    shutil.rmtree(tmp_path / "cache" / "models--someone--tiny-model" / "trees")
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert with_weights_here(spec) == here
    (Path(here.source) / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="unet has no weights"):
        with_weights_here(spec)


def test_a_cache_that_can_not_be_written_is_said(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published(hub, tmp_path / "published")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsMissing, match=r"can't be kept in .*/file/cache: .*Not a directory"):
        with_weights_here(spec)


def test_a_name_with_special_characters_is_fetched(hub: Hub, tmp_path: Path) -> None:
    spec = published(hub, tmp_path / "published")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "my lora [v2].safetensors").write_bytes(b"weights")
    hub.repositories["a/lora"] = tmp_path / "lora"
    lora = MergedLora(
        source="a/lora", revision=hub.commit("a/lora"), weight_name="my lora [v2].safetensors"
    )
    here = with_weights_here(spec.model_copy(update={"lora": lora}))
    assert here.lora is not None
    assert Path(here.lora.source).read_bytes() == b"weights"


def test_a_disk_too_small_is_found_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = published(hub, tmp_path / "published")
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Full)
    with pytest.raises(WeightsMissing, match=r"GB are to be fetched, and .* has 0.0 GB left"):
        with_weights_here(spec)
    assert not [path for path in hub.asked if "/resolve/" in path]


class _Full:
    free = 1000


def test_what_killed_processes_left_half_done_is_removed(hub: Hub, tmp_path: Path) -> None:
    spec = published(hub, tmp_path / "published")
    blobs = tmp_path / "cache" / "models--someone--tiny-model" / "blobs"
    blobs.mkdir(parents=True)
    old, young = blobs / "a.1.incomplete", blobs / "b.2.incomplete"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, times=(time.time() - 700,) * 2)
    with_weights_here(spec)
    assert not old.exists()
    assert young.exists(), "another process may be writing it"


def test_a_branch_is_looked_up_for_its_commit(hub: Hub, tmp_path: Path) -> None:
    published(hub, tmp_path / "published")
    assert commit_of(REPOSITORY) == hub.commit(REPOSITORY)
    with pytest.raises(WeightsMissing, match="has no such revision"):
        commit_of(REPOSITORY, "nothing")
