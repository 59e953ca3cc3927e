"""Bad input, over HTTP: what is wrong, what would be accepted, and nothing else."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from core.contract.settings import Settings
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from tests.conftest import running_service

PATH = "/v1/style-aligned"
JSON = {"Content-Type": "application/json"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in `answer`, of which everything that holds for all problems is checked."""
    found: dict[str, Any] = answer.json()
    assert answer.status_code == status == found["status"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["type"] == f"urn:attention-please:problem:{code}"
    assert found["code"] == code
    assert found["instance"].startswith("/")
    assert found["request_id"] == answer.headers["x-request-id"]
    for word in ("pydantic", "Traceback", "StyleAlignedRequest", "site-packages", ".py", "dict"):
        assert word not in answer.text
    return found


def wait_for_line(caplog: pytest.LogCaptureFixture, part: str) -> None:
    """A request's line is written just after its answer."""
    give_up_at = time.monotonic() + 5
    while not any(part in record.message for record in caplog.records):
        assert time.monotonic() < give_up_at, f"no line with {part!r}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "pointer", "accepted"),
    [
        ({}, "/prompts", "list of 1 to 4096 items"),
        ({"prompts": []}, "/prompts", "list of 1 to 4096 items, not 0"),
        ({"prompts": None}, "/prompts", "list of 1 to 4096 items"),
        ({"prompts": "a cat"}, "/prompts", "list of 1 to 4096 items"),
        ({"prompts": [""]}, "/prompts/0", "text of 1 to 2000 characters, or an object"),
        ({"prompts": ["a", "b" * 2001]}, "/prompts/1", "text of 1 to 2000 characters"),
        ({"prompts": ["a", 5]}, "/prompts/1", "or an object with fields of text, seed, negative"),
        ({"prompts": [{"text": ""}]}, "/prompts/0/text", "text of 1 to 2000 characters"),
        ({"prompts": [{}]}, "/prompts/0/text", "required: text of 1 to 2000 characters"),
        ({"prompts": ["a"] * 300}, "/prompts", "1 to 256 items, or more with `dataset`"),
        ({"prompts": ["a"] * 10_000}, "/prompts", "list of 1 to 4096 items, not 10000"),
        ({"prompts": [""] * 10_000}, "/prompts", "list of 1 to 4096 items, not 10000"),
        ({"prompts": ["a"], "promts": 1}, "/promts", "Known here: adapters, control"),
        ({"prompts": ["a"], "sharing": {"a/b~c": 1}}, "/sharing/a~1b~0c", "adain_keys"),
        ({"prompts": ["a"], "x" * 5000: 1}, "", "Known here"),
        ({"prompts": ["a"], "model": "sd9"}, "/model", "Known: tiny-world"),
        ({"prompts": ["a"], "model": 5}, "/model", "text, or null"),
        ({"prompts": ["a"], "sampling": {"width": 65}}, "/sampling/width", "multiple of"),
        ({"prompts": ["a"], "sampling": {"height": 10**6}}, "/sampling/height", "pixels"),
        ({"prompts": ["a"], "sampling": {"steps": "5"}}, "/sampling/steps", "number from 1 to 200"),
        ({"prompts": ["a"], "sampling": {"steps": True}}, "/sampling/steps", "a whole number"),
        ({"prompts": ["a"], "sampling": []}, "/sampling", "an object with fields of steps"),
        ({"prompts": ["a"], "seed": -1}, "/seed", "from 0 to 4294967295"),
        ({"prompts": ["a"], "seed": 10**400}, "/seed", "from 0 to 4294967295"),
        ({"prompts": ["a"], "deadline_seconds": 0}, "/deadline_seconds", "above 0 and at most"),
        ({"prompts": ["a"], "output": {"format": "gif"}}, "/output/format", '"png", "webp"'),
        ({"prompts": ["a"], "output": {"grid": 1}}, "/output/grid", "true or false"),
        ({"prompts": ["a"], "metadata": {"a": 1}}, "/metadata/a", "text of at most 512"),
        ({"prompts": ["a"], "metadata": {"k" * 65: {}}}, "/metadata", "at most 64 characters"),
        ({"prompts": ["a"], "metadata": {"[key]": 1}}, "/metadata/[key]", "text of at most 512"),
        ({"prompts": ["a"], "metadata": dict.fromkeys(map(str, range(33)), "")}, "/metadata", "32"),
        ({"prompts": ["a"], "reference": {"prompt": ""}}, "/reference/prompt", "text of 1 to"),
        ([], "", "an object with fields of model, seed"),
        ("a cat", "", "an object with fields of model, seed"),
    ],
)
def test_bad_input_is_422_and_says_where_and_what_is_accepted(
    client: httpx.Client, queue: JobQueue, body: object, pointer: str, accepted: str
) -> None:
    answer = client.post(PATH, json=body)
    found = problem(answer, 422, "invalid-request")
    assert found["errors"][0]["pointer"] == pointer
    assert accepted in found["errors"][0]["detail"]
    assert len(answer.content) < 2000
    assert queue.waiting() == []


