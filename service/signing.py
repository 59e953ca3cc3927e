"""Signed artifact URLs: whoever has one may read that one file until it expires."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import urlencode

from fastapi import HTTPException

from core.contract.errors import Gone


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
