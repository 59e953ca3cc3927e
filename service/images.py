"""Pictures as input, and the references that were inverted from them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Path, Response, UploadFile
from pydantic import Field

from core.contract.images import ImageInfo
from core.contract.stored import KeptReference
from core.storage.images import MAX_SIZE_BYTES
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import problem_responses, with_headers
from service.limits import RATE_LIMIT, Submitter
from service.views import View

_FORM_BYTES = 16_384
"""Of an upload, beside the file."""

router = APIRouter(tags=["Images"])

ImageId = Annotated[
    str, Path(description="The image's id.", examples=["img_0123456789abcdef0123456789abcdef"])
]


class ReferenceView(KeptReference):
    """An inverted reference: a job that names its id begins at once."""

    id: str = Field(description='For the `reference` of a request: `{"id": …}`.')


class ReferenceList(View):
    """What the caller's jobs have inverted."""

    references: list[ReferenceView] = Field(description="The most recently used first.")


@router.post(
    "/v1/images",
    operation_id="uploadImage",
    summary="Upload a picture",
    status_code=201,
    response_description="The picture is stored.",
    responses=with_headers(201, RATE_LIMIT) | problem_responses(400, 401, 413, 422, 429, 503),
    max_body_size=MAX_SIZE_BYTES + _FORM_BYTES,
)
def upload_image(
    backends: WithBackends,
    caller: Submitter,
    file: Annotated[UploadFile, File(description="PNG, JPEG or WebP of one frame.")],
) -> ImageInfo:
    """Kept for a week from the last upload of the same bytes, which give the same id."""
    return backends.places.images.put(caller, file.file.read(MAX_SIZE_BYTES + 1))


@router.get(
    "/v1/images/{image_id}",
    operation_id="getImage",
    summary="Look at an uploaded picture",
    responses=problem_responses(401, 404, 503),
)
def get_image(image_id: ImageId, backends: WithBackends, caller: Caller) -> ImageInfo:
    """What is stored, not the file."""
    return backends.places.images.info(caller, image_id)


@router.delete(
    "/v1/images/{image_id}",
    operation_id="deleteImage",
    summary="Delete an uploaded picture",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 404, 503),
)
def delete_image(image_id: ImageId, backends: WithBackends, caller: Caller) -> None:
    """Jobs that are queued with it will fail."""
    backends.places.images.delete(caller, image_id)


@router.get(
    "/v1/references",
    operation_id="listReferences",
    summary="List inverted references",
    responses=problem_responses(401, 503),
)
def list_references(backends: WithBackends, caller: Caller) -> ReferenceList:
    """A job that names one, or the same picture, text, size and steps, skips the inversion."""
    return ReferenceList(
        references=[
            ReferenceView(id=key, **dict(reference))
            for key, reference in backends.places.kept_references(caller)
        ]
    )
