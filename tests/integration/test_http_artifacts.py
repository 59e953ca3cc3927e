"""Files of jobs: signed URLs, keys, conditional and partial requests."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from core.contract.jobs import Artifact, Job
from core.contract.settings import Settings
from core.jobs.store import JobStore
from core.storage.artifacts import ArtifactStore
from core.storage.secret import signing_secret
from service.signing import signed_query

PIXELS = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(PIXELS).hexdigest()


@pytest.fixture
def job(store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]) -> Job:
    """A job that made one picture."""
    job = new_job()
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim is not None
    files.put(job.id, claim.attempt, "image-000.png", PIXELS)
    artifact = Artifact(
        name="image-000.png",
        kind="image",
        media_type="image/png",
        width=64,
        height=64,
        size_bytes=len(PIXELS),
        sha256=DIGEST,
    )
    store.publish(claim, artifact)
    store.succeed(claim, {"run_seconds": 1.5})
    return store.get(job.id)


@pytest.fixture
def url(client: httpx.Client, job: Job) -> str:
    """The signed URL that the job tells."""
    url: str = client.get(f"/v1/jobs/{job.id}").json()["artifacts"][0]["url"]
    return url


def test_the_signed_url_of_a_job_gives_the_file(url: str) -> None:
    answer = httpx.get(url)
    assert answer.status_code == 200
    assert answer.content == PIXELS
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{DIGEST}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'inline; filename="image-000.png"'
    assert "immutable" in answer.headers["cache-control"]


def test_head_tells_the_size_and_sends_nothing(url: str) -> None:
    answer = httpx.head(url)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(PIXELS))
    assert answer.content == b""


def test_a_file_the_caller_has_is_answered_304(url: str) -> None:
    for tag in (f'"{DIGEST}"', f'"other", W/"{DIGEST}"', "*"):
        answer = httpx.get(url, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
    assert httpx.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "given", "content_range"),
    [
        ("bytes=0-9", PIXELS[:10], "bytes 0-9/256000"),
        ("bytes=255990-", PIXELS[-10:], "bytes 255990-255999/256000"),
        ("bytes=-3", PIXELS[-3:], "bytes 255997-255999/256000"),
        ("bytes=255999-999999", PIXELS[-1:], "bytes 255999-255999/256000"),
    ],
)
def test_a_range_of_bytes_is_answered_206(
    url: str, asked: str, given: bytes, content_range: str
) -> None:
    answer = httpx.get(url, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == given
    assert answer.headers["content-range"] == content_range


@pytest.mark.parametrize("asked", ["bytes=-", "bytes=9-2", "bytes=0-1,5-6", "lines=0-1", "bytes=a"])
def test_a_range_that_can_not_be_read_is_answered_in_full(url: str, asked: str) -> None:
    answer = httpx.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, PIXELS)


def test_a_range_beyond_the_end_is_416_and_tells_the_size(url: str) -> None:
    answer = httpx.get(url, headers={"Range": "bytes=256000-"})
    assert answer.status_code == 416
    assert answer.json()["code"] == "range-not-satisfiable"
    assert answer.headers["content-range"] == "bytes */256000"


def test_a_range_meant_for_another_version_is_answered_in_full(url: str) -> None:
    fresh = httpx.get(url, headers={"Range": "bytes=0-9", "If-Range": f'"{DIGEST}"'})
    stale = httpx.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (fresh.status_code, stale.status_code) == (206, 200)


def test_a_forged_signature_is_403(client: httpx.Client, job: Job, url: str) -> None:
    path, query = urlsplit(url).path, urlsplit(url).query
    expires = query.partition("&")[0]
    for forged in (
        query[:-1] + ("0" if query[-1] != "0" else "1"),
        query.replace("expires=", "expires=9"),
        expires,
        "sig=%C3%A9",
        "expires=" + "9" * 5000 + "&sig=",
    ):
        answer = client.get(f"{path}?{forged}")
        assert answer.status_code == 403
        assert answer.json()["code"] == "forbidden"
        assert answer.headers["content-type"] == "application/problem+json"
    other = client.get(f"/v1/jobs/{job.id}/artifacts/grid.png?{query}")
    assert other.status_code == 403, "a signature is for one file"


def test_an_expired_url_is_410_also_when_the_job_is_gone(
    client: httpx.Client, settings: Settings, job: Job
) -> None:
    secret = signing_secret(settings)
    past = int(time.time()) - 1
    for job_id in (job.id, "job_" + "0" * 32):
        query = signed_query(secret, job_id, "image-000.png", past)
        answer = client.get(f"/v1/jobs/{job_id}/artifacts/image-000.png?{query}")
        assert (answer.status_code, answer.json()["code"]) == (410, "gone")


def test_what_the_job_does_not_have_is_404(client: httpx.Client, job: Job) -> None:
    for path in (
        f"/v1/jobs/{job.id}/artifacts/grid.png",
        f"/v1/jobs/{job.id}/artifacts/..%2f..%2fsigning-secret",
        f"/v1/jobs/{'job_' + '0' * 32}/artifacts/image-000.png",
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["code"] == "not-found"


def test_a_file_that_was_removed_is_410(files: ArtifactStore, job: Job, url: str) -> None:
    files.delete(job.id)
    assert httpx.get(url).status_code == 410


def test_files_of_an_attempt_that_did_not_commit_are_never_seen(
    client: httpx.Client, store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]
) -> None:
    job = new_job()
    store.create(job)
    assert store.claim(job.id, 30) is not None
    files.put(job.id, 1, "image-000.png", PIXELS)
    assert client.get(f"/v1/jobs/{job.id}").json()["artifacts"] == []
    assert client.get(f"/v1/jobs/{job.id}/artifacts/image-000.png").status_code == 404


def test_the_url_works_until_the_job_expires(url: str, job: Job) -> None:
    assert job.expires_at is not None
    assert f"expires={int(job.expires_at.timestamp())}" in url
    week = timedelta(days=7)
    assert abs(job.expires_at - datetime.now(UTC) - week) < timedelta(minutes=1)


def test_the_archive_has_every_file_stored_and_is_the_same_each_time(
    client: httpx.Client, store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]
) -> None:
    job = new_job()
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim is not None
    path = f"/v1/jobs/{job.id}/artifacts.zip"
    none = client.get(path)
    assert (none.status_code, none.json()["code"]) == (404, "not-found")
    contents = {"image-000.png": PIXELS, "metadata.jsonl": b"", "image-001.png": PIXELS[::-1]}
    for name, data in contents.items():
        files.put(job.id, claim.attempt, name, data)
        digest = hashlib.sha256(data).hexdigest()
        made = Artifact(
            name=name, kind="image", media_type="image/png", size_bytes=len(data), sha256=digest
        )
        store.publish(claim, made)
    answer = client.get(path)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{job.id}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert client.get(path).content == answer.content


def test_the_archive_of_removed_files_is_410(
    client: httpx.Client, files: ArtifactStore, job: Job
) -> None:
    files.delete(job.id)
    assert client.get(f"/v1/jobs/{job.id}/artifacts.zip").status_code == 410


def test_an_archive_is_sent_in_small_pieces(client: httpx.Client, job: Job) -> None:
    with client.stream("GET", f"/v1/jobs/{job.id}/artifacts.zip") as answer:
        assert "content-length" not in answer.headers
        assert max(map(len, answer.iter_raw())) <= 1 << 17
