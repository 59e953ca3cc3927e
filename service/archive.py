"""All files of a job in one zip, written while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from core.contract.errors import NotFound
from core.contract.jobs import Artifact, Job
from service.artifacts import open_artifact
from service.auth import Caller
from service.backends import Backends, WithBackends
from service.documentation import JobId, Responses, problem_responses
from service.jobs import owned_job

_CHUNK_BYTES = 1 << 16
_ZIP = {"schema": {"type": "string", "format": "binary"}}
_SUCCESSES: Responses = {
    200: {"description": "The archive.", "content": {"application/zip": _ZIP}},
}

router = APIRouter(tags=["Jobs"])


@router.get(
    "/v1/jobs/{job_id}/artifacts.zip",
    operation_id="getArchive",
    summary="Download all files of a job",
    response_class=Response,
    responses=_SUCCESSES | problem_responses(401, 404, 410, 503),
)
def get_archive(job_id: JobId, backends: WithBackends, caller: Caller) -> Response:
    """Those finished so far, in a zip without compression: pictures have theirs."""
    job = owned_job(backends, job_id, caller)
    if not job.artifacts:
        raise NotFound("The job has no files yet.")
    # Opened before the answer begins, so that files that were removed are a problem.
    first = open_artifact(backends, job, job.artifacts[0])
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{job.id}.zip"',
    }
    chunks = _zipped(backends, job, first)
    return StreamingResponse(chunks, headers=headers, media_type="application/zip")


class _Pipe(io.RawIOBase):
    """Takes what is written, until it is taken out. It can't seek, so zipfile doesn't."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._held += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def _zipped(backends: Backends, job: Job, first: BinaryIO) -> Iterator[bytes]:
    """The archive, chunk by chunk. A file that vanishes meanwhile breaks it off, visibly."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for place, artifact in enumerate(job.artifacts):
            file = first if place == 0 else open_artifact(backends, job, artifact)
            with file, archive.open(_entry(job, artifact), "w") as entry:
                while chunk := file.read(_CHUNK_BYTES):
                    entry.write(chunk)
                    yield pipe.take()
    yield pipe.take()


def _entry(job: Job, artifact: Artifact) -> zipfile.ZipInfo:
    # Of the job and not of the clock: the same files are the same archive.
    entry = zipfile.ZipInfo(artifact.name, job.created_at.timetuple()[:6])
    entry.file_size = artifact.size_bytes
    entry.external_attr = 0o644 << 16
    return entry
