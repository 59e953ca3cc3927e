"""The StyleAligned cases: one UNet call, and text to image, with sharing installed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from core.algorithms.style_aligned import sharing_plan
from core.attention.control import attention_control
from core.attention.layers import authors_self_layers, self_attention_layers
from core.contract.models import Family, ModelSpec
from core.contract.requests import Sharing
from core.diffusion.denoise import Guidance, denoise
from core.diffusion.images import decode_pixels
from core.diffusion.model import DiffusionModel, load_model
from core.diffusion.prompts import Conditioning
from tests.parity.case import Case, Outputs


def load(case: Case) -> DiffusionModel:
    """The tiny model a case is about."""
    family: Family = "sd1" if case.name.endswith("_sd") else "sdxl"
    name = "tiny-sdxl" if family == "sdxl" else "tiny-sd"
    spec = ModelSpec(
        name=name,
        source=str(case.models / name),
        family=family,
        dtype="float32",
        width=256,
        height=256,
        grid=64,
        min_size=64,
        max_size=1024,
    )
    return load_model(spec, torch.device("cpu"))


def sharing_as(params: Mapping[str, Any]) -> Sharing:
    """This project's words for the authors' `StyleAlignedArgs`."""
    return Sharing(
        attention=params["share_attention"],
        adain_queries=params["adain_queries"],
        adain_keys=params["adain_keys"],
        adain_values=params["adain_values"],
        group_norm=params["share_group_norm"],
        full=params["full_attention_share"],
        score_scale=params["shared_score_scale"],
        score_shift=params["shared_score_shift"],
    )


def controlled(unet: Any, params: Mapping[str, Any] | None, rows: int) -> Any:
    """A `with` block in which `unet` shares as `params` say; plain without them."""
    if params is None or "share_attention" not in params:
        return nullcontext()
    layers = self_attention_layers(unet)
    plain = authors_self_layers(layers, params["only_self_level"])
    plan = sharing_plan(
        unet,
        rows,
        sharing_as(params),
        guided=True,
        layers=[layer for layer in layers if layer not in plain],
    )
    return attention_control(unet, plan)


@torch.inference_mode()
def unet_outputs(case: Case) -> Outputs:
    """`noise_pred` of each variant; `removed` runs after all others, on the same UNet."""
    unet = load(case).unet
    given = case.inputs
    added = None
    if "in.text_embeds" in given:
        added = {"text_embeds": given["in.text_embeds"], "time_ids": given["in.time_ids"]}
    outputs = {}
    for variant, params in sorted(case.variants(), key=lambda entry: entry[0] == "removed"):
        with controlled(unet, params, rows=len(given["in.sample"]) // 2):
            outputs[f"{variant}/out.noise_pred"] = unet(
                given["in.sample"],
                given["in.timestep"],
                encoder_hidden_states=given["in.encoder_hidden_states"],
                added_cond_kwargs=added,
            ).sample
    return outputs


@torch.inference_mode()
def pipeline_outputs(case: Case) -> Outputs:
    """Final latents, and where the case names them the trajectory and the pooled picture."""
    model = load(case)
    given = case.inputs
    positive = Conditioning(given["in.prompt_embeds"], given.get("in.pooled_prompt_embeds"))
    negative = Conditioning(
        given["in.negative_prompt_embeds"], given.get("in.negative_pooled_prompt_embeds")
    )
    outputs: Outputs = {}
    for variant, params in case.variants():
        trajectory: list[Tensor] = []

        def keep(_: int, latents: Tensor, kept: list[Tensor] = trajectory) -> Tensor:
            kept.append(latents)
            return latents

        with controlled(model.unet, params["style_aligned_args"], rows=len(positive)):
            latents = denoise(
                model,
                given["in.latents"],
                Guidance(positive, negative, params["guidance_scale"]),
                case.document["num_inference_steps"],
                keep,
            )
        made = {"latents": latents, "trajectory": torch.stack(trajectory)}
        if "image_avgpool8" in case.named(variant):
            pixels = decode_pixels(model, latents)
            made["image_avgpool8"] = torch.nn.functional.avg_pool2d(pixels, 8)
        for name in case.named(variant):
            outputs[f"{variant}/out.{name}"] = made[name]
    return outputs
