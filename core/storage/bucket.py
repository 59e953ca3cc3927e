"""Blobs in a bucket of S3, or of a storage that speaks its language."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from core.contract.settings import Settings
from core.storage.blobs import ANY_BYTES, Blob

if TYPE_CHECKING:  # these types are not there when it runs
    from obstore.store import ClientConfig, RetryConfig, S3Config

_PART_BYTES = 5 << 20
"""What is larger is put in parts, of which the protocol allows none smaller but the last."""
_PARTS_AT_ONCE = 4
_READ_BYTES = 1 << 20
"""Of a blob that is read part by part: one request's worth."""

# One request: a server that is silent is given up after the read timeout, one that is slow
# after the whole; only what failed early is sent again. So a call ends well within a stall.
_CLIENT: ClientConfig = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "2min"}
_RETRIES: RetryConfig = {"max_retries": 3, "retry_timeout": timedelta(seconds=15)}

_PROBE = ".probe"


@dataclass(frozen=True)
class BucketBlobs:
    """Objects at `<prefix of the store>/<name>`."""

    store: S3Store

    @classmethod
    def of(cls, settings: Settings, folder: str) -> BucketBlobs:
        """Those in one folder of the deployment's bucket. Speaks to nobody yet.

        Credentials are found where obstore looks for them: AWS_ variables, or what the machine,
        the container or the service account is given. Raises ValueError.
        """
        assert settings.storage_url is not None
        bucket, _, prefix = settings.storage_url.removeprefix("s3://").partition("/")
        prefix = f"{prefix.strip('/')}/{folder}".strip("/")
        where: S3Config = {}
        client = _CLIENT.copy()
        if settings.storage_endpoint is not None:
            where["endpoint"] = settings.storage_endpoint
            client["allow_http"] = settings.storage_endpoint.startswith("http://")
        if settings.storage_region is not None:
            where["region"] = settings.storage_region
        try:
            return cls(
                S3Store(
                    bucket,
                    prefix=prefix,
                    config=where,
                    client_options=client,
                    retry_config=_RETRIES,
                )
            )
        except BaseError as error:
            raise ValueError(_told(error)) from None

    def put(self, name: str, data: bytes, media_type: str = ANY_BYTES) -> None:
        """Store an object whole or not at all. What reads it by a `link` is told its type."""
        told = {
            "Content-Type": media_type,
            "Content-Disposition": f'inline; filename="{name.rpartition("/")[2]}"',
        }
        with _as_os_errors():
            obstore.put(
                self.store,
                name,
                data,
                attributes=told,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def read(self, name: str) -> bytes:
        """All of an object. Raises FileNotFoundError."""
        with _as_os_errors():
            return bytes(obstore.get(self.store, name).bytes())

    def open(self, name: str) -> BinaryIO:
        """An object to be read in ranges. Raises FileNotFoundError."""
        return io.BufferedReader(_Ranges(self.store, self.look(name)), _READ_BYTES)

    def look(self, name: str) -> Blob:
        """Size and time of an object. Raises FileNotFoundError."""
        with _as_os_errors():
            found = obstore.head(self.store, name)
        return Blob(name, found["size"], found["last_modified"].timestamp())

    def under(self, folder: str = "") -> Iterator[Blob]:
        """The objects below a folder, a thousand with each request."""
        with _as_os_errors():
            for page in obstore.list(self.store, folder or None, chunk_size=1000):
                for found in page:
                    written_at = found["last_modified"].timestamp()
                    yield Blob(found["path"], found["size"], written_at)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, a thousand with each request."""
        if listed := list(names):
            with _as_os_errors():
                obstore.delete(self.store, listed)

    def link(self, name: str, seconds: int) -> str | None:
        """A presigned URL, made here: whether the object exists is not asked."""
        with _as_os_errors():
            return obstore.sign(self.store, "GET", name, timedelta(seconds=seconds))

    def check(self) -> None:
        """Raise OSError if objects can't be written and removed."""
        self.put(_PROBE, b"ok")
        self.remove([_PROBE])


class _Ranges(io.RawIOBase):
    """An object as a file that can seek. Each read is a request of its own, over within seconds:
    nothing is held open for a reader who takes his time."""

    def __init__(self, store: S3Store, blob: Blob) -> None:
        self._store, self._blob = store, blob
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = (0, self._at, self._blob.size_bytes)[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._blob.size_bytes)
        if end <= self._at:
            return 0
        with _as_os_errors():
            data = obstore.get_range(self._store, self._blob.name, start=self._at, end=end)
        buffer[: len(data)] = bytes(data)
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        # As it was inherited it would ask for a few kilobytes at a time.
        return b"".join(iter(partial(self.read, _READ_BYTES), b""))


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except BaseError as error:  # what is not there is a FileNotFoundError by itself
        raise OSError(_told(error)) from None


def _told(error: BaseError) -> str:
    """The first line of what the library says: the others are its own parts."""
    return str(error).partition("\n")[0]
