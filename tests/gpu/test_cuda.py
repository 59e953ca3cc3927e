"""What only a CUDA device can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.algorithms.style_aligned import style_aligned
from core.attention.merged import (
    Group,
    _chunked_attention,
    attention_with_log_sum,
    merged_attention,
)
from core.contract.models import Family
from core.contract.pictures import Picture, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import load_model
from tests.tiny_models import save_tiny, spec_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tokens", [64, 100, 4096])
def test_the_fused_log_sum_exp_is_the_one_of_plain_products(
    dtype: torch.dtype, tokens: int
) -> None:
    queries, keys, values = torch.randn(3, 2, 8, tokens, 64, device="cuda", dtype=dtype)
    output, log_sum = attention_with_log_sum(queries, keys[:1], values[:1], 0.125)
    first_keys, first_values = (x[:1].expand(2, -1, -1, -1) for x in (keys, values))
    expected, expected_sum = _chunked_attention(queries, first_keys, first_values, 0.125)
    assert log_sum.shape == (2, 8, tokens)
    assert (log_sum - expected_sum).abs().max() < 5e-3
    assert (output - expected).abs().max() < 2e-2


def test_merging_in_half_precision_stays_near_single() -> None:
    queries, keys, values = torch.randn(3, 4, 8, 1024, 64, device="cuda")
    groups = [Group(keys, values, 0.125), Group(keys[:1], values[:1], 0.125, 0.7)]
    halved = [Group(g.keys.half(), g.values.half(), g.scale, g.bias) for g in groups]
    answer = merged_attention(queries.half(), halved)
    assert (answer.float() - merged_attention(queries, groups)).abs().max() < 5e-3


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_family_draws_in_half_precision_what_the_cpu_draws(
    family: Family, tmp_path: Path
) -> None:
    save_tiny(tmp_path, family)
    spec = spec_of(tmp_path, family).model_copy(update={"dtype": "auto"})
    request = StyleAlignedRequest.model_validate({"prompts": ["a cat", "a house"], "seed": 1})
    drawn = {}
    for device in ("cpu", "cuda"):
        model = load_model(spec, torch.device(device))
        made = style_aligned(model, request.resolve(spec), alone())
        pictures = [p.image for p in made if isinstance(p, Picture) and p.kind == "image"]
        drawn[device] = np.stack([np.asarray(picture) for picture in pictures])
    difference = np.abs(drawn["cpu"].astype(int) - drawn["cuda"].astype(int))
    assert difference.mean() < 3
