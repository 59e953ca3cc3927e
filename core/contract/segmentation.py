"""What a caller of segmentation asks for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from core.contract.models import ModelSpec
from core.contract.observed import (
    BACKGROUND_THRESHOLD,
    MOST_SEGMENTS,
    ObservedRequest,
    Word,
    check_words,
    text_with,
)
from core.contract.word_lists import nouns

MOST_LABELS = 12
CLUSTERS = 5

PAPER_SIZE = 512
"""From this many pixels on a model's attention has the paper's grids."""

PAPER_MERGE, SMALL_MERGE = 1.0, 0.12


class SegmentationRequest(ObservedRequest):
    """A picture's parts by the model's own attention, and what each shows."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "a red cat and a blue house on grass", "seed": 7}]
        }
    )

    labels: list[Word] | None = Field(
        default=None,
        max_length=MOST_LABELS,
        description=(
            "Words that are looked for in the picture; each has to stand in `prompt`. Default: the "
            "prompt's nouns, as far as a word list can tell. A picture given without a prompt goes "
            "with these words; with neither, its segments have no names."
        ),
    )
    method: Literal["clusters", "merge"] = Field(
        default="clusters",
        description=(
            "`clusters`: k-means into `segments` parts (Patashnik et al., ICCV 2023). `merge`: "
            "parts that look at the same places become one, as many as there are (DiffSeg, CVPR "
            "2024)."
        ),
    )
    segments: int | None = Field(
        default=None,
        ge=2,
        le=MOST_SEGMENTS,
        description=(
            "How many parts the picture is cut into; with `merge`, at most. Default: 5 with "
            f"`clusters`, {MOST_SEGMENTS} with `merge`."
        ),
    )
    merge_threshold: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description=(
            "With `merge`: how different the attention of two parts may be for them to become one, "
            "in symmetric KL divergence. Higher gives fewer parts. Default: the paper's 1 from 512 "
            "pixels on, 0.12 below."
        ),
    )
    background_threshold: float = Field(
        default=BACKGROUND_THRESHOLD,
        ge=0,
        le=1,
        description=(
            "A part whose best label scores no more than this is background. Higher names less."
        ),
    )
    noise_limit: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description=(
            "Steps noisier than this are not watched: their attention knows less of the picture. "
            "1 watches all, as the paper does."
        ),
    )
    resolution: Literal[8, 16, 32, 64] = Field(
        default=32,
        description=(
            "Tokens a side, at most, of the attention that is cut into parts; what the model has "
            "nearest below is taken. 64 takes 16 times the memory of 32."
        ),
    )

    def _effective(self, model: ModelSpec) -> dict[str, Any]:
        common = super()._effective(model)
        prompt = self.prompt or text_with(self.labels or [])
        labels = nouns(prompt)[:MOST_LABELS] if self.labels is None else self.labels
        check_words("/labels", labels, prompt)
        sampling = common["sampling"]
        papers = min(sampling.width, sampling.height) >= PAPER_SIZE
        threshold = PAPER_MERGE if papers else SMALL_MERGE
        return common | {
            "prompt": prompt,
            "labels": labels,
            "segments": self.segments or (CLUSTERS if self.method == "clusters" else MOST_SEGMENTS),
            "merge_threshold": self.merge_threshold or threshold,
        }
