"""What nobody sends by accident. The rest of the list: made-up requests in
tests/contract/test_hostile_requests.py, addresses in tests/unit/outbound, keys and signatures in
test_http_keys.py and test_http_artifacts.py.
"""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable

import httpx
import pytest
from PIL import Image

from core.contract.jobs import Job
from core.contract.settings import Settings
from core.jobs.store import JobStore
from tests.conftest import running_service

PATH = "/v1/style-aligned"
JSON = {"Content-Type": "application/json"}


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, whatever they hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        found += struct.pack(">I", len(data)) + kind + data
        found += struct.pack(">I", zlib.crc32(kind + data))
    return found


def packed(size: int) -> bytes:
    """So many zeros, packed into a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(b"\0" * 2**20) for _ in range(size // 2**20)) + packer.flush()


PLAIN = Image.new("RGB", (9, 7), (9, 99, 199))
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (9, 7))]}

REFUSED = {
    "a bomb of pixels": png(100_000, 100_000, (b"IDAT", packed(2**26))),
    "a bomb of text": png(1, 1, (b"zTXt", b"a\0\0" + packed(2**28)), (b"IDAT", b"")),
    "a bomb of an iCC profile": png(1, 1, (b"iCCP", b"a\0\0" + packed(2**28))),
    "cut off": file_of(Image.effect_noise((64, 64), 50))[:-500],
    "a header alone": png(9, 7),
    "a wrong checksum": file_of(PLAIN).replace(b"IDAT", b"IDAX"),
    "animated PNG": file_of(PLAIN, "PNG", **FRAMES),
    "animated WebP": file_of(PLAIN, "WEBP", **FRAMES),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "HTML": b"<html><script>alert(1)</script></html>",
    "HTML after the first bytes of a PNG": b"\x89PNG\r\n\x1a\n<html></html>",
    "TIFF": file_of(PLAIN, "TIFF"),
    "ICO": file_of(PLAIN, "ICO"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n(%pipe%id) (w) file\n",
    "nothing": b"",
}
TAKEN = {
    "16 bits": file_of(Image.new("I;16", (9, 7), 40_000)),
    "CMYK": file_of(Image.new("CMYK", (9, 7)), "JPEG"),
    "a palette with transparency": file_of(PLAIN.convert("P"), "PNG", transparency=0),
    "grey": file_of(Image.new("L", (9, 7))),
    "one bit": file_of(Image.new("1", (9, 7))),
    "1 x 100 000": file_of(Image.new("L", (1, 100_000))),
    "a PNG with a page behind it": file_of(PLAIN) + b"<html><script>alert(1)</script></html>",
    "a name with a path in it": file_of(PLAIN),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_picture_to_us_is_refused_soon(client: httpx.Client, what: str) -> None:
    started = time.monotonic()
    files = {"file": ("../../cat.png", REFUSED[what], "image/png")}
    answer = client.post("/v1/images", files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-image")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("what", TAKEN)
def test_odd_pictures_are_pictures(client: httpx.Client, what: str) -> None:
    name = "../../../../etc/passwd\r\nX-Forged: 1"
    answer = client.post("/v1/images", files={"file": (name, TAKEN[what], "text/html")})
    assert answer.status_code == 201, answer.text
    body = {
        "prompts": ["a"],
        "reference": {"image": {"upload": answer.json()["id"]}, "prompt": "b"},
    }
    assert client.post(PATH, json=body).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompts": ["a"], "prompts": ["b"]}',
        b'{"prompts": [{"text": "a", "text": "b"}]}',
        b'{"prompts": ["a"], "metadata": {"x": "1", "\\u0078": "2"}}',
    ],
)
def test_a_field_that_is_there_twice_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(PATH, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-json")
    assert "twice" in answer.json()["detail"]


@pytest.mark.parametrize("depth", [150, 300, 100_000])
def test_depth_is_refused_whatever_it_is(client: httpx.Client, depth: int) -> None:
    for left, right in (("[", "]"), ('{"a":', "}")):
        body = left * depth + "1" + right * depth
        answer = client.post(PATH, content=body.encode(), headers=JSON)
        assert answer.status_code in (400, 422)
        assert len(answer.content) < 2000


def test_many_fields_and_long_texts_are_answered_shortly(client: httpx.Client) -> None:
    for body in (
        {f"field-{n}": 1 for n in range(20_000)},
        {"prompts": ["a" * 3_000_000]},
        {"prompts": ["a"] * 100_000},
        {"x" * 1_000_000: 1},
    ):
        started = time.monotonic()
        answer = client.post(PATH, json=body)
        assert answer.status_code == 422
        assert len(answer.content) < 20_000
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2fsigning-secret",
        "%2e%2e/%2e%2e/signing-secret",
        "....//signing-secret",
        "..%5c..%5csigning-secret",
        "%00",
        "grid.png%00.txt",
        "%2fetc%2fpasswd",
        "~root",
        "grid.png/../../signing-secret",
    ],
)
def test_names_of_files_lead_nowhere_else(
    client: httpx.Client, new_job: Callable[..., Job], store: JobStore, name: str
) -> None:
    job = new_job()
    store.create(job)
    for path in (f"/v1/jobs/{job.id}/artifacts/{name}", f"/v1/jobs/{name}", f"/v1/images/{name}"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["code"] == "not-found"


def test_headers_that_were_forged_into_a_value_stay_in_it(client: httpx.Client) -> None:
    metadata = {"a": "1\r\nX-Forged: 1\r\n\r\n<html>", "\x1b[2J": "\x00"}
    answer = client.post(PATH, json={"prompts": ["a\r\nX-Forged: 1"], "metadata": metadata})
    assert answer.status_code == 202
    assert "x-forged" not in answer.headers
    assert answer.json()["request"]["metadata"] == metadata
    again = client.get(answer.headers["location"])
    assert again.json()["request"]["prompts"][0]["text"] == "a\r\nX-Forged: 1"


def raw(client: httpx.Client) -> socket.socket:
    """A connection to the service on which anything can be sent."""
    url = client.base_url
    return socket.create_connection((url.host, url.port or 80), timeout=10)


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/style-aligned HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/style-aligned HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\n Folded: 1\r\nBad\x00Name: 1\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_its_connection_alone(
    client: httpx.Client, request_head: bytes
) -> None:
    with raw(client) as connection:
        connection.sendall(request_head)
        try:
            answer = connection.recv(65_536)
        except ConnectionResetError:
            answer = b""
    assert answer == b"" or answer.split(b" ")[1].startswith(b"4")
    assert b"Traceback" not in answer
    assert client.get("/healthz").status_code == 200


def test_callers_who_send_slowly_keep_nobody_else_waiting(client: httpx.Client) -> None:
    slow = [raw(client) for _ in range(100)]
    for connection in slow:
        connection.sendall(b"POST /v1/style-aligned HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n")
        connection.sendall(b"Content-Type: application/json\r\n\r\n{")
    started = time.monotonic()
    assert client.post(PATH, json={"prompts": ["a"]}).status_code == 202
    assert time.monotonic() - started < 2
    for connection in slow:
        connection.close()


def test_callers_who_leave_in_the_middle_leave_nothing_behind(
    settings: Settings, new_job: Callable[..., Job], store: JobStore
) -> None:
    job = new_job()
    store.create(job)
    body = json.dumps({"prompts": ["a"]}).encode()
    post = (
        b"POST /v1/style-aligned HTTP/1.1\r\nHost: a\r\nPrefer: wait=50\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    stream = f"GET /v1/jobs/{job.id}/events HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with running_service(settings) as url, httpx.Client(base_url=url, timeout=10) as client:
        gone = [raw(client) for _ in range(40)]
        for number, connection in enumerate(gone):
            connection.sendall(post if number % 2 else stream)
        time.sleep(1)
        for connection in gone:
            # With a reset, as a caller that crashed.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.close()
        assert client.get("/v1/jobs").status_code == 200
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5, "the service waits for nobody who has gone"
    assert not [thread for thread in threading.enumerate() if "uvicorn" in thread.name]
