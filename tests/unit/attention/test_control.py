"""`attention_control` leaves a UNet exactly as it found it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.algorithms.style_aligned.plans import pooled_plan, remembering_plan
from core.attention.control import AttentionPlan, attention_control
from core.attention.layers import self_attention_layers
from core.attention.memory import Memory
from core.contract.models import Family
from core.contract.style_aligned import Sharing
from tests.tiny_models import tiny_model


def state_of(unet: Any) -> list[Any]:
    """Every object that a plan could replace, by identity."""
    processors = [(name, id(processor)) for name, processor in unet.attn_processors.items()]
    forwards = [
        (name, id(module.__dict__.get("forward")), "forward" in module.__dict__)
        for name, module in unet.named_modules()
    ]
    weights = [(name, id(tensor)) for name, tensor in unet.state_dict(keep_vars=True).items()]
    return [processors, forwards, weights]


@pytest.fixture(params=["sd1", "sd2", "sdxl"])
def unet(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    family: Family = request.param
    return tiny_model(tmp_path, family).unet


SHARING = Sharing(group_norm=True)


def plan_of(unet: Any) -> AttentionPlan:
    return remembering_plan(self_attention_layers(unet), SHARING, Memory())


def other_plan(unet: Any) -> AttentionPlan:
    return pooled_plan(self_attention_layers(unet), SHARING, halves=2)


def test_the_very_objects_come_back_on_success(unet: Any) -> None:
    before = state_of(unet)
    with attention_control(unet, plan_of(unet)):
        assert state_of(unet) != before
    assert state_of(unet) == before


def test_the_very_objects_come_back_after_an_exception(unet: Any) -> None:
    before = state_of(unet)
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        attention_control(unet, plan_of(unet)),
    ):
        raise RuntimeError("in the middle of a job")
    assert state_of(unet) == before


def test_a_norm_that_had_its_own_forward_gets_it_back(unet: Any) -> None:
    own = unet.conv_norm_out.forward
    unet.conv_norm_out.forward = own
    with attention_control(unet, plan_of(unet)):
        assert unet.conv_norm_out.forward is not own
    assert unet.conv_norm_out.__dict__["forward"] is own


def test_plans_can_be_nested(unet: Any) -> None:
    before = state_of(unet)
    with attention_control(unet, plan_of(unet)):
        inside = state_of(unet)
        with attention_control(unet, other_plan(unet)):
            pass
        assert state_of(unet) == inside
    assert state_of(unet) == before


def test_a_plan_for_a_layer_that_is_not_there_installs_nothing(unet: Any) -> None:
    before = state_of(unet)
    plan = plan_of(unet)
    wrong = type(plan)(processors={**plan.processors, "no.such.layer": torch.nn.Identity()})
    with pytest.raises(AttributeError), attention_control(unet, wrong):
        pass
    assert state_of(unet) == before
