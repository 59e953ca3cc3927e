"""StyleAligned's operations on tensors, where this project has their counterpart.

`expand_first` and `concat_first` are the authors' way of handing the reference's keys to
every row; here they are read where they are. The two are written out from what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.attention.memory import Memory, moments
from core.attention.merged import Group, merged_attention
from core.attention.shares import Shares
from core.attention.sharing import adain, following_norm, remembering_norm
from tests.parity.case import Case, Outputs


@torch.no_grad()
def operation_outputs(case: Case) -> Outputs:
    """`y` of each operation; `shared_group_norm` also without sharing."""
    outputs: Outputs = {}
    for variant, params in case.variants():
        made = _outputs_of(variant, params, case.inputs)
        for name in case.named(variant):
            outputs[f"{variant}/out.{name}"] = made[name]
    return outputs


def _outputs_of(variant: str, params: Mapping[str, Any], given: Mapping[str, Tensor]) -> Outputs:
    queries, keys, values = (given[f"in.{name}"] for name in "qkv")
    match variant:
        case "adain":
            return {"y": _by_half(queries, _adain)}
        case "expand_first" | "expand_first_scaled":
            return {"y": _by_half(keys, lambda x: _read(x, params["scale"]))}
        case "concat_first":
            read = _by_half(keys, lambda x: _read(x, params["scale"]))
            return {"y": torch.cat([keys, read], dim=params["dim"])}
        case "shared_group_norm":
            return _group_norm(given, params["groups"], params["eps"])
        case _ if variant.startswith("attend"):
            halves = zip(queries.chunk(2), keys.chunk(2), values.chunk(2), strict=True)
            return {"y": torch.cat([_attend(q, k, v, params) for q, k, v in halves])}
    return {}


def _by_half(features: Tensor, change: Any) -> Tensor:
    return torch.cat([change(half) for half in features.chunk(2)])


def _adain(half: Tensor) -> Tensor:
    return adain(half, [moments(half[:1])], torch.ones(1, 1, 1))


def _read(half: Tensor, scale: float) -> Tensor:
    """What each row reads of the reference, whose own row is never scaled."""
    return torch.cat([half[:1], half[:1].expand_as(half[1:]) * scale])


def _attend(queries: Tensor, keys: Tensor, values: Tensor, params: Mapping[str, Any]) -> Tensor:
    if params["adain_queries"]:
        queries = _adain(queries)
    if params["adain_keys"]:
        keys = _adain(keys)
    scale = queries.shape[-1] ** -0.5
    reference = merged_attention(queries[:1], [Group(keys[:1], values[:1], scale)])
    targets = merged_attention(
        queries[1:],
        [
            Group(keys[1:], values[1:], scale),
            Group(
                keys[:1],
                values[:1],
                scale * params["shared_score_scale"],
                params["shared_score_shift"],
            ),
        ],
    )
    return torch.cat([reference, targets])


def _group_norm(given: Mapping[str, Tensor], groups: int, eps: float) -> Outputs:
    features = given["shared_group_norm/in.x"]
    norm = torch.nn.GroupNorm(groups, features.shape[1], eps=eps)
    norm.weight.data = given["shared_group_norm/in.weight"]
    norm.bias.data = given["shared_group_norm/in.bias"]
    rows = len(features) // 2
    memory = Memory()
    led = remembering_norm(norm, memory)(features[::rows])
    targets = torch.cat([features[1:rows], features[rows + 1 :]])
    followed = following_norm(norm, [memory], Shares.even([1.0]), 2)(targets)
    pairs = zip(led.chunk(2), followed.chunk(2), strict=True)
    return {"y": torch.cat([torch.cat(pair) for pair in pairs]), "y_unshared": norm(features)}
