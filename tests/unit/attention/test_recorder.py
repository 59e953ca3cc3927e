"""Recorded means against maps written out."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.attention.control import attention_control
from core.attention.layers import AttentionLayer, attention_layers
from core.attention.recorder import MapRecorder
from core.diffusion.model import DiffusionModel
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model: DiffusionModel = tiny_model(tmp_path_factory.mktemp("sd1"), "sd1")
    return model.unet


@torch.no_grad()
def run(unet: Any, recorder: MapRecorder, layers: list[AttentionLayer], calls: int = 1) -> Tensor:
    torch.manual_seed(3)
    sample, text = torch.randn(3, 4, 16, 16), torch.randn(3, 16, 32)
    with attention_control(unet, recorder.plan(unet, layers)):
        for call in range(calls):
            output: Tensor = unet(sample * (call + 1), 10, text).sample
    return output


def by_kind(layer: AttentionLayer) -> Hashable:
    return layer.kind


def test_recording_changes_nothing_of_what_the_unet_gives(unet: Any) -> None:
    layers = attention_layers(unet)
    recorder = MapRecorder(rows=(0, 2), key=lambda layer: layer.name)
    plain = run(unet, MapRecorder(rows=(), key=by_kind), [])
    assert torch.equal(run(unet, recorder, layers), plain)


def test_maps_are_distributions_of_the_rows_asked_for(unet: Any) -> None:
    layers = [layer for layer in attention_layers(unet) if layer.place != "mid"]
    recorder = MapRecorder(rows=(2, 0), key=by_kind)
    run(unet, recorder, layers, calls=3)
    own, text = recorder.mean("attn1"), recorder.mean("attn2")
    assert (own.shape, text.shape) == ((2, 256, 256), (2, 256, 16))
    assert torch.allclose(own.sum(-1), torch.ones(2, 256), atol=1e-5)
    other = MapRecorder(rows=(0,), key=by_kind)
    run(unet, other, layers, calls=3)
    assert torch.allclose(other.mean("attn1")[0], own[1], atol=1e-6)


def test_a_mean_is_over_calls_layers_and_heads(unet: Any) -> None:
    layers = [layer for layer in attention_layers(unet) if layer.kind == "attn1"]
    layers = [layer for layer in layers if layer.place != "mid"]
    apart = MapRecorder(rows=(1,), key=lambda layer: layer.name, heads_apart=True)
    together = MapRecorder(rows=(1,), key=by_kind)
    run(unet, apart, layers, calls=2)
    run(unet, together, layers, calls=2)
    every = torch.stack([apart.mean(layer.name).mean(dim=1) for layer in layers])
    assert torch.allclose(every.mean(dim=0), together.mean("attn1"), atol=1e-6)


def test_chosen_heads_only(unet: Any) -> None:
    layer = next(layer for layer in attention_layers(unet) if layer.kind == "attn2")
    apart = MapRecorder(rows=(0,), key=by_kind, heads_apart=True)
    second = MapRecorder(rows=(0,), key=by_kind, heads=[1])
    run(unet, apart, [layer])
    run(unet, second, [layer])
    assert torch.allclose(apart.mean("attn2")[:, 1], second.mean("attn2"), atol=1e-6)


def test_while_it_is_not_active_nothing_is_recorded(unet: Any) -> None:
    recorder = MapRecorder(rows=(0,), key=by_kind, active=False)
    run(unet, recorder, attention_layers(unet))
    with pytest.raises(KeyError):
        recorder.mean("attn1")


def test_layers_of_other_sizes_can_not_share_a_mean(tmp_path_factory: Any) -> None:
    sdxl = tiny_model(tmp_path_factory.mktemp("sdxl"), "sdxl")
    recorder = MapRecorder(rows=(0,), key=lambda layer: "all")
    layers = attention_layers(sdxl.unet)
    plan = recorder.plan(sdxl.unet, layers)
    added = {"text_embeds": torch.zeros(1, 32), "time_ids": torch.zeros(1, 6)}
    with attention_control(sdxl.unet, plan), pytest.raises(ValueError, match="maps under"):
        sdxl.unet(torch.zeros(1, 4, 16, 16), 1, torch.zeros(1, 16, 64), added_cond_kwargs=added)
