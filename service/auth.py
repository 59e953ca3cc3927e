"""Who calls: a bearer key whose SHA-256 is configured, or anyone where no key is."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from core.contract.errors import Unauthorized
from core.contract.keys import ApiKey
from service.backends import WithBackends

LOCAL = "local"
"""Owner of every job where no keys are configured."""

_bearer = HTTPBearer(
    scheme_name="apiKey",
    auto_error=False,
    description="An API key. A service without keys answers its own machine only, to anyone.",
)

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def owner_of(credentials: HTTPAuthorizationCredentials | None, keys: tuple[ApiKey, ...]) -> str:
    """The owner that a request's key stands for. Raises Unauthorized."""
    if not keys:
        return LOCAL
    if credentials is None:
        raise Unauthorized("Send an API key as `Authorization: Bearer KEY`.")
    # Header bytes arrive decoded as latin-1; the key was hashed as the bytes it is.
    key = credentials.credentials.encode("latin-1", errors="replace")
    digest = hashlib.sha256(key).hexdigest()
    # Every hash is compared, so the time taken does not tell which one came near.
    found = [known.name for known in keys if hmac.compare_digest(digest, known.sha256)]
    if not found:
        raise Unauthorized("This API key is not known.")
    return found[0]


async def _caller(credentials: Credentials, backends: WithBackends) -> str:
    return owner_of(credentials, backends.settings.api_keys)


Caller = Annotated[str, Depends(_caller)]
