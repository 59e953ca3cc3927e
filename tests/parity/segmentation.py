"""The cases of recorded maps and of the segments made from them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from core.attention.control import attention_control
from core.attention.grids import grid_of
from core.attention.layers import AttentionLayer, attention_layers
from core.attention.recorder import MapRecorder
from core.attention.segments import (
    cluster_tokens,
    contrast_of_best,
    mask_of,
    named_above,
    named_by_contrast,
    noun_map,
    noun_scores,
)
from core.diffusion.denoise import Guidance, denoise, guided
from core.diffusion.prompts import Conditioning
from tests.parity.case import Case, Outputs
from tests.parity.style_aligned import load

MOST_TOKENS = 32 * 32


@torch.inference_mode()
def store_outputs(case: Case) -> Outputs:
    """Maps of the conditional rows averaged over steps, a layer or a resolution at a time."""
    model = load(case, "sd1")
    outputs: Outputs = {}
    for variant, params in case.variants():
        text, empty, latent = (
            case.inputs[f"{variant}/in.{name}"]
            for name in ("text_embeddings", "uncond_embeddings", "latent")
        )
        pictures, size = len(text), (latent.shape[-2], latent.shape[-1])
        layers = [
            layer
            for layer in attention_layers(model.unet)
            if (grid := grid_of(model.unet, layer, size))[0] * grid[1] <= MOST_TOKENS
        ]
        recorder = MapRecorder(
            rows=range(pictures, 2 * pictures), key=lambda layer: layer.name, heads_apart=True
        )
        sides = {layer.name: grid_of(model.unet, layer, size)[0] for layer in layers}
        guidance = Guidance(Conditioning(text), Conditioning(empty), params["guidance_scale"])
        with attention_control(model.unet, recorder.plan(model.unet, layers)):
            latents = denoise(
                model,
                latent.expand(pictures, -1, -1, -1),
                guided(model, guidance),
                params["num_diffusion_steps"],
            )
        for name in case.named(variant):
            made = latents if name == "latents" else _map(name, recorder, layers, sides)
            outputs[f"{variant}/out.{name}"] = made
    return outputs


def _map(
    name: str, recorder: MapRecorder, layers: list[AttentionLayer], sides: Mapping[str, int]
) -> Tensor:
    """`avg_up_self_2_rows128`: a layer's, heads apart; `agg_cross_16_prompt0`: a resolution's."""
    what, *words = name.split("_")
    every = next((int(w.removeprefix("rows")) for w in words if w.startswith("rows")), 1)
    if what == "avg":
        place, kind, index = words[0], words[1], int(words[2])
        chosen = [layer for layer in layers if (layer.place, _kind(layer)) == (place, kind)]
        return recorder.mean(chosen[index].name).flatten(0, 1)[:, ::every]
    kind, side = words[0], int(words[1])
    prompt = int(words[-1].removeprefix("prompt"))
    chosen = [
        layer
        for layer in layers
        if layer.place != "mid" and _kind(layer) == kind and sides[layer.name] == side
    ]
    mean = torch.stack([recorder.mean(layer.name)[prompt].mean(0) for layer in chosen]).mean(0)
    return mean[::every] if every > 1 else mean.reshape(side, side, -1)


def _kind(layer: AttentionLayer) -> Hashable:
    return {"attn1": "self", "attn2": "cross"}[layer.kind]


def segment_outputs(case: Case) -> Outputs:
    """Clusters, the noun of each by either paper's rule, and masks."""
    documents = dict(case.variants())
    outputs: Outputs = {}
    for variant, params in case.variants():
        origin = variant if "inputs" not in params else params["inputs"].split("/")[0]
        own = case.inputs[f"{origin}/in.self_attn_q"].float()
        own = own / own.sum(-1, keepdim=True)
        cross = case.inputs[f"{origin}/in.cross_attn"]
        given = documents[origin] | params
        if "ratio" in params:
            side = params["resolution"]
            mirrored = own.reshape(side, side, side, side).flip(1, 3).flatten(0, 1).flatten(1)
            found = {
                f"style_{name}": tensor for name, tensor in _contrasted(own, cross, given).items()
            }
            found |= {
                f"struct_{name}": tensor
                for name, tensor in _contrasted(mirrored, cross.flip(1), given).items()
            }
        else:
            found = _thresholded(own, cross, given)
        outputs |= {f"{variant}/out.{name}": found[name] for name in case.named(variant)}
    return outputs


def _scored(own: Tensor, cross: Tensor, params: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    side = params["resolution"]
    labels = cluster_tokens(own, params["num_segments"], (side, side), seed=1)
    # A word is one token in these cases, after the token that begins a text.
    nouns = [noun_map(cross, [index + 1]) for index, _ in params["nouns_word_index"]]
    return labels, noun_scores(labels, nouns)


def _thresholded(own: Tensor, cross: Tensor, params: Mapping[str, Any]) -> Outputs:
    labels, scores = _scored(own, cross, params)
    named = named_above(scores, params["threshold"])
    words = [word for _, word in params["nouns_word_index"]]
    objects = [i for i, word in enumerate(words) if word not in params["background_nouns"]]
    mask = mask_of(labels, named, objects)
    return {
        "labels": labels.int(),
        "scores": scores,
        "cluster_noun": named.int(),
        "mask": mask.int(),
    }


def _contrasted(own: Tensor, cross: Tensor, params: Mapping[str, Any]) -> Outputs:
    labels, scores = _scored(own, cross, params)
    named = named_by_contrast(scores, params["ratio"])
    words = [word for _, word in params["nouns_word_index"]]
    mask = mask_of(labels, named, [words.index(word) for word in params["object_nouns"]])
    return {
        "labels": labels.int(),
        "best_score_over_mean_of_others": contrast_of_best(scores),
        "cluster_noun": named.int(),
        "mask": mask.int(),
    }
