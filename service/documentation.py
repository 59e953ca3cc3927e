"""The OpenAPI document, and the pieces of it that several routes share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from core.catalog import TECHNIQUES
from service.examples import EXAMPLES
from service.problems import MEDIA_TYPE, NotReady, Problem

API_VERSION = "1"

Responses = dict[int | str, dict[str, Any]]

TAGS = [
    {"name": "Techniques", "description": "Submit a job: one path for each technique."},
    {"name": "Jobs", "description": "Look at jobs, follow and cancel them, and fetch their files."},
    {"name": "Webhooks", "description": "Be told of a job's end instead of asking."},
    {"name": "Images", "description": "Pictures as input, and what was inverted from them."},
    {"name": "Models", "description": "What a request may name as its model."},
    {"name": "Health", "description": "Whether the service is up, ready and well."},
]

JobId = Annotated[
    str,
    Path(description="The job's id.", examples=["job_0123456789abcdef0123456789abcdef"]),
]
IfNoneMatch = Annotated[
    str | None, Header(description="An `ETag` from before: if nothing changed, the answer is 304.")
]

_WHY = {
    400: "The body can't be read as what it is sent as.",
    401: "No API key, or one that is not known.",
    403: "The URL was not signed by this service.",
    404: "There is no such thing, or it is another key's.",
    409: "The state of the job does not allow it: the detail names the state.",
    410: "What it was about has expired or was deleted.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    416: "The range begins beyond the end of the file.",
    422: "Fields or parameters are not valid: the detail, and `errors` for fields of a body, say "
    "which, and what would be accepted.",
    429: "Too many submissions in a minute, or too many of the caller's jobs wait. Try again after "
    "`Retry-After` seconds.",
    500: "Any other failure.",
    503: "A part of the service does not answer. Try again after `Retry-After` seconds.",
}


def with_headers(status: int, headers: dict[str, Any]) -> Responses:
    """A success whose other parts the route says itself."""
    return {status: {"headers": headers}}


def header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


RETRY_AFTER = {"Retry-After": header("Seconds after which to ask again.", "integer")}
ETAG = {"ETag": header("Names this state; send it as `If-None-Match`.")}
NOT_MODIFIED: Responses = {304: {"description": "Nothing changed since `If-None-Match`."}}


def problem_response(status: int, model: type[Problem] = Problem) -> dict[str, Any]:
    """A failure that is told as `model`."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {
        "description": _WHY[status],
        "content": {MEDIA_TYPE: schema},
        "headers": RETRY_AFTER if status in (429, 503) else {},
    }


def problem_responses(*statuses: int) -> Responses:
    """The failures a route answers with; `default` are those that no route can rule out."""
    documented: Responses = {status: problem_response(status) for status in statuses}
    return documented | {"default": problem_response(500)}


def document(app: FastAPI) -> dict[str, Any]:
    """What `app` offers, with the schemas that its routes name but the framework can't see."""
    openapi = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=TAGS,
    )
    requests = [(technique.request, "validation") for technique in TECHNIQUES.values()]
    _, named = models_json_schema(
        [*requests, (Problem, "serialization"), (NotReady, "serialization")],  # type: ignore[list-item]
        ref_template="#/components/schemas/{model}",
    )
    openapi["components"]["schemas"] |= named["$defs"]
    for name, example in EXAMPLES.items():
        openapi["components"]["schemas"][name]["examples"] = [example]
    return openapi
