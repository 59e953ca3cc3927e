"""Jobs that failed by no fault of their submitters."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from typer.testing import CliRunner

from cli.main import app
from core.contract.errors import Conflict, JobError, NotFound
from core.contract.jobs import Job
from core.jobs.dead import dead, send_again
from core.jobs.queue import JobQueue
from core.jobs.store import JobStore
from core.jobs.tally import tally

Fail = Callable[[str], Job]


@pytest.fixture
def failed(store: JobStore, new_job: Callable[..., Job]) -> Fail:
    """Gives a job that failed with a code."""

    def fail(code: str) -> Job:
        job = new_job(owner="shop", request={"prompts": [f"a {code}"]})
        store.create(job)
        claim = store.claim(job.id, 30)
        assert claim
        store.fail(claim, JobError(code=code, detail="It did not work.", retryable=True))
        return store.get(job.id)

    return fail


def test_the_dead_are_those_whose_submitters_could_not_help_it(
    store: JobStore, failed: Fail
) -> None:
    for code in ("out-of-memory", "image-unreachable", "deadline-exceeded"):
        failed(code)
    assert dead(store) == []
    lost, broken = failed("worker-lost"), failed("internal-error")
    assert dead(store) == [broken, lost]


def test_a_dead_job_is_sent_again_as_another_one(
    store: JobStore, queue: JobQueue, failed: Fail
) -> None:
    lost = failed("worker-lost")
    again = send_again(store, lost.id)
    assert (again.request, again.owner, again.technique) == (
        lost.request,
        lost.owner,
        lost.technique,
    )
    assert queue.waiting() == [again.id]
    assert queue.rq.count == 1
    assert dead(store) == []
    with pytest.raises(Conflict):
        send_again(store, lost.id)


def test_what_has_expired_is_listed_no_more(store: JobStore, failed: Fail, redis: Redis) -> None:
    lost = failed("worker-lost")
    redis.delete(f"attention-please:job:{lost.id}")
    assert dead(store) == []
    with pytest.raises(NotFound):
        send_again(store, lost.id)


def test_an_operator_lists_shows_and_sends_again(
    store: JobStore,
    queue: JobQueue,
    failed: Fail,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", redis_url)
    monkeypatch.setenv("COLUMNS", "200")
    lost = failed("worker-lost")
    assert lost.id in CliRunner().invoke(app, ["jobs", "dead"]).output
    shown = CliRunner().invoke(app, ["jobs", "show", lost.id]).output
    assert json.loads(shown)["request"] == lost.request
    again = CliRunner().invoke(app, ["jobs", "again", lost.id]).output.strip()
    assert queue.waiting() == [again]
    for command in ("show", "again"):
        result = CliRunner().invoke(app, ["jobs", command, "job_0"])
        assert (result.exit_code, "There is no job job_0." in result.output) == (1, True)


def test_without_a_broker_an_operator_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENTION_PLEASE_REDIS_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["jobs", "dead"])
    assert (result.exit_code, "No broker answers" in result.output) == (1, True)


def test_a_job_that_died_is_kept_and_counted_by_the_step_that_ends_it(
    store: JobStore, new_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker goes away, or the process, right after the end of a job."""
    job = new_job()
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim

    def away(*_: Any, **__: Any) -> Any:
        raise RedisConnectionError("away")

    with monkeypatch.context() as broker:
        for command in ("zadd", "hget", "hincrby"):
            broker.setattr(store.redis, command, away)
        with suppress(RedisConnectionError):
            store.fail(claim, JobError(code="worker-lost", detail="Lost.", retryable=True))
    assert [one.id for one in dead(store)] == [job.id]
    assert tally(store.redis).ended == {("style-aligned", "failed"): 1}


def test_the_dead_whose_records_have_expired_are_not_kept_for_ever(
    failed: Fail, redis: Redis
) -> None:
    expired = failed("worker-lost")
    redis.delete(f"attention-please:job:{expired.id}")
    redis.zadd("attention-please:dead", {expired.id: 0})
    kept = failed("worker-lost")
    assert redis.zrange("attention-please:dead", 0, -1) == [kept.id.encode()]
