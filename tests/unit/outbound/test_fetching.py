from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
import trustme

from core.contract.errors import ImageUnreachable
from core.outbound.addresses import Address
from core.outbound.fetching import Limits, fetch
from core.outbound.guard import Guard, resolved
from core.outbound.rules import Rules
from tests.web import Answer, respond, web_server

LIMITS = Limits(size_bytes=1000, seconds=2.0)
NAME = "pictures.example"


class Names:
    """A look-up that gives each name its addresses, the next time other ones."""

    def __init__(self, **addresses: list[list[str]]) -> None:
        self.addresses = {name.replace("_", "."): given for name, given in addresses.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        given = self.addresses.get(host, [])
        if not given:
            raise OSError("no such name")
        return [ip_address(a) for a in (given.pop(0) if len(given) > 1 else given[0])]


def inside(port: int, names: Callable[[str, int], list[Address]] = resolved) -> Guard:
    """A guard that lets requests through to a server on this machine."""
    return Guard(Rules(http=True, networks=(ip_network("127.0.0.1"),), ports=(port,)), names)


def body_of(answer: Answer, limits: Limits = LIMITS) -> bytes:
    with web_server(answer) as port:
        return fetch(inside(port), f"http://127.0.0.1:{port}/cat.png", limits)


def failure_of(answer: Answer, limits: Limits = LIMITS) -> ImageUnreachable:
    with pytest.raises(ImageUnreachable) as failure:
        body_of(answer, limits)
    return failure.value


def endless(request: BaseHTTPRequestHandler, pause_seconds: float) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b"x" if pause_seconds else b"x" * 65_536)
        time.sleep(pause_seconds)


def test_a_body_is_fetched_without_compression_and_cookies() -> None:
    seen: list[dict[str, str]] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        respond(request, 200, b"picture")

    assert body_of(answer) == b"picture"
    assert seen[0]["accept-encoding"] == "identity"
    assert seen[0]["host"].startswith("127.0.0.1:")
    assert not {"cookie", "authorization", "referer"} & set(seen[0])


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["8.8.8.8", "10.0.0.1"],
        ["2606:4700::1111", "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fd00:ec2::254"],
    ],
)
def test_a_name_with_one_private_address_is_never_connected_to(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.create_connection", connect)
    guard = Guard(Rules(), Names(pictures_example=[addresses]))
    with pytest.raises(ImageUnreachable) as failure:
        fetch(guard, f"https://{NAME}/cat.png", LIMITS)
    unknown = Guard(Rules(), Names())
    with pytest.raises(ImageUnreachable) as other:
        fetch(unknown, f"https://{NAME}/cat.png", LIMITS)
    # What is inside and what does not exist can't be told apart.
    assert failure.value.as_job_error() == other.value.as_job_error()
    assert NAME in failure.value.detail
    assert not any(address in failure.value.detail for address in addresses)


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_checked() -> None:
    names = Names(pictures_example=[["127.0.0.1"], ["127.0.0.2"]])
    with web_server(lambda request: respond(request, 200, b"picture")) as port:
        assert fetch(inside(port, names), f"http://{NAME}:{port}/", LIMITS) == b"picture"
        assert names.asked == [NAME]
        with pytest.raises(ImageUnreachable, match="no public address"):
            fetch(inside(port, names), f"http://{NAME}:{port}/", LIMITS)


def test_every_redirect_is_looked_up_and_checked() -> None:
    names = Names(pictures_example=[["127.0.0.1"]], inner_example=[["127.0.0.2"]])

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/cat.png":
            respond(request, 200, b"picture")
        else:
            respond(request, 302, Location=f"http://inner.example:{port}/cat.png")

    with web_server(answer) as port:
        guard = inside(port, names)
        with pytest.raises(ImageUnreachable) as failure:
            fetch(guard, f"http://{NAME}:{port}/", LIMITS)
        assert names.asked == [NAME, "inner.example"]
        assert "127.0.0.2" not in failure.value.detail
        names.addresses["inner.example"] = [["127.0.0.1"]]
        assert fetch(guard, f"http://{NAME}:{port}/", LIMITS) == b"picture"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://2852039166/",
        "http://10.0.0.1/",
        "file:///etc/passwd",
        "ftp://pictures.example/",
        "//localhost:6379/",
        "http://user:password@pictures.example/",
        "http://pictures.example:22/",
        "http://[",
    ],
)
def test_a_redirect_to_a_forbidden_place_ends_it_and_is_not_told(location: str) -> None:
    failure = failure_of(lambda request: respond(request, 302, Location=location))
    assert not failure.retryable
    assert failure.detail.startswith("127.0.0.1 ")
    assert failure.detail == "127.0.0.1 redirects to where no picture is fetched from."


