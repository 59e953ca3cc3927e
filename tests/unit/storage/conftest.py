"""Both places where blobs lie, for the tests that hold of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.storage.blobs import Blobs
from core.storage.bucket import BucketBlobs
from core.storage.disk import DiskBlobs
from tests.buckets import bucket_settings


@pytest.fixture(params=["disk", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """A folder of nothing, on a disk and in a bucket."""
    if request.param == "disk":
        return DiskBlobs(tmp_path / "files")
    return BucketBlobs.of(bucket_settings(request.getfixturevalue("bucket_endpoint")), "files")
