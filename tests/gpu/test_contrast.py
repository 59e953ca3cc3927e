"""Contrasted attention by FlexAttention, which only a CUDA device compiles."""

from __future__ import annotations

import pytest
import torch

from core.attention.contrast import _chunked, contrasted_attention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("tokens", "width"), [(256, 32), (1024, 80), (4096, 40), (4096, 64)])
def test_the_fused_form_has_the_numbers_of_plain_products(
    dtype: torch.dtype, tokens: int, width: int
) -> None:
    queries, keys, values = torch.randn(3, 1, 8, tokens, width, device="cuda", dtype=dtype)
    scale = width**-0.5
    answer = contrasted_attention(3 * queries, keys, values, scale, 1.67)
    expected = _chunked(3 * queries.float(), keys.float(), values.float(), scale, 1.67)
    assert (answer.float() - expected).abs().max() < 2e-2 * expected.abs().max()


def test_its_memory_grows_with_the_tokens_and_not_with_their_square() -> None:
    peaks = {}
    for tokens in (4096, 16384):
        queries, keys, values = torch.randn(3, 1, 8, tokens, 64, device="cuda").half()
        contrasted_attention(queries, keys, values, 0.125, 1.67)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        contrasted_attention(queries, keys, values, 0.125, 1.67)
        torch.cuda.synchronize()
        peaks[tokens] = torch.cuda.max_memory_allocated() - before
    assert peaks[16384] < 6 * peaks[4096]
