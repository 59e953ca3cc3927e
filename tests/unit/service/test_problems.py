"""Codes and their statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from redis.exceptions import RedisError

from core.contract.errors import AttentionPleaseError, JobError
from service.problems import STATUSES, broker_is_away, of_job


def errors(base: type[AttentionPleaseError]) -> Iterator[type[AttentionPleaseError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == base.__module__:
            yield from errors(derived)


@pytest.mark.parametrize("error", list(errors(AttentionPleaseError)), ids=lambda error: error.code)
def test_every_code_has_a_status(error: type[AttentionPleaseError]) -> None:
    assert error.code in STATUSES


def wrong_command(redis: Redis) -> None:
    redis.execute_command("NOTHING")  # type: ignore[no-untyped-call]


def wrong_script(redis: Redis) -> None:
    redis.eval("return nothing()", 0)


def wrong_type_in_a_pipeline(redis: Redis) -> None:
    redis.set("key", "text")
    with redis.pipeline() as pipe:
        pipe.lpush("key", "entry")
        pipe.execute()


def no_replicas_in_a_pipeline(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", 1)
    try:
        with redis.pipeline() as pipe:
            pipe.set("key", "text")
            pipe.execute()
    finally:
        redis.config_set("min-replicas-to-write", 0)


def no_rights(redis: Redis) -> None:
    redis.acl_setuser("weak", enabled=True, passwords=["+pw"], commands=["+ping"])
    port = redis.get_connection_kwargs()["port"]
    Redis(port=port, username="weak", password="pw").get("key")


@pytest.mark.parametrize(
    ("fails", "away"),
    [
        (wrong_command, False),
        (wrong_script, False),
        (wrong_type_in_a_pipeline, False),
        (no_replicas_in_a_pipeline, True),
        (no_rights, True),
    ],
)
def test_a_broker_that_refuses_for_a_reason_of_its_own_is_away_and_a_wrong_command_is_ours(
    redis: Redis, fails: Callable[[Redis], None], away: bool
) -> None:
    with pytest.raises(RedisError) as raised:
        fails(redis)
    assert broker_is_away(raised.value) == away


def test_a_code_that_a_newer_worker_wrote_can_still_be_shown() -> None:
    newer = JobError(code="from-the-future", detail="What happened.", retryable=True)
    problem = of_job(newer, "/v1/jobs/job_1")
    assert (problem.code, problem.status, problem.retryable) == ("from-the-future", 500, True)
