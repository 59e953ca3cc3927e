"""The denoiser: a small SD UNet and the text encoder it is trained with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from training.grounding import PlainAttention
from training.tokenizer import TEXT_LENGTH, CaptionEncoder

TEXT_WIDTH = 128
HEAD_WIDTH = 32


@dataclass(frozen=True)
class Denoiser:
    """The two networks that train together, and the cross-attention maps of their latest pass."""

    unet: Any
    text_encoder: Any
    maps: list[Tensor]

    def parameters(self) -> Iterator[nn.Parameter]:
        yield from self.unet.parameters()
        yield from self.text_encoder.parameters()

    def state(self) -> dict[str, Any]:
        return {"unet": self.unet.state_dict(), "text": self.text_encoder.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.unet.load_state_dict(state["unet"])
        self.text_encoder.load_state_dict(state["text"])

    def __call__(self, latents: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """The noise in (n, 4, h, w) latents, given (n,) timesteps and (n, tokens) ids."""
        self.maps.clear()
        text = self.text_encoder(tokens).last_hidden_state
        noise: Tensor = self.unet(latents, timesteps, text).sample
        return noise


def build_denoiser(
    channels: tuple[int, ...], cells: int, encoder: CaptionEncoder, device: torch.device
) -> Denoiser:
    """Cross-attention at every level; `channels` from the finest level to the coarsest."""
    levels = len(channels)
    unet = UNet2DConditionModel(
        sample_size=cells,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        # In SD 1's configurations this name holds the number of heads.
        attention_head_dim=tuple(width // HEAD_WIDTH for width in channels),
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=encoder.vocabulary_size,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=TEXT_WIDTH // HEAD_WIDTH,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=encoder.tokenizer.bos_token_id,
            eos_token_id=encoder.tokenizer.eos_token_id,
            pad_token_id=encoder.tokenizer.pad_token_id,
        )
    )
    maps: list[Tensor] = []
    unet.set_attn_processor(PlainAttention(maps))
    return Denoiser(unet.to(device), text_encoder.to(device), maps)


def build_scheduler() -> Any:
    """Stable Diffusion 1's schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )
