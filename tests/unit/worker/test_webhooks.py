"""Webhooks sent to a real receiver."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from core.contract.jobs import Job
from core.contract.settings import Settings
from core.contract.webhooks import Delivery
from core.jobs.store import JobStore
from core.outbound.sending import owner_secret
from core.storage.secret import signing_secret
from tests.web import Answer, respond, web_server
from worker.webhooks import Pace, Webhooks

QUICK = Pace(first_seconds=0.01, tries=3, send_seconds=0.5, lease_seconds=5, look_seconds=0.02)


class Receiver:
    """Keeps what it is sent, and answers as it is told; at last with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[Answer] = []
        self.port = 0

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers.get("content-length", 0)))
        self.got.append((headers, body))
        if self.answers:
            self.answers.pop(0)(request)
        else:
            respond(request, 200)

    def answering(self, *statuses: int) -> None:
        self.answers += [lambda request, s=status: respond(request, s) for status in statuses]  # type: ignore[misc]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with web_server(receiver) as receiver.port:
        yield receiver


@pytest.fixture
def inside(settings: Settings, receiver: Receiver) -> Settings:
    """Settings that let webhooks reach the receiver."""
    return settings.model_copy(
        update={
            "outbound_http": True,
            "outbound_networks": (ip_network("127.0.0.1"),),
            "outbound_ports": (receiver.port,),
        }
    )


@pytest.fixture
def webhooks(inside: Settings) -> Webhooks:
    return Webhooks(inside, QUICK)


@pytest.fixture
def ended(store: JobStore, new_job: Callable[..., Job], receiver: Receiver) -> Job:
    """A job that has succeeded, which its webhook is to be told."""
    hook = {"url": f"http://127.0.0.1:{receiver.port}/hook?a=b", "events": ["job.succeeded"]}
    job = new_job(request={"webhook": hook, "metadata": {"order": "ü7"}})
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim
    store.succeed(claim, {})
    return job


def settled(webhooks: Webhooks, job: Job, seconds: float = 5) -> Delivery:
    """Sends until the job's delivery is settled."""
    give_up_at = time.monotonic() + seconds
    while True:
        webhooks.deliver_next()
        (delivery,) = webhooks.outbox.deliveries(job.id)
        if delivery.status != "pending":
            return delivery
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def codes(delivery: Delivery) -> list[Any]:
    return [one.status_code or one.reason for one in delivery.tries]


def test_a_delivery_can_be_verified_with_the_owners_secret_and_no_other(
    webhooks: Webhooks, ended: Job, receiver: Receiver, inside: Settings
) -> None:
    assert settled(webhooks, ended).status == "delivered"
    ((headers, body),) = receiver.got
    deployment = signing_secret(inside)
    payload = Webhook(owner_secret(deployment, ended.owner)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(owner_secret(deployment, "another")).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(owner_secret(deployment, ended.owner)).verify(body + b" ", headers)
    assert payload == json.loads(body)
    assert (payload["type"], payload["data"]["id"]) == ("job.succeeded", ended.id)
    assert payload["data"]["metadata"] == {"order": "ü7"}
    assert payload["data"]["model"] == ended.request["model"]
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == webhooks.outbox.deliveries(ended.id)[0].id


def test_a_receiver_in_trouble_is_told_again_with_the_same_id_and_body(
    webhooks: Webhooks, ended: Job, receiver: Receiver
) -> None:
    receiver.answering(500, 429)
    delivery = settled(webhooks, ended)
    assert (delivery.status, codes(delivery)) == ("delivered", [500, 429, 200])
    assert len({(headers["webhook-id"], body) for headers, body in receiver.got}) == 1


def test_after_the_last_try_it_is_given_up_and_stays_in_the_log(
    webhooks: Webhooks, ended: Job, receiver: Receiver
) -> None:
    receiver.answering(500, 404, 302, 200)
    delivery = settled(webhooks, ended)
    assert (delivery.status, codes(delivery)) == ("failed", [500, 404, 302])
    webhooks.outbox.again(ended.id, delivery.id)
    delivery = settled(webhooks, ended)
    assert (delivery.status, codes(delivery)[3:]) == ("delivered", [200])


def test_a_receiver_that_is_gone_is_not_tried_again(
    webhooks: Webhooks, ended: Job, receiver: Receiver
) -> None:
    receiver.answering(410)
    delivery = settled(webhooks, ended)
    assert (delivery.status, codes(delivery)) == ("failed", [410])


def test_a_redirect_is_not_followed(webhooks: Webhooks, ended: Job, receiver: Receiver) -> None:
    receiver.answers = [
        lambda request: respond(request, 307, Location="/elsewhere") for _ in range(3)
    ]
    assert codes(settled(webhooks, ended)) == [307, 307, 307]
    assert len(receiver.got) == 3


def test_a_receiver_that_hangs_is_left_in_time(
    webhooks: Webhooks, ended: Job, receiver: Receiver
) -> None:
    receiver.answers = [lambda request: time.sleep(60)]
    delivery = settled(webhooks, ended)
    assert codes(delivery) == ["timeout", 200]
    assert delivery.tries[0].duration_seconds == pytest.approx(0.5, abs=0.4)


@pytest.mark.parametrize("pause_seconds", [0, 0.05])
def test_an_endless_answer_counts_by_its_status(
    webhooks: Webhooks, ended: Job, receiver: Receiver, pause_seconds: float
) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 1000)
            time.sleep(pause_seconds)

    receiver.answers = [endless]
    delivery = settled(webhooks, ended)
    assert codes(delivery) == [200]
    assert delivery.tries[0].duration_seconds < 2


