"""The finished model, as the trainers of what is added to it read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel

from training.grounding import PlainAttention
from training.tokenizer import CaptionEncoder


@dataclass(frozen=True)
class Frozen:
    """The parts of the model that stay as they are."""

    unet: Any
    text_encoder: Any
    tokens: CaptionEncoder


def load_frozen(model: Path, device: torch.device) -> Frozen:
    parts = (
        UNet2DConditionModel.from_pretrained(model, subfolder="unet"),
        CLIPTextModel.from_pretrained(model, subfolder="text_encoder"),
    )
    unet, text_encoder = (part.eval().requires_grad_(False).to(device) for part in parts)
    unet.set_attn_processor(PlainAttention())
    return Frozen(unet, text_encoder, CaptionEncoder(model / "tokenizer"))
