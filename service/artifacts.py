"""The files of a job, by signed URL or API key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from core.contract.errors import Gone, NotFound, Unavailable
from core.contract.jobs import Artifact, Job
from service.auth import Credentials, owner_of
from service.backends import Backends, WithBackends
from service.conditional import byte_range, matches
from service.documentation import (
    ETAG,
    NOT_MODIFIED,
    IfNoneMatch,
    JobId,
    Responses,
    header,
    problem_responses,
)
from service.jobs import owned_job
from service.signing import check_signature
from service.views import files_expire_at

_CHUNK_BYTES = 1 << 16
_LINK_SECONDS = 300
"""In which a reader who was sent to the bucket begins; one that comes back is sent anew."""
_FILE = {"schema": {"type": "string", "format": "binary"}}
_SUCCESSES: Responses = {
    200: {"description": "The file.", "content": {"image/*": _FILE}, "headers": ETAG},
    206: {"description": "The part asked for with `Range`.", "content": {"image/*": _FILE}},
    307: {
        "description": "The file is at `Location` for some minutes; only with a signed `url`.",
        "headers": {"Location": header("URL of the file in the object storage.")},
    },
}

router = APIRouter(tags=["Jobs"])

Name = Annotated[str, Path(description="The artifact's name.", examples=["image-000.png"])]


def _readable_job(
    job_id: JobId,
    name: Name,
    backends: WithBackends,
    credentials: Credentials,
    expires: Annotated[
        str | None, Query(description="Unix time until which the URL is valid.")
    ] = None,
    sig: Annotated[
        str | None, Query(description="The service's signature of all of the URL.")
    ] = None,
) -> Job:
    """The job, where the URL is signed for this file of it or the key is its owner's."""
    if expires is None and sig is None:
        owner = owner_of(credentials, backends.settings.api_keys)
        return owned_job(backends, job_id, owner)
    check_signature(backends.secret, job_id, name, expires or "", sig or "")
    return backends.jobs.get(job_id)


def _wanted_range(
    range_: Annotated[
        str | None,
        Header(alias="Range", description="One range of bytes.", examples=["bytes=0-1023"]),
    ] = None,
    if_range: Annotated[
        str | None, Header(description="The `ETag` for which `Range` was meant.")
    ] = None,
) -> tuple[str | None, str | None]:
    return range_, if_range


@router.get(
    "/v1/jobs/{job_id}/artifacts/{name}",
    operation_id="getArtifact",
    summary="Download a file of a job",
    response_class=Response,
    responses=_SUCCESSES | NOT_MODIFIED | problem_responses(401, 403, 404, 410, 416, 503),
    # Beside the API key, nothing: the signature in the URL is enough.
    openapi_extra={"security": [{}]},
)
def get_artifact(
    request: Request,
    name: Name,
    job: Annotated[Job, Depends(_readable_job)],
    backends: WithBackends,
    wanted_range: Annotated[tuple[str | None, str | None], Depends(_wanted_range)],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """By its signed `url` no API key is needed; a key reads its own jobs' files without one.

    Follow redirections: a signed `url` may lead on to where the file lies.
    """
    artifact = _artifact(job, name)
    etag = f'"{artifact.sha256}"'
    headers = _headers(job, artifact, etag)
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    wanted, if_range = wanted_range
    # A part of what the caller has begun to read is no use once the whole is another.
    part = byte_range(wanted, artifact.size_bytes) if if_range in (None, etag) else None
    if _may_lead_on(request, backends) and (link := _link(backends, job, artifact)):
        return RedirectResponse(link, 307, headers={"Cache-Control": "no-store"})
    start, end = part or (0, artifact.size_bytes)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size_bytes}"
    return StreamingResponse(
        _read(open_artifact(backends, job, artifact), start, end),
        206 if part else 200,
        headers=headers,
        media_type=artifact.media_type,
    )


def _artifact(job: Job, name: str) -> Artifact:
    for artifact in job.artifacts:
        if artifact.name == name:
            return artifact
    names = ", ".join(artifact.name for artifact in job.artifacts) or "none yet"
    raise NotFound(f"The job has no such artifact. It has: {names}.")


def _seconds_left(job: Job) -> int:
    return max(0, int(files_expire_at(job).timestamp() - time.time()))


def _headers(job: Job, artifact: Artifact, etag: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={_seconds_left(job)}, immutable",
        "Content-Disposition": f'inline; filename="{artifact.name}"',
        "X-Content-Type-Options": "nosniff",
    }


def open_artifact(backends: Backends, job: Job, artifact: Artifact) -> BinaryIO:
    """A file of a job. Raises Gone or Unavailable."""
    with _stored():
        return backends.places.artifacts.open(job.id, artifact.attempt, artifact.name)


def _may_lead_on(request: Request, backends: Backends) -> bool:
    # A key must not go to another host, and a link is signed for GET alone.
    is_plain = "sig" in request.query_params and request.state.method == "GET"
    return backends.settings.storage_redirect and is_plain


def _link(backends: Backends, job: Job, artifact: Artifact) -> str | None:
    """Where the file lies, if callers can read it there. Raises Gone or Unavailable."""
    seconds = max(1, min(_LINK_SECONDS, _seconds_left(job)))
    with _stored():
        return backends.places.artifacts.link(job.id, artifact.attempt, artifact.name, seconds)


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Gone("The file has been removed.") from None
    except OSError as error:
        raise Unavailable("The artifact store does not answer. Try again.") from error


def _read(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while chunk := file.read(min(_CHUNK_BYTES, end - start)):
            start += len(chunk)
            yield chunk
