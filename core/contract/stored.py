"""What is kept from earlier requests, and may be named in later ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from core.contract.errors import FieldError, InvalidRequest, NotFound
from core.contract.images import ImageInput


class KeptReference(BaseModel):
    """A given picture whose inversion is kept, so that another job with it begins at once."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(description="The model that it was inverted with.")
    image: str = Field(description="Id of the picture.")
    prompt: str = Field(description="The text it was inverted with.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    steps: int = Field(description="Steps it was inverted in; a job with it takes as many.")


@dataclass(frozen=True)
class Stored:
    """What the requests of one owner may name."""

    image: Callable[[str, ImageInput], ImageInput]
    """Given a picture of a request and the JSON pointer to it: where it is stored.

    One inside the request is stored now; one named by its URL may be left for the worker to
    fetch. Raises InvalidRequest, which points at it.
    """
    kept_reference: Callable[[str], KeptReference]
    """Given the id of a kept reference. Raises NotFound."""

    def reference(self, pointer: str, reference_id: str) -> KeptReference:
        """The same; raises InvalidRequest, which points at it."""
        try:
            return self.kept_reference(reference_id)
        except NotFound as error:
            raise InvalidRequest.of([FieldError(pointer=pointer, detail=error.detail)]) from None
