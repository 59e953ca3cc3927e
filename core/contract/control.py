"""Control images in a request: what goes where, by edges or depths."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput
from core.contract.models import ControlKind, ModelSpec
from core.contract.requests import Strict
from core.contract.stored import Stored


class ControlRequest(Strict):
    """A ControlNet and what it is shown. It acts on the pictures, never on references."""

    type: ControlKind = Field(
        description="`canny`: white edges on black. `depth`: the nearer, the brighter."
    )
    image: ImageInput | None = Field(default=None, description="The same for every prompt.")
    images: list[ImageInput] = Field(default=[], description="Instead of `image`: one a prompt.")
    scale: float = Field(
        default=0.8, ge=0, le=2, description="How strongly it holds; 0 is off. The authors' 0.8."
    )
    start: float = Field(
        default=0.0, ge=0, le=1, description="Fraction of the steps at which it begins to act."
    )
    end: float = Field(
        default=1.0, ge=0, le=1, description="Fraction of the steps at which it ceases to act."
    )
    preprocess: bool = Field(
        default=True,
        description=(
            "The image is a picture, whose edges (OpenCV's Canny, thresholds 100 and 200) or "
            "depths are found first. Off: it is a map of edges or depths already."
        ),
    )

    prompted: bool = Field(
        default=True,
        description=(
            "The ControlNet reads each picture's prompt. Off: the negative prompt only, as in "
            "the code StyleAligned was published with."
        ),
    )

    def image_of(self, index: int) -> ImageInput:
        """The picture behind the prompt of this index."""
        image = self.images[index] if self.images else self.image
        assert image is not None
        return image

    def with_stored(self, stored: Stored) -> Self:
        """The same with its pictures stored."""
        images = [
            stored.image(f"/control/images/{index}", image)
            for index, image in enumerate(self.images)
        ]
        image = None if self.image is None else stored.image("/control/image", self.image)
        return self.model_copy(update={"image": image, "images": images})

    def effective(self, model: ModelSpec, prompts: int) -> Self:
        """The same, checked for a model. Raises InvalidRequest."""
        faults: dict[str, str] = {}
        if self.type not in model.controls:
            known = ", ".join(sorted(model.controls)) or "none"
            faults["type"] = f"{model.name} has no ControlNet for {self.type}. It has: {known}."
        elif self.type == "depth" and self.preprocess and model.depth_estimator is None:
            faults["preprocess"] = (
                "No depth model is configured, so depths can't be found here: "
                "send a depth map, with `preprocess` false."
            )
        if (self.image is None) == (not self.images):
            faults["image"] = "Give either `image` for every prompt, or `images`, one a prompt."
        elif self.images and len(self.images) != prompts:
            faults["images"] = f"Expected one for each of the {prompts} prompts."
        if self.start >= self.end:
            faults["end"] = "Expected more than `start`."
        if faults:
            errors: list[Any] = [
                FieldError(pointer=f"/control/{name}", detail=detail)
                for name, detail in faults.items()
            ]
            raise InvalidRequest.of(errors)
        return self
