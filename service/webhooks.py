"""Webhooks: the secret to verify them with, how the telling went, and once more."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from core.contract.webhooks import Delivery, WebhookPayload
from core.jobs.outbox import Outbox
from core.outbound.sending import owner_secret
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import JobId, header, problem_responses, with_headers
from service.jobs import owned_job
from service.views import View

router = APIRouter(tags=["Webhooks"])

DeliveryId = Annotated[
    str,
    Path(description="The delivery's id.", examples=["msg_0123456789abcdef0123456789abcdef_1"]),
]


class WebhookSecret(View):
    """What the caller's webhooks are signed with."""

    secret: str = Field(description="For any library of Standard Webhooks.", pattern="^whsec_")


class DeliveryList(View):
    """What a job's webhook was told, or is to be."""

    deliveries: tuple[Delivery, ...] = Field(description="In the order of their events.")


@router.get(
    "/v1/webhook-secret",
    operation_id="getWebhookSecret",
    summary="Read the secret of one's webhooks",
    response_description="The secret.",
    responses=with_headers(200, {"Cache-Control": header("`no-store`.")})
    | problem_responses(401, 503),
)
def get_webhook_secret(backends: WithBackends, caller: Caller, answer: Response) -> WebhookSecret:
    """One for each API key. Deliveries carry `webhook-id`, `webhook-timestamp` and
    `webhook-signature`, by Standard Webhooks."""
    answer.headers["Cache-Control"] = "no-store"
    return WebhookSecret(secret=owner_secret(backends.secret, caller))


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    operation_id="listDeliveries",
    summary="See what a job's webhook was told",
    response_description="Each event, and each time that it was sent.",
    responses=problem_responses(401, 404, 503),
)
def list_deliveries(job_id: JobId, backends: WithBackends, caller: Caller) -> DeliveryList:
    """Kept as long as the job. None where the job has no webhook."""
    owned_job(backends, job_id, caller)
    return DeliveryList(deliveries=tuple(Outbox(backends.redis).deliveries(job_id)))


@router.post(
    "/v1/jobs/{job_id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    summary="Tell a job's webhook once more",
    status_code=202,
    response_description="The delivery, due now.",
    responses=problem_responses(401, 404, 503),
)
def redeliver(
    job_id: JobId, delivery_id: DeliveryId, backends: WithBackends, caller: Caller
) -> Delivery:
    """The same message with the same `webhook-id`, whatever became of it before."""
    owned_job(backends, job_id, caller)
    return Outbox(backends.redis).again(job_id, delivery_id)


told = APIRouter(tags=["Webhooks"])
"""What receivers are sent: in the OpenAPI document only."""


@told.post(
    "job",
    operation_id="tellOfJob",
    summary="What a webhook is told of a job",
    response_class=Response,
    responses={
        200: {"description": "Or any other 2xx: delivered."},
        410: {"description": "Not to be tried again."},
        "default": {"description": "Tried again, after longer and longer pauses, for a day."},
    },
)
def tell_of_job(news: WebhookPayload) -> None:
    """Sent at least once. `webhook-id` is the same in each try, so that a receiver can leave out
    what it has had; `webhook-signature` is to be verified with `GET /v1/webhook-secret`."""
