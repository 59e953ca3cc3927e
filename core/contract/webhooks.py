"""Webhooks: what a request may ask to be told, what is told, and how the telling went.

They follow Standard Webhooks (https://www.standardwebhooks.com): a delivery keeps its id
however often it is tried, and is signed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.contract import jobs
from core.contract.errors import JobError
from core.contract.images import MAX_URL_CHARACTERS

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

    name: str = Field(description="Of the file; unique in its job.")
    kind: str = Field(description="As in the job.")
    media_type: str = Field(description="Such as `image/png`.")
    size_bytes: int = Field(description="Of the file.")
    sha256: str = Field(description="Of the file, lower-case hexadecimal.")


class JobNews(_Frozen):
    """The job as it was at the event."""

    id: jobs.Id
    technique: jobs.TechniqueName
    status: jobs.Status
    attempt: jobs.Attempt
    model: jobs.ModelName
    created_at: jobs.CreatedAt
    started_at: jobs.StartedAt
    ended_at: jobs.EndedAt
    expires_at: jobs.ExpiresAt
    metadata: jobs.Metadata
    error: JobError | None = Field(description="Why it failed.")
    artifacts: tuple[NamedFile, ...] = Field(description="Those finished so far.")


class WebhookPayload(_Frozen):
    """The body of a delivery."""

    type: WebhookEvent = Field(description="What happened.")
    timestamp: datetime = Field(description="Of the event, not of the delivery.")
    data: JobNews


class Try(_Frozen):
    """One time that a delivery was sent."""

    at: datetime = Field(description="When it was sent.")
    duration_seconds: float = Field(description="Until the answer, or until none came.")
    status_code: int | None = Field(description="What the receiver answered.")
    reason: str | None = Field(
        description="Why no answer came: timeout, connection, tls, protocol, "
        "no-public-address or not-allowed."
    )


class Delivery(_Frozen):
    """One event of a job, told to its webhook."""

    id: str = Field(description="The `webhook-id`, the same in each try.")
    event: WebhookEvent = Field(description="What the webhook is told.")
    status: DeliveryStatus = Field(description="`pending` until it is delivered or given up.")
    created_at: datetime = Field(description="When the event happened.")
    next_try_at: datetime | None = Field(description="While pending.")
    tries: tuple[Try, ...] = Field(description="Each time that it was sent, the first one first.")
