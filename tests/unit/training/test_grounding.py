"""The loss that ties words to places."""

from __future__ import annotations

import torch

from training.grounding import GROUNDED_TIMESTEPS, grounding_loss, token_masks
from training.tokenizer import NOWHERE
from training.world import BACKGROUND

CELLS = 16
THINGS = torch.tensor([[NOWHERE, 0, 0, 1, BACKGROUND, NOWHERE]])
NOUNS = torch.tensor([[False, False, True, True, False, False]])
EARLY = torch.tensor([100])


def masks() -> torch.Tensor:
    """One thing on the left, one on the right, the background between them."""
    both = torch.zeros(1, 2, CELLS, CELLS)
    both[0, 0, :, :4] = 1
    both[0, 1, :, 12:] = 1
    return both


def attention(target: torch.Tensor) -> torch.Tensor:
    """(1, queries, tokens): all attention on a token where its target is."""
    return target.transpose(1, 2).clone()


def test_each_token_is_masked_by_what_it_names() -> None:
    regions = token_masks(masks(), THINGS, CELLS)[0].reshape(-1, CELLS, CELLS)
    assert regions[1].sum() == regions[2].sum() == regions[3].sum() == 4 * CELLS
    assert regions[1, :, :4].all()
    assert regions[3, :, 12:].all()
    assert regions[4, :, 4:12].all()
    assert regions[4].sum() == 8 * CELLS


def test_attention_inside_costs_less_than_attention_outside() -> None:
    target = token_masks(masks(), THINGS, CELLS)
    inside, outside = attention(target), attention(1 - target)
    low = grounding_loss([inside], masks(), THINGS, NOUNS, EARLY)
    high = grounding_loss([outside], masks(), THINGS, NOUNS, EARLY)
    assert low < 1e-3
    assert high > 1


def test_very_noisy_latents_are_not_grounded() -> None:
    outside = attention(1 - token_masks(masks(), THINGS, CELLS))
    late = torch.tensor([GROUNDED_TIMESTEPS])
    assert grounding_loss([outside], masks(), THINGS, NOUNS, late) == 0


def test_the_coarsest_layers_are_left_alone() -> None:
    right = attention(token_masks(masks(), THINGS, CELLS))
    coarse = torch.rand(1, 16, THINGS.shape[1])
    with_coarse = grounding_loss([right, coarse], masks(), THINGS, NOUNS, EARLY)
    assert with_coarse == grounding_loss([right], masks(), THINGS, NOUNS, EARLY)
