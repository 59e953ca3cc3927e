"""Technique name -> request model, function, artifacts: the only registry.

Reading it costs nothing: a technique's function, and torch with it, is imported when a
worker first runs it. The service reads names and request models only.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass

from core.contract.appearance_transfer import AppearanceTransferRequest
from core.contract.attention_maps import AttentionMapsRequest
from core.contract.errors import FieldError, InvalidRequest, NotFound
from core.contract.models import Family, ModelCatalog
from core.contract.parsing import parse
from core.contract.pictures import Made
from core.contract.requests import JobRequest
from core.contract.segmentation import SegmentationRequest
from core.contract.stored import Stored
from core.contract.style_aligned import StyleAlignedRequest


@dataclass(frozen=True)
class Technique:
    """One paper's method, as the service offers it and the worker runs it."""

    name: str
    title: str
    request: type[JobRequest]
    families: frozenset[Family]
    function: str
    """`module:name` of a function (model, request, surroundings) -> generator of what is made."""

    def effective(self, body: bytes, models: ModelCatalog, stored: Stored) -> JobRequest:
        """The request in a JSON `body`, every value filled in.

        Raises MalformedJson, or InvalidRequest where it is none, names what isn't stored, or
        a model that isn't here or whose family can't do this.
        """
        request = parse(self.request, body).with_stored(stored)
        model = models.resolve(request.model)
        if model.family not in self.families:
            able = sorted(n for n, spec in models.models.items() if spec.family in self.families)
            detail = (
                f"{model.name} can't do {self.name}. "
                f"Models that can: {', '.join(able) or 'none here'}."
            )
            raise InvalidRequest.of([FieldError(pointer="/model", detail=detail)])
        return request.resolve(model)

    def load(self) -> Callable[..., Generator[Made]]:
        """Import the function that runs it."""
        function: Callable[..., Generator[Made]] = pkgutil.resolve_name(self.function)
        return function


TECHNIQUES = {
    technique.name: technique
    for technique in (
        Technique(
            name="style-aligned",
            title="Pictures of several prompts in one style (StyleAligned, CVPR 2024)",
            request=StyleAlignedRequest,
            families=frozenset({"sd1", "sd2", "sdxl"}),
            function="core.algorithms.style_aligned:style_aligned",
        ),
        Technique(
            name="appearance-transfer",
            title="One picture's shape in another's appearance (Cross-Image, SIGGRAPH 2024)",
            request=AppearanceTransferRequest,
            families=frozenset({"sd1", "sd2", "sdxl"}),
            function="core.algorithms.appearance_transfer:appearance_transfer",
        ),
        Technique(
            name="attention-maps",
            title="What the model looks at, for each word and point, as pictures and numbers",
            request=AttentionMapsRequest,
            families=frozenset({"sd1", "sd2", "sdxl"}),
            function="core.algorithms.attention_maps:attention_maps",
        ),
        Technique(
            name="segmentation",
            title="A picture's parts and what they show (ICCV 2023; DiffSeg, CVPR 2024)",
            request=SegmentationRequest,
            families=frozenset({"sd1", "sd2", "sdxl"}),
            function="core.algorithms.segmentation:segmentation",
        ),
    )
}


def technique(name: str) -> Technique:
    """The technique called `name`. Raises NotFound."""
    try:
        return TECHNIQUES[name]
    except KeyError:
        known = ", ".join(sorted(TECHNIQUES))
        raise NotFound(f"There is no technique {name!r}. Known: {known}.") from None
