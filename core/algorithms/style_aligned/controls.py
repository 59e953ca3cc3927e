"""What a ControlNet is shown for each picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from core.contract.images import Upload
from core.contract.pictures import Surroundings
from core.contract.requests import settled
from core.contract.style_aligned import StyleAlignedRequest
from core.diffusion.control import Control, active_steps, control_pixels, depths, edges
from core.diffusion.fitting import fitted
from core.diffusion.model import DiffusionModel


def control_maps(
    model: DiffusionModel,
    request: StyleAlignedRequest,
    around: Surroundings,
    numbers: Sequence[int],
) -> list[Image.Image]:
    """The edges or depths for the prompts of these numbers, of the pictures' size; none, empty.

    A control picture of another shape is cropped about its middle.
    """
    control = request.control
    if control is None:
        return []
    size = settled(request.sampling.width), settled(request.sampling.height)
    maps = []
    for number in numbers:
        image = control.image_of(number)
        assert isinstance(image, Upload)
        seen = fitted(around.image(image), size, "crop").image
        if control.preprocess:
            seen = edges(seen) if control.type == "canny" else depths(model, seen)
        maps.append(seen)
    return maps


def control_on(
    model: DiffusionModel, request: StyleAlignedRequest, maps: Sequence[Image.Image]
) -> Control | None:
    """The ControlNet that shows `maps` to the pictures of a batch; None without any."""
    if request.control is None or not maps:
        return None
    wanted = request.control
    steps = settled(request.sampling.steps)
    return Control(
        network=model.controlnet(wanted.type),
        images=control_pixels(maps).to(model.device, model.dtype),
        scale=wanted.scale,
        active=active_steps(steps, wanted.start, wanted.end),
        prompted=wanted.prompted,
    )
