"""The service's calls as methods."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload
from uuid import uuid4

import httpx

from attention_please_client import answers, events, files, requests
from attention_please_client.answers import Job, JobSummary, Progress
from attention_please_client.errors import Unreachable, WaitTimeout, of_job
from attention_please_client.transport import Transport, parsed, path, retry_after

Status = Literal["queued", "running", "succeeded", "failed", "canceled"]
AnyJob = Job | JobSummary | str
"""A job, or its id."""

_POLL_SECONDS = 1.0


class Client:
    """Speaks to one service. Close it, or use it in a `with` block; threads may share it.

    What may succeed later (429, 503, no connection) is tried again for `retry_seconds`, after
    the pause that the service asks for. `timeout` is that of one try, in seconds. Each call
    raises a ServiceProblem, one class a code, or Unreachable.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_seconds: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        # As bytes: a key need not be ASCII.
        headers = {} if api_key is None else {b"Authorization": f"Bearer {api_key}".encode()}
        http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, transport=transport
        )
        self._transport = Transport(http, retry_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.http.close()

    @overload
    def submit(
        self,
        technique: Literal["style-aligned"],
        body: requests.StyleAlignedRequest,
        *,
        idempotency_key: str | None = None,
        wait: int | None = None,
    ) -> Job: ...
    @overload
    def submit(
        self,
        technique: Literal["appearance-transfer"],
        body: requests.AppearanceTransferRequest,
        *,
        idempotency_key: str | None = None,
        wait: int | None = None,
    ) -> Job: ...
    @overload
    def submit(
        self,
        technique: Literal["segmentation"],
        body: requests.SegmentationRequest,
        *,
        idempotency_key: str | None = None,
        wait: int | None = None,
    ) -> Job: ...
    @overload
    def submit(
        self,
        technique: Literal["attention-maps"],
        body: requests.AttentionMapsRequest,
        *,
        idempotency_key: str | None = None,
        wait: int | None = None,
    ) -> Job: ...
    def submit(
        self,
        technique: str,
        body: Any,
        *,
        idempotency_key: str | None = None,
        wait: int | None = None,
    ) -> Job:
        """The job, queued; with `wait`, as it is when it ends or that many seconds (at most 60)
        have passed.

        However often the call is sent, it is one job: it goes with an Idempotency-Key. Give one
        of your own, such as an order's id, to be sure of that across restarts.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        timeout = self._transport.http.timeout
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
            timeout = httpx.Timeout(timeout.connect, read=(timeout.read or 0) + wait)
        answer = self._transport.send(
            "POST", path(technique), json=body, headers=headers, timeout=timeout
        )
        return parsed(Job, answer)

    def job(self, job: AnyJob) -> Job:
        """The job as it is now."""
        return parsed(Job, self._transport.send("GET", _path(job)))

    def jobs(
        self, *, status: Status | None = None, technique: str | None = None, page: int = 100
    ) -> Iterator[JobSummary]:
        """The caller's jobs, the newest first; further pages are asked for as they are needed."""
        wanted = {"status": status, "technique": technique, "limit": page, "cursor": None}
        while True:
            given = {name: value for name, value in wanted.items() if value is not None}
            listed = self._transport.send("GET", path("jobs"), params=given)
            found = parsed(answers.JobList, listed)
            yield from found.jobs
            if found.next_cursor is None:
                return
            wanted["cursor"] = found.next_cursor

    def events(self, job: AnyJob) -> Iterator[events.Event]:
        """A job's events: first how it is, then each change, up to `done`."""
        return events.follow(self._transport, _id(job))

    def wait(
        self,
        job: AnyJob,
        timeout: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Job:
        """The job once it has succeeded. Raises the problem that it ended with otherwise.

        Follows its events; where no stream comes through, asks again and again. Raises
        WaitTimeout after `timeout` seconds, or a few later.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        report = on_progress or _ignore
        try:
            for event in events.follow(self._transport, _id(job), until):
                if event.kind == "progress":
                    report(Progress.model_validate(event.data))
        except Unreachable:
            pass  # whether the service is, will be seen
        ended = self._polled(_id(job), until, report)
        if ended.status != "succeeded":
            raise of_job(ended)
        return ended

    def _polled(self, job_id: str, until: float, report: Callable[[Progress], None]) -> Job:
        while True:
            answer = self._transport.send("GET", _path(job_id), until=until)
            job = parsed(Job, answer)
            if job.ended_at is not None:
                return job
            if job.progress is not None:
                report(job.progress)
            pause = retry_after(answer) or _POLL_SECONDS
            if time.monotonic() + pause > until:
                raise WaitTimeout(f"{job_id} had not ended when the time was up.")
            time.sleep(pause)

    def cancel(self, job: AnyJob) -> Job:
        """Cancel a job: a queued one ends at once, a running one within a step."""
        return parsed(Job, self._transport.send("POST", f"{_path(job)}/cancel"))

    def delete(self, job: AnyJob) -> None:
        """Remove a job that has ended, and its files."""
        self._transport.send("DELETE", _path(job))

    def download(self, job: Job, folder: str | Path) -> list[Path]:
        """Write the job's files into `folder`, each whole and checked by its SHA-256.

        Returns their paths. Raises DamagedDownload too.
        """
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        return [files.download(self._transport, job.id, file, into) for file in job.artifacts]

    def upload(self, picture: str | Path | bytes) -> answers.Image:
        """Store a picture: a file's path, or its bytes. A request names it by
        `{"upload": image.id}`; the same bytes give the same id."""
        data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        sent = self._transport.send("POST", path("images"), files={"file": ("picture", data)})
        return parsed(answers.Image, sent)

    def image(self, image_id: str) -> answers.Image:
        """What is stored of a picture."""
        return parsed(answers.Image, self._transport.send("GET", path("images", image_id)))

    def delete_image(self, image_id: str) -> None:
        """Remove a picture. Jobs that are queued with it will fail."""
        self._transport.send("DELETE", path("images", image_id))

    def references(self) -> list[answers.Reference]:
        """The inverted references, the most recently used first."""
        found = self._transport.send("GET", path("references"))
        return parsed(answers.ReferenceList, found).references

    def models(self) -> answers.ModelList:
        """The models, what they can do, and which is the default."""
        return parsed(answers.ModelList, self._transport.send("GET", path("models")))

    def deliveries(self, job: AnyJob) -> list[answers.Delivery]:
        """What the job's webhook was told, and each time that it was sent."""
        found = self._transport.send("GET", f"{_path(job)}/deliveries")
        return parsed(answers.DeliveryList, found).deliveries

    def redeliver(self, job: AnyJob, delivery_id: str) -> answers.Delivery:
        """Have a delivery sent once more."""
        where = path("jobs", _id(job), "deliveries", delivery_id, "redeliver")
        return parsed(answers.Delivery, self._transport.send("POST", where))

    def webhook_secret(self) -> str:
        """What this key's webhooks are signed with, for any library of Standard Webhooks."""
        found = self._transport.send("GET", path("webhook-secret"))
        return parsed(answers.WebhookSecret, found).secret


def _id(job: AnyJob) -> str:
    return job if isinstance(job, str) else job.id


def _path(job: AnyJob) -> str:
    return path("jobs", _id(job))


def _ignore(_progress: Progress) -> None:
    pass
