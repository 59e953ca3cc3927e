"""A job's files, written whole or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from uuid import uuid4

import httpx

from attention_please_client.answers import Artifact
from attention_please_client.errors import DamagedDownload, Unreachable
from attention_please_client.transport import Transport, path

_TRIES = 3


def download(transport: Transport, job_id: str, artifact: Artifact, folder: Path) -> Path:
    """Write `artifact` into `folder` under its name, over what is there. Returns its path.

    Raises DamagedDownload where its SHA-256 is another, and what a call raises.
    """
    if not artifact.name or set(artifact.name) & set("/\\:\0") or artifact.name.startswith("."):
        raise DamagedDownload(f"The file's name is not one: {artifact.name!r}.")
    for left in reversed(range(_TRIES)):
        part = folder / f".{artifact.name}.{uuid4().hex}.part"
        try:
            _write(transport, job_id, artifact, part)
            return part.replace(folder / artifact.name)
        except httpx.TransportError as error:
            if not left:
                raise Unreachable(f"{artifact.name} broke off: {error}") from error
        finally:
            part.unlink(missing_ok=True)
    raise AssertionError  # the last try returns or raises


def _write(transport: Transport, job_id: str, artifact: Artifact, part: Path) -> None:
    # By the API key and not by `artifact.url`: the service may be known by another name there,
    # and the key goes to no other host.
    where = path("jobs", job_id, "artifacts", artifact.name)
    digest = hashlib.sha256()
    with transport.stream("GET", where, is_followed=True) as answer, part.open("wb") as file:
        for chunk in answer.iter_bytes():
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != artifact.sha256:
        raise DamagedDownload(f"{artifact.name} of {job_id} is not what was announced.")
