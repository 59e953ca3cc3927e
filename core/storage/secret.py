"""The deployment's secret: it signs artifact URLs, and the secrets of webhooks come from it."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from core.contract.settings import Settings


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
