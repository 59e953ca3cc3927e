"""Which files of a repository a model is."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.contract.models import Family, ModelSpec
from core.contract.weights import AdapterSource, MergedLora, Weights
from core.weights.parts import WeightsMissing, parts_of
from tests.tiny_models import spec_of

SDXL = """
README.md
model_index.json
scheduler/scheduler_config.json
sd_xl_base_1.0.safetensors
text_encoder/config.json
text_encoder/flax_model.msgpack
text_encoder/model.fp16.safetensors
text_encoder/model.onnx
text_encoder/model.safetensors
text_encoder_2/config.json
text_encoder_2/model-00001-of-00002.fp16.safetensors
text_encoder_2/model.fp16-00001-of-00002.safetensors
text_encoder_2/model.fp16-00002-of-00002.safetensors
text_encoder_2/model.safetensors.index.fp16.json
text_encoder_2/model.safetensors
tokenizer/merges.txt
tokenizer/special_tokens_map.json
tokenizer/tokenizer_config.json
tokenizer/vocab.json
tokenizer_2/merges.txt
tokenizer_2/vocab.json
unet/config.json
unet/diffusion_pytorch_model.bin
unet/diffusion_pytorch_model.fp16.safetensors
unet/diffusion_pytorch_model.non_ema.safetensors
unet/diffusion_pytorch_model.safetensors
vae/config.json
vae/diffusion_pytorch_model.safetensors
vae_1_0/config.json
vae_1_0/diffusion_pytorch_model.fp16.safetensors
""".strip().splitlines()
VAE = ["config.json", "diffusion_pytorch_model.safetensors", "sdxl_vae.safetensors", "sdxl_vae.pt"]


def spec(family: Family = "sdxl", **values: object) -> ModelSpec:
    return spec_of(Path("someone/some-model"), family).model_copy(update=values)


def wanted(model: ModelSpec, names: list[str], index: int = 0) -> list[str]:
    return sorted(parts_of(model)[index].wanted(names))


def test_a_pipeline_is_its_networks_of_the_variant_and_what_describes_them() -> None:
    assert wanted(spec(variant="fp16"), SDXL) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder_2/config.json",
        "text_encoder_2/model.fp16-00001-of-00002.safetensors",
        "text_encoder_2/model.fp16-00002-of-00002.safetensors",
        "text_encoder_2/model.safetensors.index.fp16.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "tokenizer_2/merges.txt",
        "tokenizer_2/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_without_a_variant_the_plain_weights_are_taken_alone() -> None:
    found = [name for name in wanted(spec(), SDXL) if name.endswith(".safetensors")]
    assert found == [
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_a_vae_of_its_own_is_a_part_and_the_pipelines_is_left() -> None:
    model = spec(vae=Weights(source="someone/vae"))
    assert not [name for name in wanted(model, SDXL) if name.startswith("vae/")]
    assert wanted(model, VAE, 1) == ["config.json", "diffusion_pytorch_model.safetensors"]


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "some-model/unet has no weights in safetens"),
        ("model_index.json", "is no pipeline in diffusers layout"),
    ],
)
def test_what_is_missing_from_a_repository_is_said(gone: str, reason: str) -> None:
    with pytest.raises(WeightsMissing, match=reason):
        wanted(spec("sd1"), [name for name in SDXL if name != gone and "fp16" not in name])


def test_a_network_beside_the_pipeline_has_to_have_its_variant() -> None:
    with pytest.raises(WeightsMissing, match="vae has no fp16 weights in safetensors"):
        wanted(spec(vae=Weights(source="someone/vae", variant="fp16")), VAE, 1)


def test_adapters_are_one_file_each() -> None:
    model = spec(
        lora=MergedLora(source="fast/lora", weight_name="4step.safetensors"),
        adapters={"word": AdapterSource(kind="textual-inversion", source="a/word", token="<w>")},
    )
    _, lora, word = parts_of(model)
    assert lora.wanted(["4step.safetensors", "8step.safetensors"]) == ["4step.safetensors"]
    assert word.wanted(["learned_embeds.safetensors"]) == ["learned_embeds.safetensors"]
    with pytest.raises(WeightsMissing, match=r"a/word has no learned_embeds.safetensors"):
        word.wanted(["learned_embeds.bin"])


def test_a_moved_part_leaves_the_others_where_they_were() -> None:
    word = AdapterSource(kind="textual-inversion", source="a/word", token="<w>", revision="0" * 40)
    depth = Weights(source="a/depth", revision="1" * 40)
    model = spec(
        revision="2" * 40,
        adapters={"word": word, "other": word},
        controls={"canny": depth},
        depth_estimator=depth,
    )
    names = [part.name for part in parts_of(model)]
    assert names == ["tiny", "depth_estimator", "control canny", "adapter word", "adapter other"]
    for part in parts_of(model):
        moved = part.moved(model, "/here")
        changed = [p.name for p in parts_of(moved) if p.weights.revision is None]
        assert changed == [part.name]
        (own,) = [p for p in parts_of(moved) if p.name == part.name]
        assert own.weights.source == "/here"