def test_every_fault_is_told_but_not_hundreds(client: httpx.Client) -> None:
    body = {"prompts": [""] * 200, "sampling": {"width": 0}}
    few = problem(client.post(PATH, json=body | {"prompts": ["", "a"]}), 422, "invalid-request")
    assert [e["pointer"] for e in few["errors"]] == ["/prompts/0", "/sampling/width"]
    many = problem(client.post(PATH, json=body), 422, "invalid-request")
    assert len(many["errors"]) == 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"prompts": ["a"]} x',
        b'{"prompts": [NaN]}',
        b'{"prompts": ["a"], "seed": Infinity}',
        b'{"prompts": ["a"], "seed": ' + b"1" * 5000 + b"}",
        b'{"prompts": ["\\ud800"]}',
        b'{"prompts": ["\xff"]}',
        b"[" * 5000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_json_is_400(client: httpx.Client, body: bytes) -> None:
    found = problem(client.post(PATH, content=body, headers=JSON), 400, "malformed-json")
    assert "line 1" in found["detail"]


def test_numbers_beyond_floats_are_refused(client: httpx.Client) -> None:
    body = b'{"prompts": ["a"], "sharing": {"score_shift": 1e999}}'
    found = problem(client.post(PATH, content=body, headers=JSON), 422, "invalid-request")
    assert found["errors"][0]["detail"] == "Expected a number from -20 to 20."


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415(client: httpx.Client, media_type: str) -> None:
    answer = client.post(PATH, content=b"{}", headers={"Content-Type": media_type})
    assert "application/json" in problem(answer, 415, "unsupported-media-type")["detail"]


def test_json_is_taken_by_its_other_names(client: httpx.Client) -> None:
    body = json.dumps({"prompts": ["naïve café 🐈"]}).encode()
    for media_type in ("application/json; charset=utf-8", "application/vnd.api+json"):
        answer = client.post(PATH, content=body, headers={"Content-Type": media_type})
        assert answer.status_code == 202


def test_a_body_over_the_limit_is_413_whether_or_not_it_tells_its_size(
    client: httpx.Client, settings: Settings
) -> None:
    whole = b'"' + b"a" * settings.max_body_bytes + b'"'

    def parts() -> Any:
        for start in range(0, len(whole), 65_536):
            yield whole[start : start + 65_536]

    for content in (whole, parts()):
        answer = client.post(PATH, content=content, headers=JSON)
        assert str(settings.max_body_bytes) in problem(answer, 413, "body-too-large")["detail"]


def test_unknown_addresses_and_methods_are_problems_too(client: httpx.Client) -> None:
    problem(client.get("/v1/nothing/here%20at%20all"), 404, "not-found")
    refused = client.delete(PATH)
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "POST"
    problem(client.get("/v1/jobs/job_%ff%00"), 404, "not-found")


def test_a_given_request_id_is_echoed_and_an_unsafe_one_is_replaced(client: httpx.Client) -> None:
    safe = "trace:7f3a/9.b-2_x=="
    assert client.get("/healthz", headers={"X-Request-Id": safe}).headers["x-request-id"] == safe
    for unsafe in ("a b", "x" * 129, "<script>", ""):
        made = client.get("/healthz", headers={"X-Request-Id": unsafe}).headers["x-request-id"]
        assert made != unsafe
        assert made.startswith("req_")


def test_a_bug_is_500_with_nothing_of_it_outside_and_all_of_it_in_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret inner workings in /srv/code.py")

    monkeypatch.setattr(JobStore, "get", broken)
    with running_service(settings) as url:
        answer = httpx.get(f"{url}/v1/jobs/job_1", headers={"X-Request-Id": "me-1"})
    found = problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert found["request_id"] == "me-1"
    assert "secret inner workings" in caplog.text


def test_a_caller_who_hangs_up_in_the_middle_is_no_failure(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    address = (client.base_url.host, client.base_url.port or 0)
    with caplog.at_level(logging.INFO), socket.create_connection(address) as connection:
        connection.sendall(f'{head}Content-Length: 99\r\n\r\n{{"prompts":'.encode())
        connection.close()
        wait_for_line(caplog, f"POST {PATH} -> None")
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_log_lines_are_one_line_whatever_the_address(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.get("/v1/jobs/a%0d%0aGET%20/forged")
        wait_for_line(caplog, "forged")
    assert not [record for record in caplog.records if "\n" in record.message]


def test_log_lines_never_hold_a_signature(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.get("/v1/jobs/job_1/artifacts/a.png?expires=1&sig=c0ffee")
        wait_for_line(caplog, "/v1/jobs/job_1/artifacts/a.png -> 403")
    # pytest listens to loggers that the service has silenced, so only its own are looked at.
    lines = [record.message for record in caplog.records if record.name.startswith("service")]
    assert not any("c0ffee" in line for line in lines)


def test_a_method_that_is_not_known_is_told_all_that_are(client: httpx.Client) -> None:
    for path, known in (
        ("/v1/jobs/job_1", "HEAD, GET, DELETE"),
        ("/v1/jobs", "HEAD, GET"),
        ("/v1/images", "POST"),
    ):
        assert client.patch(path).headers["allow"] == known


def test_a_form_that_is_none_is_400(client: httpx.Client) -> None:
    broken = b"--b\r\n-2630--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/images", content=broken, headers=headers)
    assert "Content-Type" in problem(answer, 400, "malformed-body")["detail"]


def test_an_upload_that_is_too_large_is_refused_before_it_is_stored(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(60):
            yield b"\0" * 1_000_000

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with suppress(httpx.WriteError):  # it may close the connection on what is still sent
        answer = client.post("/v1/images", content=chunks(), headers=headers)
        problem(answer, 413, "body-too-large")
