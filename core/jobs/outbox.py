"""What webhooks are still to be told: leased to one sender at a time, kept until it is settled.

A delivery is recorded by the script that changes the job's status (`scripts.MOVE`), and stands
in the outbox, a sorted set, until it was delivered or given up. Its score is when it is due,
or, while someone sends it, when that lease is over: a sender that dies loses nothing. All of
it goes with the job's record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from redis import Redis

from core.contract.errors import NotFound
from core.contract.jobs import Job
from core.contract.webhooks import (
    Delivery,
    DeliveryStatus,
    JobNews,
    NamedFile,
    Try,
    WebhookEvent,
    WebhookPayload,
)
from core.jobs import outbox_scripts as scripts
from core.jobs.record import (
    OUTBOX,
    decode,
    deliveries_key,
    delivery_id,
    job_key,
    published_key,
)

_ID = re.compile(r"msg_(?P<job>[0-9a-f]{32})_(?P<number>[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Leased:
    """A delivery that is this sender's until the lease is over."""

    id: str
    token: str
    job: Job
    payload: WebhookPayload
    tried: int
    """How often it was sent since it was recorded, or since someone asked for it again."""

    @property
    def url(self) -> str:
        return str(self.job.request["webhook"]["url"])


class Outbox:
    """The deliveries in one Redis database."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._lease_script = redis.register_script(scripts.LEASE)
        self._settle_script = redis.register_script(scripts.SETTLE)
        self._put_off_script = redis.register_script(scripts.PUT_OFF)
        self._again_script = redis.register_script(scripts.AGAIN)

    def lease(self, seconds: float) -> Leased | None:
        """Take the delivery that has been due the longest, if one is. Raises RedisError."""
        while leased := self._lease_script(keys=[OUTBOX], args=[seconds]):
            message_id, token = (part.decode() for part in leased)
            job_id, number = _parts(message_id)
            with self.redis.pipeline(transaction=True) as pipe:
                pipe.hgetall(job_key(job_id))
                pipe.hgetall(deliveries_key(job_id))
                pipe.lrange(published_key(job_id), 0, -1)
                fields, kept, files = pipe.execute()
            event = _of(kept, number)
            if b"id" in fields and event:
                # As many files as there were: what is told does not change between tries.
                job = decode(fields, files[: int(event["files"])])
                tried = int(event.get("tried", 0))
                return Leased(message_id, token, job, _payload(job, event), tried)
            self.redis.zrem(OUTBOX, message_id)  # its job has expired
        return None

    def settle(
        self, leased: Leased, sent: Try, status: DeliveryStatus, next_in_seconds: float = 0
    ) -> None:
        """Note a try, and what is to come. One whose lease is another's is noted and no more."""
        job_id, number = _parts(leased.id)
        self._settle_script(
            keys=[deliveries_key(job_id), OUTBOX],
            args=[
                leased.id,
                number,
                leased.token,
                sent.model_dump_json(),
                status,
                next_in_seconds,
            ],
        )

    def put_off(self, leased: Leased, seconds: float) -> None:
        """Give a delivery back unsent."""
        self._put_off_script(keys=[OUTBOX], args=[leased.id, leased.token, seconds])

    def deliveries(self, job_id: str) -> list[Delivery]:
        """Those of a job, in the order of their events; none where it has no webhook."""
        kept = cast(dict[bytes, bytes], self.redis.hgetall(deliveries_key(job_id)))
        events = {n: _of(kept, str(n)) for n in range(1, int(kept.get(b"count", 0)) + 1)}
        if not events:
            return []
        due = self.redis.zmscore(OUTBOX, [delivery_id(job_id, number) for number in events])
        return [
            Delivery(
                id=delivery_id(job_id, number),
                event=cast(WebhookEvent, event["event"]),
                status=cast(DeliveryStatus, event["status"]),
                created_at=_moment(event["at"]),
                next_try_at=None if score is None else _moment(score),
                tries=tuple(map(Try.model_validate_json, event.get("tries", "").splitlines())),
            )
            for (number, event), score in zip(events.items(), due, strict=True)
        ]

    def again(self, job_id: str, message_id: str) -> Delivery:
        """Have a delivery sent once more, whatever became of it. Raises NotFound."""
        missing = NotFound(f"The job has no delivery {message_id[:60]}.")
        if not _ID.fullmatch(message_id) or _parts(message_id)[0] != job_id:
            raise missing
        number = _parts(message_id)[1]
        if not self._again_script(keys=[deliveries_key(job_id), OUTBOX], args=[message_id, number]):
            raise missing
        return next(d for d in self.deliveries(job_id) if d.id == message_id)


def _parts(message_id: str) -> tuple[str, str]:
    """Id of the job, and number of the delivery."""
    found = _ID.fullmatch(message_id)
    assert found is not None
    return f"job_{found['job']}", found["number"]


def _of(kept: Mapping[bytes, bytes], number: str) -> dict[str, str]:
    """The fields of one delivery."""
    prefix = f"{number}:".encode()
    return {
        name.removeprefix(prefix).decode(): value.decode()
        for name, value in kept.items()
        if name.startswith(prefix)
    }


def _payload(job: Job, event: Mapping[str, str]) -> WebhookPayload:
    seen = json.loads(event["seen"])
    files = tuple(NamedFile.model_validate(dict(file)) for file in job.artifacts)
    return WebhookPayload(
        type=cast(WebhookEvent, event["event"]),
        timestamp=_moment(event["at"]),
        data=JobNews(
            id=job.id,
            technique=job.technique,
            model=job.request["model"],
            created_at=job.created_at,
            metadata=job.request["metadata"],
            artifacts=files,
            **seen,
        ),
    )


def _moment(seconds: str | float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)