def test_a_redirect_from_https_to_http_is_refused_where_http_is() -> None:
    with pytest.raises(ValueError, match="https"):
        Rules().checked(
            str(httpx.URL("https://pictures.example/").join("http://pictures.example/"))
        )


def test_a_loop_of_redirects_ends() -> None:
    failure = failure_of(lambda request: respond(request, 307, Location=request.path + "x"))
    assert "more than 5 times" in failure.detail
    assert not failure.retryable


@pytest.mark.parametrize("status", [204, 403, 404])
def test_an_answer_without_a_picture_is_final(status: int) -> None:
    failure = failure_of(lambda request: respond(request, status, b""))
    assert str(status) in failure.detail
    assert not failure.retryable


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_in_trouble_may_be_asked_again(status: int) -> None:
    assert failure_of(lambda request: respond(request, status, b"secret")).retryable


def test_too_large_a_body_is_refused_by_its_header_and_by_its_size() -> None:
    def boasting(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1001")
        request.end_headers()
        time.sleep(60)

    began = time.monotonic()
    assert "more than 1000 bytes" in failure_of(boasting).detail
    assert time.monotonic() - began < 1
    assert "more than 1000 bytes" in failure_of(lambda request: endless(request, 0)).detail
    assert body_of(lambda request: respond(request, 200, b"x" * 1000)) == b"x" * 1000


def test_a_compressed_body_is_refused() -> None:
    failure = failure_of(lambda request: respond(request, 200, b"x", Content_Encoding="gzip"))
    assert "compressed" in failure.detail


def dripping_head(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        request.wfile.write(b"x")
        time.sleep(0.05)


def never_ready(request: BaseHTTPRequestHandler) -> None:
    while True:
        request.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(0.05)


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: time.sleep(30),
        lambda request: endless(request, 0.05),
        dripping_head,
        never_ready,
    ],
)
def test_what_takes_too_long_in_all_ends_though_bytes_keep_coming(answer: Answer) -> None:
    began = time.monotonic()
    failure = failure_of(answer, Limits(size_bytes=1000, seconds=0.5))
    assert time.monotonic() - began < 2
    assert "took too long" in failure.detail
    assert failure.retryable


def test_redirects_share_one_time_limit() -> None:
    def slow(request: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        respond(request, 302, Location="/again")

    began = time.monotonic()
    assert "took too long" in failure_of(slow, Limits(1000, seconds=0.5)).detail
    assert time.monotonic() - began < 1.5


def test_a_look_up_that_hangs_ends_in_time() -> None:
    def hanging(host: str, port: int) -> list[Address]:
        time.sleep(30)
        return []

    began = time.monotonic()
    with pytest.raises(ImageUnreachable, match="took too long"):
        fetch(Guard(Rules(), hanging), f"https://{NAME}/", Limits(1000, seconds=0.3))
    assert time.monotonic() - began < 2


def test_a_look_up_that_fails_for_now_may_be_tried_again() -> None:
    def failing(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with pytest.raises(ImageUnreachable) as failure:
        fetch(Guard(Rules(), failing), f"https://{NAME}/", LIMITS)
    assert failure.value.retryable


def test_of_several_addresses_one_that_answers_is_enough() -> None:
    names = Names(pictures_example=[["127.0.0.9", "127.0.0.1"]])
    with web_server(lambda request: respond(request, 200, b"picture")) as port:
        networks = (ip_network("127.0.0.0/8"),)
        guard = Guard(Rules(http=True, networks=networks, ports=(port,)), names)
        assert fetch(guard, f"http://{NAME}:{port}/", LIMITS) == b"picture"


def test_a_connection_that_breaks_may_be_tried_again() -> None:
    def cut(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100")
        request.end_headers()
        request.wfile.write(b"half")

    def no_http(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"no http at all\r\n\r\n")

    assert failure_of(cut).retryable
    assert failure_of(no_http).retryable


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert body_of(lambda request: respond(request, 200, b"picture")) == b"picture"


@pytest.mark.parametrize(("certified", "fits"), [(NAME, True), ("other.example", False)])
def test_tls_is_verified_for_the_name_though_the_address_is_pinned(
    certified: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(certified).configure_cert(tls)
    names = Names(pictures_example=[["127.0.0.1"]])
    with web_server(lambda request: respond(request, 200, b"picture"), tls) as port:
        guard, url = inside(port, names), f"https://{NAME}:{port}/"
        if fits:
            assert fetch(guard, url, LIMITS) == b"picture"
        else:
            with pytest.raises(ImageUnreachable, match="certificate") as failure:
                fetch(guard, url, LIMITS)
            assert not failure.value.retryable
