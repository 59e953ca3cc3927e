"""Webhooks over HTTP: what is refused at once, what is shown, and one told end to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from rich.console import Console
from standardwebhooks import Webhook

from cli.local import LocalStack
from core.contract.jobs import Job
from core.contract.settings import Settings
from core.jobs.store import JobStore
from core.storage.pictures import read_recipe
from tests.conftest import running_service
from tests.integration.test_http_keys import api_key
from tests.tiny_models import models_file
from tests.web import respond, web_server

PATH = "/v1/style-aligned"
FINAL = ["job.succeeded", "job.failed", "job.canceled"]


def submit(client: httpx.Client, **webhook: Any) -> httpx.Response:
    return client.post(PATH, json={"prompts": ["a cat"], "webhook": webhook})


def test_a_webhook_is_told_of_the_end_unless_it_asks_for_more(client: httpx.Client) -> None:
    answer = submit(client, url="https://app.example/hook")
    assert answer.status_code == 202
    assert answer.json()["request"]["webhook"] == {
        "url": "https://app.example/hook",
        "events": FINAL,
    }


@pytest.mark.parametrize(
    ("webhook", "pointer", "detail"),
    [
        ({"url": "http://app.example/"}, "/webhook/url", "https"),
        ({"url": "https://127.0.0.1/"}, "/webhook/url", "no public address"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "/webhook/url", "no public address"),
        ({"url": "https://user:password@app.example/"}, "/webhook/url", "password"),
        ({"url": "https://app.example:25/"}, "/webhook/url", "Port 25"),
        ({"url": 5}, "/webhook/url", "text"),
        ({}, "/webhook/url", "required"),
        ({"url": "https://app.example/", "events": []}, "/webhook/events", "1 to 4"),
        ({"url": "https://app.example/", "events": ["job.done"]}, "/webhook/events/0", "one of"),
        ({"url": "https://app.example/", "secret": "s"}, "/webhook/secret", "no such field"),
    ],
)
def test_a_webhook_that_can_not_be_told_is_refused_at_once(
    client: httpx.Client, webhook: dict[str, Any], pointer: str, detail: str
) -> None:
    refused = submit(client, **webhook)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-request")
    (error,) = refused.json()["errors"]
    assert error["pointer"] == pointer
    assert detail in error["detail"]


def test_where_webhooks_are_switched_off_none_is_taken(settings: Settings) -> None:
    off = settings.model_copy(update={"send_webhooks": False})
    with running_service(off) as base, httpx.Client(base_url=base) as client:
        refused = submit(client, url="https://app.example/hook")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/webhook")


def test_deliveries_are_shown_and_can_be_asked_for_again(
    client: httpx.Client, store: JobStore, new_job: Callable[..., Job]
) -> None:
    hook = {"url": "https://app.example/", "events": ["job.canceled"]}
    job = new_job(request={"webhook": hook})
    store.create(job)
    path = f"/v1/jobs/{job.id}/deliveries"
    assert client.get(path).json() == {"deliveries": []}
    client.post(f"/v1/jobs/{job.id}/cancel").raise_for_status()
    (delivery,) = client.get(path).json()["deliveries"]
    assert (delivery["event"], delivery["status"], delivery["tries"]) == (
        "job.canceled",
        "pending",
        [],
    )
    again = client.post(f"{path}/{delivery['id']}/redeliver")
    assert (again.status_code, again.json()["id"]) == (202, delivery["id"])
    assert client.post(f"{path}/{delivery['id']}x/redeliver").json()["code"] == "not-found"
    client.delete(f"/v1/jobs/{job.id}").raise_for_status()
    assert client.get(path).status_code == 404


def test_each_key_has_its_own_secret_and_sees_its_own_deliveries(
    settings: Settings, store: JobStore, new_job: Callable[..., Job]
) -> None:
    keys = (api_key("me-and-mine", "mine"), api_key("you", "yours"))
    keyed = settings.model_copy(update={"api_keys": keys})
    hook = {"url": "https://app.example/", "events": ["job.canceled"]}
    job = new_job(request={"webhook": hook}, owner="me-and-mine")
    store.create(job)
    store.request_cancel(job.id)
    path = f"/v1/jobs/{job.id}/deliveries"
    mine, yours = ({"Authorization": f"Bearer {key}"} for key in ("mine", "yours"))
    with running_service(keyed) as base, httpx.Client(base_url=base) as client:
        (delivery,) = client.get(path, headers=mine).json()["deliveries"]
        again = f"{path}/{delivery['id']}/redeliver"
        answers = [
            client.get(path, headers=yours),
            client.post(again, headers=yours),
            client.get(path),
            client.post(again),
            client.get("/v1/webhook-secret"),
        ]
        secrets = [client.get("/v1/webhook-secret", headers=who) for who in (mine, mine, yours)]
    assert [answer.status_code for answer in answers] == [404, 404, 401, 401, 401]
    first, second, other = (answer.json()["secret"] for answer in secrets)
    assert first == second != other
    assert first.startswith("whsec_")
    assert secrets[0].headers["cache-control"] == "no-store"


@pytest.mark.timeout(300)
def test_a_job_that_ran_is_told_signed_and_its_log_shows_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    got: list[tuple[dict[str, str], bytes]] = []

    def receive(request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        got.append((headers, request.rfile.read(int(headers["content-length"]))))
        respond(request, 204)

    folder = tmp_path_factory.mktemp("stack")
    with web_server(receive) as port:
        settings = Settings(
            data_dir=folder / "data",
            models_file=models_file(folder),
            port=0,
            outbound_http=True,
            outbound_networks=(ip_network("127.0.0.1"),),
            outbound_ports=(port,),
        )
        hook = {"url": f"http://127.0.0.1:{port}/hook", "events": ["job.running", *FINAL]}
        with (
            LocalStack(settings, workers=2, console=Console(quiet=True)) as stack,
            httpx.Client(base_url=stack.url, timeout=70) as client,
        ):
            body = {"prompts": ["a cat"], "webhook": hook, "metadata": {"order": "7"}}
            answer = client.post(PATH, json=body, headers={"Prefer": "wait=60"})
            job = answer.raise_for_status().json()
            give_up_at = time.monotonic() + 20
            while len(got) < 2 and time.monotonic() < give_up_at:
                time.sleep(0.05)
            time.sleep(1)
            recipe = read_recipe(httpx.get(job["artifacts"][0]["url"]).content)
            secret = client.get("/v1/webhook-secret").json()["secret"]
            listed = client.get(f"/v1/jobs/{job['id']}/deliveries").json()["deliveries"]
    told = {headers["webhook-id"]: Webhook(secret).verify(body, headers) for headers, body in got}
    assert len(told) == len(got) == 2
    assert [delivery["event"] for delivery in listed] == ["job.running", "job.succeeded"]
    assert {delivery["status"] for delivery in listed} == {"delivered"}
    assert [[one["status_code"] for one in delivery["tries"]] for delivery in listed] == [[204]] * 2
    data = told[listed[1]["id"]]["data"]
    assert (data["id"], data["status"], data["attempt"]) == (job["id"], "succeeded", 1)
    assert data["ended_at"] == job["ended_at"]
    shown = [(a["name"], a["sha256"], a["size_bytes"]) for a in job["artifacts"]]
    assert [(a["name"], a["sha256"], a["size_bytes"]) for a in data["artifacts"]] == shown
    assert "url" not in data["artifacts"][0]
    assert "request" not in data
    # Whom to tell is the caller's own, and no part of a picture that goes on to others.
    assert recipe
    assert "webhook" not in recipe["request"]
