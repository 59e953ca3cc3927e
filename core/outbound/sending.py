"""One try of a webhook: signed, through the guard, its answer taken at its status."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from datetime import datetime

from standardwebhooks import Webhook as Signature

from core.outbound.guard import Guard, Unreachable
from core.outbound.rules import Refused

_MOST_READ_BYTES = 4096


def owner_secret(deployment_secret: bytes, owner: str) -> str:
    """What an owner's deliveries are signed with: the same as long as the deployment's lasts."""
    key = hmac.new(deployment_secret, f"webhook\n{owner}".encode(), hashlib.sha256).digest()
    return f"whsec_{base64.b64encode(key).decode()}"


def send(
    guard: Guard, url: str, secret: str, message_id: str, body: str, at: datetime, seconds: float
) -> int:
    """POST `body` once and return the status of the answer. Redirects are not followed.

    at: the time of this try, in UTC. seconds: for all of it. Raises Unreachable.
    """
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "attention-please",
        "Accept-Encoding": "identity",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signature(secret).sign(message_id, at, body),
    }
    try:
        target = guard.rules.checked(url)
    except Refused:  # allowed when the job was submitted, and no longer
        raise Unreachable("not-allowed", is_transient=False) from None
    until = time.monotonic() + seconds
    status = 0
    try:
        with guard.opened("POST", target, headers, until, body.encode()) as answer:
            status = answer.status
            read = 0
            for chunk in answer.iter_stream():  # so that the receiver can end in peace
                read += len(chunk)
                if read > _MOST_READ_BYTES:
                    break
    except Unreachable:
        if not status:  # what was answered counts, even where the rest of it never comes
            raise
    return status