def test_a_receiver_inside_is_never_told_where_that_is_not_allowed(
    settings: Settings, ended: Job, receiver: Receiver
) -> None:
    delivery = settled(Webhooks(settings, QUICK), ended)
    assert (delivery.status, set(codes(delivery))) == ("failed", {"not-allowed"})
    assert receiver.got == []


def test_threads_send_side_by_side_so_that_one_slow_receiver_holds_up_nobody(
    webhooks: Webhooks,
    store: JobStore,
    new_job: Callable[..., Job],
    receiver: Receiver,
) -> None:
    receiver.answers = [lambda request: time.sleep(60)]
    hook = {"url": f"http://127.0.0.1:{receiver.port}/", "events": ["job.canceled"]}
    jobs = [new_job(request={"webhook": hook}) for _ in range(20)]
    for job in jobs:
        store.create(job)
        store.request_cancel(job.id)
    webhooks.start()
    try:
        give_up_at = time.monotonic() + 10
        while any(webhooks.outbox.deliveries(job.id)[0].status == "pending" for job in jobs):
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
    finally:
        began = time.monotonic()
        webhooks.stop()
        webhooks.wait()
    assert time.monotonic() - began < 2
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == len(jobs) + 1
    assert len(set(ids)) == len(jobs)


def test_a_key_whose_receiver_hangs_does_not_keep_others_waiting(
    inside: Settings, store: JobStore, new_job: Callable[..., Job]
) -> None:
    told: list[float] = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/slow":
            time.sleep(60)
        told.append(time.monotonic())
        respond(request, 200)

    def canceled(port: int, path: str, owner: str) -> Job:
        hook = {"url": f"http://127.0.0.1:{port}{path}", "events": ["job.canceled"]}
        job = new_job(request={"webhook": hook}, owner=owner)
        store.create(job)
        store.request_cancel(job.id)
        return job

    pace = Pace(send_seconds=1, slow_seconds=0.5, threads=4, look_seconds=0.02, put_off_seconds=0.2)
    with web_server(answer) as port:
        webhooks = Webhooks(inside.model_copy(update={"outbound_ports": (port,)}), pace)
        for _ in range(40):
            canceled(port, "/slow", "theirs")
        webhooks.start()
        time.sleep(1.3)  # all threads have met the slow receiver once
        began = time.monotonic()
        job = canceled(port, "/", "mine")
        while webhooks.outbox.deliveries(job.id)[0].status != "delivered":
            assert time.monotonic() - began < 10
            time.sleep(0.02)
        webhooks.stop()
        webhooks.wait()
    # Of 40 that wait before it, each four of which would take a second.
    assert time.monotonic() - began < 4


def test_the_tries_span_about_a_day_and_pauses_grow() -> None:
    calm = Pace(spread=0)
    pauses = [calm.pause_after(number) for number in range(1, calm.tries + 1)]
    assert pauses[-1] is None
    seconds = [pause for pause in pauses if pause is not None]
    assert seconds == sorted(seconds)
    assert 20 * 3600 < sum(seconds) < 28 * 3600
    spread = {Pace().pause_after(5) for _ in range(50)}
    assert len(spread) > 10
    assert all(pause and 0.79 < pause / seconds[4] < 1.21 for pause in spread)
