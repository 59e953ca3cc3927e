"""Drawing on tiny models, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.algorithms.style_aligned import style_aligned
from core.contract.pictures import Made, Picture, Surroundings, alone
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.model import DiffusionModel

PHOTO = Image.effect_noise((96, 64), 80).convert("RGB")
PHOTO_ID = "img_" + 32 * "0"
MASKS = {
    "img_" + 32 * "1": Image.new("RGB", (8, 8), (255, 255, 255)),
    "img_" + 32 * "2": Image.new("RGB", (8, 8)),
}
WHITE, BLACK = ({"upload": image_id} for image_id in MASKS)


def with_photo() -> Surroundings:
    """Surroundings in which every upload but the masks is `PHOTO`."""
    return replace(alone(), image=lambda image: MASKS.get(image.upload, PHOTO))


def pictures(made: Iterable[Made]) -> list[Picture]:
    return [thing for thing in made if isinstance(thing, Picture)]


def draw(model: DiffusionModel, **body: Any) -> list[Picture]:
    """The pictures of a request, with `PHOTO` for every upload."""
    request = StyleAlignedRequest.model_validate({"seed": 5} | body).resolve(model.spec)
    return pictures(style_aligned(model, request, with_photo()))


def by_stem(drawn: Iterable[Picture]) -> dict[str, NDArray[np.int64]]:
    return {picture.stem: np.asarray(picture.image).astype(int) for picture in drawn}


def far(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """The largest difference of two pictures, in levels of 255."""
    return int(np.abs(one - other).max())
