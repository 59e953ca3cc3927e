"""Pictures named by their URL: judged by the service, fetched by a worker, named as uploads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from PIL import Image
from rich.console import Console

from cli.local import LocalStack
from core.contract.settings import Settings
from tests.conftest import running_service
from tests.integration.test_http_images import submit
from tests.tiny_models import models_file
from tests.web import respond, web_server


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((80, 64), 90).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


def answer(request: BaseHTTPRequestHandler) -> None:
    if request.path.startswith("/style.png"):
        respond(request, 200, PICTURE, Content_Type="text/plain")
    elif request.path == "/moved":
        respond(request, 302, Location="/style.png")
    elif request.path == "/page":
        respond(request, 200, b"<html>", Content_Type="image/png")
    elif request.path == "/inside":
        respond(request, 302, Location="http://169.254.169.254/latest/meta-data/")
    else:
        respond(request, 503, b"internal secret")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with web_server(answer) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(web: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(
        data_dir=folder / "data",
        models_file=models_file(folder),
        port=0,
        outbound_http=True,
        outbound_networks=(ip_network("127.0.0.0/8"),),
        outbound_ports=(int(web.rpartition(":")[2]),),
    )
    with (
        LocalStack(settings, workers=1, console=Console(quiet=True)) as stack,
        httpx.Client(base_url=stack.url, timeout=70, headers={"Prefer": "wait=60"}) as client,
    ):
        yield client


def transferred(client: httpx.Client, structure: Any, appearance: Any) -> dict[str, Any]:
    body = {"structure": structure, "appearance": appearance, "domain": "cat", "seed": 1}
    body |= {"steps": 6, "skip_steps": 2}
    answer = client.post("/v1/appearance-transfer", json=body)
    job: dict[str, Any] = answer.raise_for_status().json()
    return job


def drawn(client: httpx.Client, image: Any) -> dict[str, Any]:
    body = {"prompts": ["a cat"], "seed": 4, "reference": {"image": image, "prompt": "noise"}}
    job: dict[str, Any] = client.post("/v1/style-aligned", json=body).raise_for_status().json()
    return job


def test_a_job_with_a_url_is_the_same_as_one_with_the_picture_uploaded(
    client: httpx.Client, web: str
) -> None:
    job = drawn(client, {"url": f"{web}/moved"})
    assert job["status"] == "succeeded", job["error"]
    assert "fetching" in job["measures"]["stages"]
    upload = job["request"]["reference"]["image"]
    info = client.get(f"/v1/images/{upload['upload']}").raise_for_status().json()
    assert info["size_bytes"] == len(PICTURE)
    uploaded = client.post("/v1/images", files={"file": ("style.png", PICTURE)}).json()
    assert upload == {"upload": uploaded["id"]}
    again = client.post("/v1/style-aligned", json=job["request"]).raise_for_status().json()
    names = {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}
    assert names == {artifact["name"]: artifact["sha256"] for artifact in again["artifacts"]}
    assert "fetching" not in again["measures"]["stages"]


def test_each_picture_of_a_request_is_fetched_wherever_it_stands(
    client: httpx.Client, web: str
) -> None:
    job = transferred(client, {"url": f"{web}/style.png"}, {"url": f"{web}/style.png?again"})
    assert job["status"] == "succeeded", job["error"]
    assert job["request"]["structure"] == job["request"]["appearance"]
    assert set(job["request"]["structure"]) == {"upload"}


@pytest.mark.parametrize(
    ("path", "code", "retryable"),
    [
        ("/broken", "image-unreachable", True),
        ("/inside", "image-unreachable", False),
        ("/page", "invalid-image", False),
    ],
)
def test_a_picture_that_can_not_be_had_fails_the_job_and_tells_the_host_only(
    client: httpx.Client, web: str, path: str, code: str, retryable: bool
) -> None:
    job = drawn(client, {"url": web + path})
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert job["error"]["retryable"] is retryable
    assert "127.0.0.1" in job["error"]["detail"]
    assert "secret" not in job["error"]["detail"]
    assert "169.254" not in job["error"]["detail"]


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("https://169.254.169.254/latest/meta-data/", "no public address"),
        ("https://2852039166/", "no public address"),
        ("https://localhost/cat.png", "no public address"),
        ("http://pictures.example/cat.png", "https"),
        ("https://user:password@pictures.example/", "password"),
        ("https://pictures.example:6379/", "Port 6379"),
        ("cat.png", "no URL"),
        ("", "text of 1 to 4096 characters"),
    ],
)
def test_a_url_that_leads_nowhere_allowed_is_refused_at_once(
    settings: Settings, url: str, detail: str
) -> None:
    with running_service(settings) as base, httpx.Client(base_url=base) as client:
        refused = submit(client, {"url": url})
        assert submit(client, {"url": "https://pictures.example/cat.png"}).status_code == 202
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    (error,) = refused.json()["errors"]
    assert error["pointer"] == "/reference/image/url"
    assert detail in error["detail"]


def test_where_fetching_is_switched_off_a_url_is_refused_and_uploads_are_named(
    settings: Settings,
) -> None:
    off = settings.model_copy(update={"fetch_images": False})
    with running_service(off) as base, httpx.Client(base_url=base) as client:
        refused = submit(client, {"url": "https://pictures.example/cat.png"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/reference/image"
    assert "Upload it instead" in refused.json()["errors"][0]["detail"]
