"""What only a bucket has: links, a server that is away, others' prefixes beside one's own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from core.storage import bucket
from core.storage.bucket import BucketBlobs
from core.storage.places import Places
from tests.buckets import BUCKET, SECRET, bucket_settings, closed_port
from tests.web import respond, web_server


@pytest.fixture
def blobs(bucket_endpoint: str) -> BucketBlobs:
    return BucketBlobs.of(bucket_settings(bucket_endpoint), "files")


def test_a_link_gives_the_bytes_with_their_type_and_name_and_without_credentials(
    blobs: BucketBlobs,
) -> None:
    blobs.put("job/1/image.webp", b"0123456789", "image/webp")
    link = blobs.link("job/1/image.webp", 60)
    assert link
    assert "X-Amz-Expires=60" in link
    assert SECRET not in link
    answer = httpx.get(link, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["content-disposition"] == 'inline; filename="image.webp"'


def test_a_large_blob_that_breaks_off_leaves_what_was_there(bucket_endpoint: str) -> None:
    asked: list[str] = []

    def without_its_second_part(request: BaseHTTPRequestHandler) -> None:
        asked.append(f"{request.command} {request.path.partition('?')[2]}")
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        if "partNumber=2" in request.path:
            respond(request, 403, b"<Error/>")
            return
        answer = httpx.request(
            request.command,
            bucket_endpoint + request.path,
            content=body,
            headers=dict(request.headers.items()),
        )
        etag = {"ETag": answer.headers["etag"]} if "etag" in answer.headers else {}
        respond(request, answer.status_code, answer.content, **etag)

    settings = bucket_settings(bucket_endpoint)
    blobs = BucketBlobs.of(settings, "files")
    blobs.put("a", b"whole")
    with web_server(without_its_second_part) as port:
        broken = settings.model_copy(update={"storage_endpoint": f"http://127.0.0.1:{port}"})
        with pytest.raises(OSError, match=r".+"):
            BucketBlobs.of(broken, "files").put("a", bytes(11_000_000))
    assert any("partNumber=2" in path for path in asked)
    assert any(path.startswith("DELETE uploadId=") for path in asked), "no part is left behind"
    assert blobs.read("a") == b"whole"
    assert [blob.size_bytes for blob in blobs.under()] == [5]


def test_deployments_with_prefixes_of_their_own_do_not_see_each_other(
    bucket_endpoint: str,
) -> None:
    one, other = (bucket_settings(bucket_endpoint) for _ in range(2))
    longer = one.model_copy(update={"storage_url": f"{one.storage_url}-longer"})
    for settings in (one, other, longer):
        Places.of(settings).artifacts.blobs.put("a", b"")
    for settings in (one, other, longer):
        assert [blob.name for blob in Places.of(settings).artifacts.blobs.under()] == ["a"]
        assert [*Places.of(settings).images.blobs.under()] == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_bucket_needs_no_prefix(bucket_endpoint: str, slash: str) -> None:
    settings = bucket_settings(bucket_endpoint).model_copy(
        update={"storage_url": f"s3://{BUCKET}{slash}"}
    )
    blobs = BucketBlobs.of(settings, "files")
    blobs.put("a", b"whole bucket")
    assert blobs.read("a") == b"whole bucket"
    assert "/files/a?" in (blobs.link("a", 60) or "")


def test_a_server_that_is_away_is_an_os_error_that_names_no_secret() -> None:
    blobs = BucketBlobs.of(bucket_settings(f"http://127.0.0.1:{closed_port()}"), "files")
    _fails(blobs)


def test_a_server_that_refuses_is_an_os_error() -> None:
    with web_server(lambda request: respond(request, 403, b"<Error/>")) as port:
        blobs = BucketBlobs.of(bucket_settings(f"http://127.0.0.1:{port}"), "files")
        for call in (lambda: blobs.look("a"), lambda: blobs.read("a"), lambda: [*blobs.under()]):
            with pytest.raises(OSError, match=r".+"):
                call()


def test_a_server_that_is_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bucket._CLIENT, "read_timeout", "100ms")
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    with web_server(silent) as port:
        blobs = BucketBlobs.of(bucket_settings(f"http://127.0.0.1:{port}"), "files")
        with pytest.raises(OSError, match=r".+"):
            blobs.read("a")
        over.set()


def test_a_bucket_that_is_not_there_fails_the_check(bucket_endpoint: str) -> None:
    settings = bucket_settings(bucket_endpoint)
    other = settings.model_copy(update={"storage_url": "s3://another-bucket"})
    with pytest.raises(OSError, match=r".+"):
        Places.of(other).artifacts.check()


def _fails(blobs: BucketBlobs) -> None:
    for call in (
        lambda: blobs.put("a", b""),
        lambda: blobs.put("a", bytes(11_000_000)),
        lambda: blobs.read("a"),
        lambda: blobs.open("a"),
        lambda: blobs.look("a"),
        lambda: [*blobs.under()],
        lambda: blobs.remove(["a"]),
        lambda: blobs.check(),
    ):
        with pytest.raises(OSError, match=r".+") as failed:
            call()
        assert not isinstance(failed.value, FileNotFoundError)
        assert SECRET not in str(failed.value)
