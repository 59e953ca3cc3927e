"""The cross-image cases: the attention, its processor, AdaIN, inversion, FreeU and the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from core.algorithms.appearance_transfer import Masks, Transfer, transfer
from core.attention.contrast import contrasted_attention
from core.attention.control import AttentionPlan
from core.attention.cross_image import CrossImageAttention, SwapSchedule
from core.attention.grids import by_grid
from core.attention.layers import attention_layers
from core.attention.merged import Group, merged_attention
from core.attention.recorder import MapRecorder
from core.diffusion.adain import adain, masked_adain, moments
from core.diffusion.ddpm_inversion import NoiseSpace, ddim_ascent, ddpm_inversion, ddpm_sampling
from core.diffusion.denoise import Guidance
from core.diffusion.free_u import PAPER_STAGES, free_u, paper_free_u, scale_low_frequencies
from core.diffusion.model import DiffusionModel
from core.diffusion.prompts import Conditioning, encode_prompts
from tests.parity.case import Case, Outputs
from tests.parity.style_aligned import load

OUT = 0


def operation_outputs(case: Case) -> Outputs:
    """`y` of stacked rows (out, style, structure), and the maps where the case names them."""
    outputs: Outputs = {}
    for variant, params in case.variants():
        queries, keys, values = (case.inputs[f"in.{name}"].clone() for name in "qkv")
        source = params["kv_of_out_taken_from"]
        if source is not None:
            keys[OUT], values[OUT] = keys[source], values[source]
        edited = params["edit_map"] and not params["is_cross"]
        contrast = params["contrast_strength"] if edited else None
        made = {"y": _attended(queries, keys, values, contrast)}
        if "attn" in case.named(variant):
            # Attention to values that are unit vectors is its map.
            units = torch.eye(keys.shape[2]).expand(*keys.shape[:3], -1)
            made["attn"] = _attended(queries, keys, units, contrast)
        outputs |= {f"{variant}/out.{name}": tensor for name, tensor in made.items()}
    return outputs


def _attended(queries: Tensor, keys: Tensor, values: Tensor, contrast: float | None) -> Tensor:
    """All rows plainly, but row OUT contrasted if a contrast is given."""
    scale = queries.shape[-1] ** -0.5
    plain = merged_attention(queries, [Group(keys, values, scale)])
    if contrast is None:
        return plain
    first = slice(OUT, OUT + 1)
    out = contrasted_attention(queries[first], keys[first], values[first], scale, contrast)
    return torch.cat([out, plain[1:]])


@torch.inference_mode()
def processor_outputs(case: Case) -> Outputs:
    """`y` of one attention module at a place in the UNet, in a step."""
    states = case.inputs["in.hidden_states_32"]
    heads = case.document["heads"]
    module = Attention(states.shape[-1], heads=heads, dim_head=states.shape[-1] // heads)
    weights = {n.removeprefix("in.to_"): w for n, w in case.inputs.items() if "in.to_" in n}
    module.load_state_dict({f"to_{name}": weight for name, weight in weights.items()})
    plain = module.processor
    side = round(states.shape[1] ** 0.5)
    outputs: Outputs = {}
    for variant, params in case.variants():
        schedule = SwapSchedule(
            {(side, side): range(*params[f"cross_attn_{side}_range"])}, structure=range(40)
        )
        step = params["model.step"]
        swaps = (
            params["place_in_unet"].startswith("up")
            and params["enable_edit"]
            and params["perform_swap"]
            and bool(schedule.grids(step))
        )
        source = 2 if schedule.from_structure(step) else 1
        swapped = CrossImageAttention(OUT, source, params["contrast_strength"])
        module.set_processor(swapped if swaps else plain)
        outputs[f"{variant}/out.y"] = module(states)
    return outputs


def adain_outputs(case: Case) -> Outputs:
    """AdaIN of latents with and without masks, and the statistics inside a mask."""
    outputs: Outputs = {}
    for variant, params in case.variants():
        given = _inputs_of(case, variant)
        content, style = given["content"], given["style"]
        inside, style_inside = (given[f"{name}_mask"] == 1 for name in ("content", "style"))
        if variant.startswith("calc_mean_std"):
            mean, deviation = moments(content, given[params["mask"]] == 1)
            outputs |= {f"{variant}/out.mean": mean, f"{variant}/out.std": deviation}
        elif variant.startswith("masked"):
            outputs[f"{variant}/out.y"] = masked_adain(content, style, inside, style_inside)
        elif variant.endswith("2d"):
            outputs[f"{variant}/out.y"] = adain(content.flatten(1), style.flatten(1))
        else:
            outputs[f"{variant}/out.y"] = adain(content, style)
    return outputs


@torch.inference_mode()
def inversion_outputs(case: Case) -> Outputs:
    """Latents and noise maps of each variant, and what is sampled from them again."""
    model = _load(case)
    documents = dict(case.variants())
    outputs: Outputs = {}
    for variant, params in case.variants():
        origin = params.get("same_inputs_as", variant)
        given, inverted = _inputs_of(case, origin), documents[origin]
        picture, steps = given[inverted["w0"].removeprefix("in.")], len(inverted["timesteps"])
        guidance = _guidance(model, given, inverted | params)
        made = {}
        if "xt" in case.named(variant):
            made["xt"] = ddim_ascent(model, picture, steps, guidance)
        else:
            first = _guidance(model, given, inverted)
            space = ddpm_inversion(model, picture, given["noise"], first)
            # The original repository counts from the picture to the noise.
            reverse = variant != origin
            made["zs"] = space.noise.flip(0) if reverse else space.noise
            made["xts"] = space.latents.flip(0) if reverse else space.latents
        if "x" in case.named(variant):
            skip = params.get("skip", 0)
            rest = NoiseSpace(space.latents[skip:], space.noise[skip:])
            made["x"] = ddpm_sampling(model, rest, guidance, steps)
        outputs |= {f"{variant}/out.{name}": made[name] for name in case.named(variant)}
    return outputs


def _guidance(
    model: DiffusionModel, given: Mapping[str, Tensor], params: Mapping[str, Any]
) -> Guidance:
    """The stored text where it is that of the prompt, else the prompt encoded anew."""
    negative = encode_prompts(model, [""])
    positive = encode_prompts(model, [params["prompt"]])
    return Guidance(positive, negative, params["cfg_scale"])


@torch.inference_mode()
def free_u_outputs(case: Case) -> Outputs:
    """The filter alone, and the UNet with it and with widths that it has not."""
    unet = _load(case).unet
    outputs: Outputs = {}
    for variant, params in case.variants():
        given = _inputs_of(case, variant)
        if "y" in case.named(variant):
            filtered = scale_low_frequencies(given["x"], params["threshold"], params["scale"])
            outputs[f"{variant}/out.y"] = filtered
            continue
        widths = params.get("channel_map", {"1280": 1280, "640": 640})
        stages = dict(zip((widths["1280"], widths["640"]), PAPER_STAGES, strict=True))
        with paper_free_u(unet, stages):
            outputs[f"{variant}/out.noise_pred"] = unet(
                given["sample"],
                given["timestep"],
                encoder_hidden_states=given["encoder_hidden_states"],
            ).sample
    return outputs


@torch.inference_mode()
def transfer_outputs(case: Case) -> Outputs:
    """The loop from stored latents, noise maps and masks, with the authors' step counter."""
    model = _load(case)
    outputs: Outputs = {}
    for variant, params in case.variants():
        given = _inputs_of(case, variant)
        size = f"r{params['latent_size']}"
        structure, appearance = (given[f"{size}.zs_{name}"] for name in ("struct", "app"))
        masks = _masks(case, variant, size) if params["masks"] else None
        recorder, watch = _watched(model, given[f"{size}.latents"], step=params["adain_range"][0])
        settings = Transfer(
            schedule=SwapSchedule(
                {(side, side): range(*params[f"cross_attn_{side}_range"]) for side in (32, 64)},
                structure=range(40),
                lag=1,
            ),
            contrast=params["contrast_strength"],
            swap_guidance=params["swap_guidance_scale"],
            adain=range(*params["adain_range"]),
            masks=partial(_same, masks),
            watch=watch,
        )
        trajectory: list[Tensor] = []

        def keep(_: int, latents: Tensor, kept: list[Tensor] = trajectory) -> Tensor:
            kept.append(latents[OUT])
            return latents

        with free_u(model.unet, "paper" if params["freeu_active"] else "off"):
            latents = transfer(
                model,
                given[f"{size}.latents"],
                torch.stack([structure, appearance, structure]),
                Conditioning(given["prompt_embeds"]),
                params["num_timesteps"],
                settings,
                keep,
            )
        made = {"latents": latents, "out_trajectory": torch.stack(trajectory)}
        for name in case.named(variant):
            made_here = made.get(name)
            if made_here is None:
                made_here = _map_rows(name, recorder)
            outputs[f"{variant}/out.{name}"] = made_here
    return outputs


