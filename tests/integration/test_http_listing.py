"""Lists of jobs, page by page, and jobs deleted: over HTTP, with the real record behind it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from redis import Redis

from core.contract.jobs import Artifact, Job
from core.jobs import listing
from core.jobs.record import job_key, owned_key
from core.jobs.store import Claim, JobStore
from core.storage.artifacts import ArtifactStore

NewJob = Callable[..., Job]


def recorded(store: JobStore, new_job: NewJob, count: int, **values: object) -> list[str]:
    """Ids of new jobs a second apart, the newest first."""
    then = datetime.now(UTC)
    ages = ({"created_at": then - timedelta(seconds=age)} for age in range(count))
    jobs = [new_job(**(age | values)) for age in ages]
    for job in jobs:
        store.create(job)
    return [job.id for job in jobs]


def claimed(store: JobStore, job_id: str) -> Claim:
    claim = store.claim(job_id, 30)
    assert claim is not None
    return claim


def listed(client: httpx.Client, **query: str | int) -> list[str]:
    return [job["id"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]


def test_jobs_are_listed_newest_first_with_what_tells_them_apart(
    client: httpx.Client, store: JobStore, new_job: NewJob
) -> None:
    newest = new_job(request={"metadata": {"order": "17"}})
    older = recorded(store, new_job, 2, created_at=newest.created_at - timedelta(days=1))
    store.create(newest)
    assert listed(client) == [newest.id, *sorted(older, reverse=True)]
    shown = client.get("/v1/jobs", params={"limit": 1}).json()["jobs"][0]
    assert (shown["status"], shown["model"]) == ("queued", "tiny-world")
    assert shown["metadata"] == {"order": "17"}
    assert shown["links"] == client.get(f"/v1/jobs/{newest.id}").json()["links"]
    assert "request" not in shown


def test_pages_follow_each_other_without_gap_or_repetition_while_jobs_come_and_go(
    client: httpx.Client, store: JobStore, new_job: NewJob
) -> None:
    jobs = recorded(store, new_job, 250)
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        query = {"limit": "60"} | ({} if cursor is None else {"cursor": cursor})
        page = client.get("/v1/jobs", params=query).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        store.create(new_job())
        # The one the cursor stands on, too, may go.
        claim = claimed(store, seen[-1])
        store.succeed(claim, {})
        store.remove(claim.job)
    assert seen == jobs


def test_jobs_of_one_instant_are_told_apart(
    client: httpx.Client, store: JobStore, new_job: NewJob
) -> None:
    jobs = recorded(store, new_job, 5, created_at=datetime.now(UTC))
    first = client.get("/v1/jobs", params={"limit": 3}).json()
    rest = listed(client, cursor=first["next_cursor"])
    assert [job["id"] for job in first["jobs"]] + rest == sorted(jobs, reverse=True)


def test_filters_leave_out_other_jobs(
    client: httpx.Client, store: JobStore, new_job: NewJob
) -> None:
    running, *queued = recorded(store, new_job, 3)
    other = recorded(store, new_job, 1, technique="another")
    claimed(store, running)
    assert listed(client, status="running") == [running]
    assert set(listed(client, status="queued")) == {*queued, *other}
    assert listed(client, technique="style-aligned") == [running, *queued]
    assert listed(client, status="queued", technique="style-aligned") == queued
    assert listed(client, status="failed") == []


def test_a_rare_status_is_found_over_several_pages_each_of_bounded_work(
    client: httpx.Client, store: JobStore, new_job: NewJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_AT_ONCE", 5)
    monkeypatch.setattr(listing, "_MOST_LOOKED_AT", 10)
    *_, oldest = recorded(store, new_job, 13)
    claimed(store, oldest)
    page = client.get("/v1/jobs", params={"status": "running"}).json()
    assert page["jobs"] == []
    assert listed(client, status="running", cursor=page["next_cursor"]) == [oldest]


def test_expired_jobs_leave_the_list_when_it_is_read(
    client: httpx.Client, store: JobStore, new_job: NewJob, redis: Redis
) -> None:
    kept, expired = recorded(store, new_job, 2)
    redis.delete(job_key(expired))
    assert redis.zcard(owned_key("local")) == 2
    assert listed(client) == [kept]
    assert redis.zcard(owned_key("local")) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"technique": "style"},
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "many"},
        {"cursor": ""},
        {"cursor": "é"},
        {"cursor": "a"},
        {"cursor": base64.urlsafe_b64encode(b"+").decode()},
        {"stauts": "queued"},
    ],
)
def test_a_parameter_that_is_not_valid_is_a_problem_that_names_it(
    client: httpx.Client, query: dict[str, str]
) -> None:
    answer = client.get("/v1/jobs", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert next(iter(query)) in answer.json()["detail"]


def test_a_deleted_job_is_gone_with_its_files_and_from_the_list(
    client: httpx.Client, store: JobStore, files: ArtifactStore, new_job: NewJob, redis: Redis
) -> None:
    (job_id,) = recorded(store, new_job, 1)
    claim = claimed(store, job_id)
    files.put(job_id, 1, "grid.png", b"png")
    grid = Artifact(
        name="grid.png", kind="grid", media_type="image/png", size_bytes=3, sha256="0" * 64
    )
    store.publish(claim, grid)
    store.succeed(claim, {})
    url = client.get(f"/v1/jobs/{job_id}").json()["artifacts"][0]["url"]
    answer = client.delete(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert httpx.get(url).status_code == 404
    assert listed(client) == []
    assert list(files.blobs.under(job_id)) == []
    assert redis.keys("*job*") == []


def test_a_job_that_has_not_ended_is_not_deleted_and_its_state_is_told(
    client: httpx.Client, store: JobStore, new_job: NewJob
) -> None:
    (job_id,) = recorded(store, new_job, 1)
    for state in ("queued", "running"):
        answer = client.delete(f"/v1/jobs/{job_id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert state in answer.json()["detail"]
        store.claim(job_id, 30)
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
