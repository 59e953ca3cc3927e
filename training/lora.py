"""Teaches the model a character by low-rank adaptation (Hu et al., 2021, arXiv 2106.09685)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor
from torch.nn import functional

from training.clock import trapezoid
from training.distributed import Worker
from training.few import few_batches, few_latents, other_captions
from training.frozen import Frozen, load_frozen
from training.noise import noised

REPORT_EVERY = 25


@dataclass(frozen=True)
class LoraOptions:
    """targets: the layers that get a low-rank addition, by the end of their names.
    kept: captions of the world a step, at which the model shall stay as it is, and by how much.
    strength: of the additions as saved; at that of training, guidance drives colours too far.
    """

    rank: int = 16
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    steps: int = 700
    batch: int = 10
    kept: int = 5
    kept_weight: float = 3.0
    learning_rate: float = 2e-3
    strength: float = 0.9
    seed: int = 0


def train_lora(options: LoraOptions, model: Path, folder: Path) -> None:
    """On the few scenes alone; `pipeline.load_lora_weights(folder)` loads what it writes."""
    torch.manual_seed(options.seed)
    worker = Worker()
    frozen = load_frozen(model, worker.device)
    added = add_lora(frozen, options)
    optimizer = torch.optim.AdamW(added, weight_decay=1e-3)
    latents = few_latents(model)
    batches = few_batches(latents, frozen.tokens, options.batch, options.seed)
    others = other_captions(frozen.tokens, options.kept, options.seed)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            rate = trapezoid(step / options.steps, step, warm_up=30, cool_down=0.6)
            group["lr"] = options.learning_rate * rate
        batch = next(batches)
        noisy = noised(batch.latents)
        with worker.autocast():
            text = frozen.text_encoder(batch.ids).last_hidden_state
            predicted = frozen.unet(noisy.latents, noisy.timesteps, text).sample
            change = change_elsewhere(frozen, batch.latents[: options.kept], next(others))
        loss = noisy.error(predicted)
        optimizer.zero_grad(set_to_none=True)
        (loss + options.kept_weight * change).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(added, 1.0)
        optimizer.step()
        if step % REPORT_EVERY == 0:
            print(f"lora step {step} loss {loss.item():.4f} change {change.item():.4f}", flush=True)
    save_lora(frozen.unet, folder, options.strength)


def change_elsewhere(frozen: Frozen, latents: Tensor, ids: Tensor) -> Tensor:
    """How far the additions move predictions under captions that do not name the character.

    The model itself says what it would predict, so that no other picture is needed. Without this
    the character takes the place of every subject: nothing in the few scenes speaks against it.
    """
    noisy = noised(latents)
    text = frozen.text_encoder(ids).last_hidden_state
    inputs = noisy.latents, noisy.timesteps, text
    frozen.unet.disable_adapters()
    with torch.no_grad():
        before = frozen.unet(*inputs).sample
    frozen.unet.enable_adapters()
    return functional.mse_loss(frozen.unet(*inputs).sample.float(), before.float())


def add_lora(frozen: Frozen, options: LoraOptions) -> list[torch.nn.Parameter]:
    """Puts the additions into the UNet and gives them back; as yet they change nothing."""
    config = LoraConfig(
        r=options.rank,
        # Equal to the rank, so that the weight of the adapter is all there is to scale it.
        lora_alpha=options.rank,
        init_lora_weights="gaussian",
        target_modules=list(options.targets),
    )
    frozen.unet.add_adapter(config)
    return [p for p in frozen.unet.parameters() if p.requires_grad]


def save_lora(unet: Any, folder: Path, strength: float) -> None:
    """The strength goes into one of the two factors of each addition."""
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={
            name: (value * (strength if name.endswith("lora.up.weight") else 1)).half()
            for name, value in layers.items()
        },
    )
