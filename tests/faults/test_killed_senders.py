"""The process that sends webhooks killed with SIGKILL between a send and its record."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network

from core.contract.jobs import Job
from core.contract.settings import Settings
from core.jobs.outbox import Outbox
from core.jobs.store import JobStore
from tests.waiting import until
from tests.web import respond, web_server

SENDER = """
import threading
from core.contract.settings import Settings
from worker.webhooks import Pace, Webhooks
Webhooks(Settings(), Pace(lease_seconds=1, look_seconds=0.05)).start()
threading.Event().wait()
"""


def test_what_a_killed_sender_had_sent_is_sent_again_with_the_same_id(
    settings: Settings, store: JobStore, new_job: Callable[..., Job]
) -> None:
    got: list[tuple[str, bytes]] = []
    killed = threading.Event()

    def receive(request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["content-length"])
        got.append((request.headers["webhook-id"], request.rfile.read(length)))
        if len(got) == 1:
            killed.wait(30)  # it has been received, but its sender never learns so
        respond(request, 200)

    with web_server(receive) as port:
        allowed = settings.model_copy(
            update={
                "outbound_http": True,
                "outbound_networks": (ip_network("127.0.0.1"),),
                "outbound_ports": (port,),
            }
        )
        hook = {"url": f"http://127.0.0.1:{port}/", "events": ["job.canceled"]}
        job = new_job(request={"webhook": hook})
        store.create(job)
        store.request_cancel(job.id)
        command = [sys.executable, "-c", SENDER]
        environment = os.environ | allowed.environment()
        with (
            subprocess.Popen(command, env=environment) as first,
        ):
            until("the first send", lambda: got)
            first.kill()
        killed.set()
        assert Outbox(store.redis).deliveries(job.id)[0].tries == ()
        with subprocess.Popen(command, env=environment) as second:
            outbox = Outbox(store.redis)
            until("the delivery", lambda: outbox.deliveries(job.id)[0].status == "delivered", 20)
            second.kill()
    assert len(got) == 2
    assert got[0] == got[1]
