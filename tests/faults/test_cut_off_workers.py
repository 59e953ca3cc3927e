"""Worker hosts whose network falls silent in the middle of a job.

Each worker is in a network namespace of its own. The one that is cut off lives on, computes on, and
knows of nothing; its files are on the disk that both share. What keeps a job from being done twice
is the record alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.faults.hosts import Fleet, fleet, why_not
from tests.faults.test_killed_workers import fingerprints, in_the_middle, looked_at
from tests.waiting import until

JOB = {"prompts": ["a cat", "a house"], "seed": 4, "sampling": {"steps": 150}}
LEASE_SECONDS = 3.0
REASON = why_not()

pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=f"{REASON}"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), ("one", "two"), LEASE_SECONDS) as made:
        yield made


@pytest.fixture
def client(deployment: Fleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=deployment.url, timeout=30) as client:
        yield client


def submitted(client: httpx.Client) -> dict[str, Any]:
    job: dict[str, Any] = client.post("/v1/style-aligned", json=JOB).raise_for_status().json()
    return job


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    look = partial(looked_at, client, job)
    found: dict[str, Any] = until("the end", lambda: (j := look())["ended_at"] and j, 120)
    return found


def published_files(deployment: Fleet, job: dict[str, Any]) -> int:
    with Redis.from_url(deployment.settings.redis_url) as redis:
        count: int = redis.llen(f"attention-please:job:{job['id']}:published")
        return count


def test_the_job_of_a_host_that_is_cut_off_is_done_once_by_another(
    deployment: Fleet, client: httpx.Client
) -> None:
    undisturbed = ended(client, submitted(client))
    assert undisturbed["status"] == "succeeded"

    job = submitted(client)
    until("the middle of the job", lambda: in_the_middle(client, job))
    before = deployment.alive()
    lost = deployment.busy()
    (other,) = before.keys() - {lost}
    deployment.network.cut(lost)
    cut_at = time.monotonic()
    until("the second attempt", lambda: looked_at(client, job)["attempt"] == 2)
    again_at = time.monotonic()
    done = ended(client, job)
    done_at = time.monotonic()
    print(
        f"lease {LEASE_SECONDS} s: running again {again_at - cut_at:.1f} s after the cut, "
        f"ended {done_at - cut_at:.1f} s after it"
    )
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
    assert fingerprints(done) == fingerprints(undisturbed)
    assert deployment.alive().keys() == {other}, "the broker no longer believes the lost one alive"

    deployment.network.join(lost)
    until("the lost host", lambda: deployment.alive().keys() == {lost, other})
    assert deployment.alive()[lost] == before[lost], "the same process, its models still warm"
    until("its giving up", lambda: not deployment.busy_hosts())
    assert looked_at(client, job) == done, "nothing of the attempt that was cut off came to count"
    assert published_files(deployment, job) == len(done["artifacts"])
    folder = deployment.settings.data_dir / "artifacts" / job["id"]
    until("its tidying up", lambda: [path.name for path in folder.iterdir()] == ["2"])

    # The first host is as good as ever: the other is away now, and idle, so that the call for
    # this job may well have gone to it.
    deployment.network.cut(other)
    next_job = submitted(client)
    done = ended(client, next_job)
    deployment.network.join(other)
    assert (done["status"], fingerprints(done)) == ("succeeded", fingerprints(undisturbed))
    until("both hosts", lambda: deployment.alive().keys() == {lost, other})
    assert all(worker.poll() is None for worker in deployment.workers.values())
