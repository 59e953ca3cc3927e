"""The StyleAligned cases: one UNet call, and text to image, with sharing installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from core.algorithms.style_aligned.draw import draw_pooled, following
from core.algorithms.style_aligned.leaders import Leader, Leading
from core.algorithms.style_aligned.plans import (
    Layers,
    following_plan,
    pooled_plan,
    remembering_plan,
)
from core.attention.control import attention_control
from core.attention.layers import authors_self_layers, self_attention_layers
from core.attention.memory import Memory
from core.attention.shares import Shares
from core.contract.models import Family, ModelSpec
from core.contract.style_aligned import Sharing
from core.diffusion.adapters import Adapters
from core.diffusion.control import Control
from core.diffusion.denoise import AfterStep, Guidance, denoise, guided
from core.diffusion.images import decode_pixels
from core.diffusion.model import DiffusionModel, load_model
from core.diffusion.prompts import Conditioning
from tests.parity.case import Case, Outputs


def load(case: Case, family: Family | None = None) -> DiffusionModel:
    """The tiny model a case is about."""
    family = family or ("sd1" if case.name.endswith("_sd") else "sdxl")
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


def layers_as(unet: Any, params: Mapping[str, Any]) -> Layers:
    """The layers that share by the authors' rule."""
    layers = self_attention_layers(unet)
    plain = authors_self_layers(layers, params["only_self_level"])
    return [layer for layer in layers if layer not in plain]


def plain_leading(
    model: DiffusionModel, leader: Leader, sharing: Sharing, layers: Layers, steps: int
) -> Leading:
    """One reference on its way, without adapters."""
    return Leading(
        model, [leader], sharing, layers, steps, Adapters(model.pipeline, has_lora=False)
    )


@torch.inference_mode()
def unet_outputs(case: Case) -> Outputs:
    """`noise_pred` of each variant; `removed` runs after all others, on the same UNet."""
    unet = load(case).unet
    given = case.inputs

    def call(rows: Sequence[int]) -> Tensor:
        chosen = list(rows)
        added = None
        if "in.text_embeds" in given:
            added = {n: given[f"in.{n}"][chosen] for n in ("text_embeds", "time_ids")}
        predicted: Tensor = unet(
            given["in.sample"][chosen],
            given["in.timestep"],
            encoder_hidden_states=given["in.encoder_hidden_states"][chosen],
            added_cond_kwargs=added,
        ).sample
        return predicted

    rows = len(given["in.sample"])
    return {
        f"{variant}/out.noise_pred": _shared_call(unet, params, call, rows)
        for variant, params in sorted(case.variants(), key=lambda entry: entry[0] == "removed")
    }


def _shared_call(
    unet: Any, params: Mapping[str, Any], call: Callable[[Sequence[int]], Tensor], rows: int
) -> Tensor:
    """Both halves' predictions, row 0 of each half the reference."""
    everyone = range(rows)
    if "share_attention" not in params:
        return call(everyone)
    sharing, layers = sharing_as(params), layers_as(unet, params)
    if sharing.full:
        with attention_control(unet, pooled_plan(layers, sharing, halves=2)):
            return call(everyone)
    memory = Memory()
    references = [0, rows // 2]
    targets = [row for row in everyone if row not in references]
    with attention_control(unet, remembering_plan(layers, sharing, memory)):
        led = call(references)
    plan = following_plan(layers, sharing, [memory], Shares.even([1.0]), [0.0], halves=2)
    with attention_control(unet, plan):
        followed = call(targets)
    return torch.cat(
        [torch.cat(pair) for pair in zip(led.chunk(2), followed.chunk(2), strict=True)]
    )


@torch.inference_mode()
def pipeline_outputs(case: Case) -> Outputs:
    """Final latents, and where the case names them the trajectory and the pooled picture."""
    model = load(case)
    given = case.inputs
    parts = (
        Conditioning(given["in.prompt_embeds"], given.get("in.pooled_prompt_embeds")),
        Conditioning(
            given["in.negative_prompt_embeds"], given.get("in.negative_pooled_prompt_embeds")
        ),
    )
    outputs: Outputs = {}
    for variant, params in case.variants():
        guidance = Guidance(*parts, params["guidance_scale"])
        steps = case.document["num_inference_steps"]
        args = params["style_aligned_args"]
        trajectory = shared_trajectory(model, args, guidance, given["in.latents"], steps)
        outputs |= named_outputs(case, variant, model, trajectory)
    return outputs


def named_outputs(case: Case, variant: str, model: DiffusionModel, trajectory: Tensor) -> Outputs:
    """Those that the case names, of a trajectory (steps, pictures, channels, h, w)."""
    made = {"latents": trajectory[-1], "trajectory": trajectory}
    if "image_avgpool8" in case.named(variant):
        pixels = decode_pixels(model, trajectory[-1])
        made["image_avgpool8"] = torch.nn.functional.avg_pool2d(pixels, 8)
    return {f"{variant}/out.{name}": made[name] for name in case.named(variant)}


def shared_trajectory(
    model: DiffusionModel,
    args: Mapping[str, Any] | None,
    guidance: Guidance,
    noise: Tensor,
    steps: int,
    hold: AfterStep = lambda step, latents: latents,
    control: Control | None = None,
) -> Tensor:
    """Latents after each step, (steps, pictures, channels, h, w), picture 0 the reference."""
    kept: list[Tensor] = []

    def keep(_: int, latents: Tensor) -> Tensor:
        kept.append(latents)
        return latents

    if args is None:
        denoise(model, noise, guided(model, guidance), steps, keep)
        return torch.stack(kept)
    sharing, layers = sharing_as(args), layers_as(model.unet, args)
    leader = Leader(guidance.rows(slice(0, 1)), noise[:1], hold)
    rest = guidance.rows(slice(1, None))
    if sharing.full:

        def told(_: int, latents: Tensor) -> None:
            kept.append(latents)

        draw_pooled(model, leader, rest, sharing, layers, noise[1:], steps, told)
        return torch.stack(kept)
    leading = plain_leading(model, leader, sharing, layers, steps)
    size = (noise.shape[-2], noise.shape[-1])
    predictor = following(model, leading, rest, size, control)

    def keep_both(_: int, latents: Tensor) -> Tensor:
        kept.append(torch.cat([*leading.latents, latents]))
        return latents

    denoise(model, noise[1:], predictor, steps, keep_both)
    return torch.stack(kept)
