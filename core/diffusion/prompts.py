"""Text to what the UNet attends to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.diffusion.model import DiffusionModel


@dataclass(frozen=True)
class Conditioning:
    """The text side of some rows of a UNet batch.

    text: (rows, tokens, width). pooled: (rows, width), SDXL only.
    """

    text: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)

    def rows(self, chosen: slice | Sequence[int]) -> Conditioning:
        """Some of the rows."""
        return Conditioning(self.text[chosen], None if self.pooled is None else self.pooled[chosen])

    def followed_by(self, other: Conditioning) -> Conditioning:
        """These rows and then `other`'s."""
        pooled = None
        if self.pooled is not None and other.pooled is not None:
            pooled = torch.cat([self.pooled, other.pooled])
        return Conditioning(torch.cat([self.text, other.text]), pooled)


@torch.inference_mode()
def encode_prompts(model: DiffusionModel, texts: Sequence[str]) -> Conditioning:
    """Encode one text a row, positive or negative alike.

    A model that wants zeros for the empty text (SDXL) gets them, pooled too.
    """
    encoded = model.pipeline.encode_prompt(
        list(texts),
        device=model.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    if model.spec.family != "sdxl":
        return Conditioning(encoded[0])
    text, _, pooled, _ = encoded
    if model.pipeline.config.force_zeros_for_empty_prompt:
        empty = torch.tensor([not text for text in texts], device=model.device)
        text = text.masked_fill(empty[:, None, None], 0)
        pooled = pooled.masked_fill(empty[:, None], 0)
    return Conditioning(text, pooled)
