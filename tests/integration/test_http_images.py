"""Uploads, and jobs that name them."""

from __future__ import annotations

import base64
import errno
import io
from typing import Any

import httpx
import pytest
from PIL import Image

from core.jobs.store import JobStore
from core.storage import disk


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (9, 99, 199)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def uploaded(client: httpx.Client) -> dict[str, Any]:
    answer = client.post("/v1/images", files={"file": ("any.png", picture())})
    assert answer.status_code == 201
    info: dict[str, Any] = answer.json()
    return info


def submit(client: httpx.Client, image: Any) -> httpx.Response:
    body = {"prompts": ["a cat"], "reference": {"image": image, "prompt": "a house"}}
    return client.post("/v1/style-aligned", json=body)


def test_an_upload_is_described_and_can_be_deleted(
    client: httpx.Client, uploaded: dict[str, Any]
) -> None:
    assert (uploaded["width"], uploaded["height"]) == (30, 20)
    assert client.get(f"/v1/images/{uploaded['id']}").json() == uploaded
    assert client.delete(f"/v1/images/{uploaded['id']}").status_code == 204
    gone = client.get(f"/v1/images/{uploaded['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "not-found")


def test_a_job_names_an_upload(
    client: httpx.Client, uploaded: dict[str, Any], store: JobStore
) -> None:
    answer = submit(client, {"upload": uploaded["id"]})
    assert answer.status_code == 202
    reference = answer.json()["request"]["reference"]
    assert reference == {
        "image": {"upload": uploaded["id"]},
        "prompt": "a house",
        "strength": 2.0,
        "skip": 2,
        "width": 64,
        "height": 64,
        "weight": 1.0,
        "mask": None,
    }
    assert store.get(answer.json()["id"]).request["reference"] == reference


def test_a_picture_inside_a_request_is_stored_and_never_in_the_record(
    client: httpx.Client, store: JobStore
) -> None:
    data = "data:image/png;base64," + base64.b64encode(picture()).decode()
    answer = submit(client, {"data": data})
    assert answer.status_code == 202
    image = store.get(answer.json()["id"]).request["reference"]["image"]
    assert client.get(f"/v1/images/{image['upload']}").json()["width"] == 30


@pytest.mark.parametrize(
    ("image", "pointer"),
    [
        ({"upload": "img_" + 32 * "0"}, "/reference/image"),
        ({"upload": "../secret"}, "/reference/image/upload"),
        ({"data": "data:image/png;base64,AAAA"}, "/reference/image"),
        ({"data": "data:text/html;base64,AAAA"}, "/reference/image/data"),
        ({}, "/reference/image"),
        ("img", "/reference/image"),
    ],
)
def test_a_picture_that_can_not_be_used_is_422(
    client: httpx.Client, image: Any, pointer: str
) -> None:
    answer = submit(client, image)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer.rpartition("/")[0])


@pytest.mark.parametrize("data", [b"", b"<html>", picture()[:40]])
def test_an_upload_that_is_no_picture_is_422(client: httpx.Client, data: bytes) -> None:
    answer = client.post("/v1/images", files={"file": ("cat.png", data)})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-image")


def test_references_are_listed_empty_before_any_job(client: httpx.Client) -> None:
    assert client.get("/v1/references").json() == {"references": []}


def test_a_full_disk_is_503_and_tells_no_path(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/data")

    monkeypatch.setattr(disk, "write_whole", full)
    answer = client.post("/v1/images", files={"file": ("any.png", picture())})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "/srv" not in answer.text
