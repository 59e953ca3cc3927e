"""Signed artifact URLs: whoever has one may read that one file until it expires."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

from fastapi import HTTPException

from core.contract.errors import Gone
from core.contract.settings import Settings


def signed_query(secret: bytes, job_id: str, name: str, expires: int) -> str:
    """The query string that lets anyone read the file until `expires`, in unix seconds."""
    signature = _signature(secret, job_id, name, str(expires))
    # `sig` is a name that tracing tools know to keep to themselves.
    return urlencode({"expires": expires, "sig": signature})


def check_signature(secret: bytes, job_id: str, name: str, expires: str, signature: str) -> None:
    """Raise 403 for a URL that this service did not sign, Gone for one past its time."""
    genuine = _signature(secret, job_id, name, expires)
    if not hmac.compare_digest(genuine.encode(), signature.encode()):
        raise HTTPException(403, "The URL's signature is not valid. Take the URL from the job.")
    if int(expires) <= time.time():
        raise Gone("The URL has expired, and the file with it.")


def _signature(secret: bytes, job_id: str, name: str, expires: str) -> str:
    message = "\n".join(("artifact", job_id, name, expires))
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()


def signing_secret(settings: Settings) -> bytes:
    """The configured secret, or the one kept in the data directory, made when first needed."""
    if settings.signing_secret:
        return settings.signing_secret.encode()
    path = settings.data_dir / "signing-secret"
    if not path.exists():
        _create_once(path, secrets.token_hex(32))
    return path.read_bytes()


def _create_once(path: Path, text: str) -> None:
    """Write a file that only this user can read, unless another process was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole or not at all, and never replaces what is there.
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(aside)
