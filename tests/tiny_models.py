"""Tiny random diffusion models, saved to disk in the layout of the real ones."""

from __future__ import annotations

import copy
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from core.contract.models import Family, ModelSpec
from core.contract.weights import AdapterSource, Weights
from core.diffusion.model import DiffusionModel, load_model


def spec_of(folder: Path, family: Family, name: str = "tiny") -> ModelSpec:
    """How a deployment would describe the model that `save_tiny` wrote."""
    return ModelSpec(
        name=name,
        source=str(folder),
        family=family,
        dtype="float32",
        width=64,
        height=64,
        grid=16,
        min_size=32,
        max_size=256,
        steps=4,
        guidance_scale=5.0,
        max_batch=4,
    )


def with_extras(folder: Path, family: Family) -> DiffusionModel:
    """A tiny model of a family with a ControlNet, a LoRA and a textual inversion beside it."""
    model = tiny_model(folder / "model", family)
    save_tiny_controlnet(model, folder / "canny")
    save_tiny_lora(model, folder / "lora")
    save_tiny_word(model, folder / "word")
    spec = model.spec.model_copy(
        update={
            "controls": {"canny": Weights(source=str(folder / "canny"))},
            "adapters": {
                "drawn": AdapterSource(kind="lora", source=str(folder / "lora")),
                "word": AdapterSource(
                    kind="textual-inversion",
                    source=str(folder / "word" / "learned_embeds.safetensors"),
                    token="<it>",
                ),
            },
        }
    )
    return replace(model, spec=spec)


def save_tiny_controlnet(model: DiffusionModel, folder: Path) -> None:
    """A random ControlNet whose residuals are not zero, as they would be untrained."""
    from diffusers import ControlNetModel

    torch.manual_seed(2)
    network = ControlNetModel.from_unet(
        model.unet, conditioning_embedding_out_channels=(4, 8, 8), load_weights_from_unet=False
    )
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)


def save_tiny_lora(model: DiffusionModel, folder: Path) -> None:
    """A random LoRA on the UNet's attention."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(3)
    unet = copy.deepcopy(model.unet)
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    inject_adapter_in_model(config, unet)
    model.pipeline.save_lora_weights(
        folder, unet_lora_layers=get_peft_model_state_dict(unet), safe_serialization=True
    )


def save_tiny_word(model: DiffusionModel, folder: Path) -> None:
    """A random textual inversion of two vectors, for every text encoder the model has."""
    folder.mkdir(parents=True)
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(4))
    keys = ["clip_l", "clip_g"] if model.spec.family == "sdxl" else ["<it>"]
    save_file({key: vectors.clone() for key in keys}, folder / "learned_embeds.safetensors")


def models_file(folder: Path, family: Family = "sd1") -> Path:
    """Save a tiny model and a `models.toml` that serves it; returns the file."""
    save_tiny(folder / "tiny", family)
    spec = spec_of(folder / "tiny", family).model_dump(
        exclude={"name", "source"}, exclude_defaults=True
    )
    lines = ['default = "tiny"', "[models.tiny]", 'source = "tiny"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in spec.items()]
    path = folder / "models.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def tiny_model(folder: Path, family: Family) -> DiffusionModel:
    """Save a tiny model of a family and load it as a worker would."""
    save_tiny(folder, family)
    return load_model(spec_of(folder, family), torch.device("cpu"))


def save_tiny(folder: Path, family: Family, variant: str | None = None) -> None:
    """Write a random pipeline of a family in diffusers layout, the same one each time.

    variant: `fp16` for half precision, in files of that name.
    """
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
    )
    from transformers import CLIPTokenizer

    torch.manual_seed(0)
    vocabulary = _tokenizer_files(folder / "words")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "words", model_max_length=16)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    parts: dict[str, Any] = {
        "vae": AutoencoderKL(
            block_out_channels=[8, 16, 16],
            norm_num_groups=4,
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            latent_channels=4,
            sample_size=64,
        ),
        "unet": _unet(family),
        "text_encoder": _text_encoder(vocabulary),
        "tokenizer": tokenizer,
    }
    if family == "sdxl":
        pipeline = StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=_text_encoder(vocabulary, projected=True),
            tokenizer_2=tokenizer,
            scheduler=EulerDiscreteScheduler(**betas),
        )
    else:
        prediction = "v_prediction" if family == "sd2" else "epsilon"
        pipeline = StableDiffusionPipeline(
            **parts,
            scheduler=DDIMScheduler(
                **betas, clip_sample=False, steps_offset=1, prediction_type=prediction
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    if variant == "fp16":
        pipeline.to(torch_dtype=torch.float16)
    pipeline.save_pretrained(folder, variant=variant)


def _unet(family: Family) -> Any:
    from diffusers import UNet2DConditionModel

    options: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": [16, 32],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
        "attention_head_dim": 2 if family == "sd1" else [2, 4],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "use_linear_projection": family != "sd1",
    }
    if family == "sdxl":
        options |= {
            "cross_attention_dim": 64,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
        }
    return UNet2DConditionModel(**options)


def _text_encoder(vocabulary: int, *, projected: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
        projection_dim=32,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _tokenizer_files(folder: Path) -> int:
    """A tokenizer that knows letters only. Returns the size of its vocabulary."""
    letters = string.ascii_lowercase + string.digits + ",."
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return len(words)
