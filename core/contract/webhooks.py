"""Webhooks: what a request may ask to be told, what is told, and how the telling went.

They follow Standard Webhooks (https://www.standardwebhooks.com): a delivery keeps its id
however often it is tried, and is signed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.contract.errors import JobError
from core.contract.images import MAX_URL_CHARACTERS
from core.contract.jobs import JobStatus

WebhookEvent = Literal["job.running", "job.succeeded", "job.failed", "job.canceled"]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Webhook(BaseModel):
    """Whom to tell of a job, and what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)] = Field(
        description="An https URL at a public address, without user name and password.",
        examples=["https://app.example/hooks/pictures"],
    )
    events: list[WebhookEvent] = Field(
        default=["job.succeeded", "job.failed", "job.canceled"],
        min_length=1,
        max_length=4,
        description="`job.running` is told of each attempt. Default: the end, however it comes.",
    )


class NamedFile(_Frozen):
    """A file of a job in a delivery. Its URL is in the job, which only its owner reads."""

    name: str
    kind: str
    media_type: str
    size_bytes: int
    sha256: str


class JobNews(_Frozen):
    """The job as it was at the event."""

    id: str
    technique: str
    status: JobStatus
    attempt: int
    model: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    metadata: dict[str, str]
    error: JobError | None
    artifacts: tuple[NamedFile, ...]


class WebhookPayload(_Frozen):
    """The body of a delivery."""

    type: WebhookEvent
    timestamp: datetime = Field(description="Of the event, not of the delivery.")
    data: JobNews


class Try(_Frozen):
    """One time that a delivery was sent."""

    at: datetime
    duration_seconds: float
    status_code: int | None = Field(description="What the receiver answered.")
    reason: str | None = Field(
        description="Why no answer came: timeout, connection, tls, protocol, "
        "no-public-address or not-allowed."
    )


class Delivery(_Frozen):
    """One event of a job, told to its webhook."""

    id: str = Field(description="The `webhook-id`, the same in each try.")
    event: WebhookEvent
    status: DeliveryStatus
    created_at: datetime
    next_try_at: datetime | None = Field(description="While pending.")
    tries: tuple[Try, ...]