def _watched(
    model: DiffusionModel, latents: Tensor, step: int
) -> tuple[MapRecorder, Callable[[int, AttentionPlan], AttentionPlan]]:
    """Records a step's maps of style and structure in the last decoder layer of each grid.

    The authors make their masks once, from the maps of the first step with AdaIN.
    """
    size = (latents.shape[-2], latents.shape[-1])
    layers = [layer for layer in attention_layers(model.unet) if layer.place == "up"]
    last = {
        (layer.kind, grid[0]): layer
        for grid, found in by_grid(model.unet, layers, size).items()
        for layer in found
    }
    names = {layer.name: key for key, layer in last.items()}
    recorder = MapRecorder(rows=(1, 2), key=lambda layer: names[layer.name])

    def watch(now: int, plan: AttentionPlan) -> AttentionPlan:
        return recorder.plan(model.unet, last.values(), plan.processors) if now == step else plan

    return recorder, watch


def _map_rows(name: str, recorder: MapRecorder) -> Tensor:
    """Every n-th row of a map, as `seg_self_attention_64_headmean_rows1024` says."""
    _, kind, _, side, _, rows = name.split("_")
    key = ("attn1" if kind == "self" else "attn2", int(side))
    return recorder.mean(key)[:, :: int(rows.removeprefix("rows"))]


def _same(masks: Masks | None) -> Masks | None:
    return masks


def _masks(case: Case, variant: str, size: str) -> Masks:
    given = _inputs_of(case, variant)
    structure, appearance = (
        given[name] if (name := f"mask_{part}") in given else given[f"{size}.{name}"]
        for part in ("struct", "app")
    )
    return structure == 1, appearance == 1


def _load(case: Case) -> DiffusionModel:
    return load(case, "sd1")


def _inputs_of(case: Case, variant: str) -> dict[str, Tensor]:
    """The shared inputs and the variant's own, by the name after `in.`."""
    shared = {n.removeprefix("in."): t for n, t in case.inputs.items() if n.startswith("in.")}
    prefix = f"{variant}/in."
    own = {n.removeprefix(prefix): t for n, t in case.inputs.items() if n.startswith(prefix)}
    return shared | own
