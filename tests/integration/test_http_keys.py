"""API keys: who may see what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import httpx
import pytest

from core.contract.jobs import Artifact, Job
from core.contract.keys import ApiKey
from core.contract.settings import Settings
from core.jobs.store import JobStore
from core.storage.artifacts import ArtifactStore
from tests.conftest import running_service

BODY = {"prompts": ["a cat"]}
ALICE = {"Authorization": "Bearer alice's key"}
BOB = {b"Authorization": "Bearer bob-ключ".encode()}  # a key is its bytes, in UTF-8 here


def api_key(name: str, key: str, **limits: int) -> ApiKey:
    digest = hashlib.sha256(key.encode()).hexdigest()
    return ApiKey.model_validate({"name": name, "sha256": digest} | limits)


KEYS = (api_key("alice", "alice's key"), api_key("bob", "bob-ключ"))


@pytest.fixture
def guarded(settings: Settings) -> Iterator[httpx.Client]:
    with (
        running_service(settings.model_copy(update={"api_keys": KEYS})) as url,
        httpx.Client(base_url=url) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}, {"Authorization": ""}],
)
def test_without_a_known_key_nothing_is_answered_but_401(
    guarded: httpx.Client, headers: dict[str, str]
) -> None:
    for method, path in (
        ("POST", "/v1/style-aligned"),
        ("GET", "/v1/models"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/job_0"),
        ("DELETE", "/v1/jobs/job_0"),
        ("POST", "/v1/jobs/job_0/cancel"),
        ("GET", "/v1/jobs/job_0/events"),
        ("GET", "/v1/jobs/job_0/artifacts.zip"),
        ("GET", "/v1/jobs/job_0/artifacts/image-000.png"),
    ):
        answer = guarded.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"


def test_health_needs_no_key(guarded: httpx.Client) -> None:
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 503


def test_the_owner_of_a_job_is_its_keys_name(guarded: httpx.Client, store: JobStore) -> None:
    job_id = guarded.post("/v1/style-aligned", json=BODY, headers=BOB).json()["id"]
    assert store.get(job_id).owner == "bob"


def test_anothers_job_answers_like_one_that_is_not_there(guarded: httpx.Client) -> None:
    job_id = guarded.post("/v1/style-aligned", json=BODY, headers=ALICE).json()["id"]
    assert guarded.get(f"/v1/jobs/{job_id}", headers=ALICE).status_code == 200
    missing = "job_" + "0" * 32
    assert guarded.get("/v1/jobs", headers=ALICE).json()["jobs"][0]["id"] == job_id
    assert guarded.get("/v1/jobs", headers=BOB).json() == {"jobs": [], "next_cursor": None}
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/cancel"),
        ("GET", "/events"),
        ("GET", "/artifacts.zip"),
        ("GET", "/artifacts/image-000.png"),
    ):
        theirs = guarded.request(method, f"/v1/jobs/{job_id}{path}", headers=BOB)
        none = guarded.request(method, f"/v1/jobs/{missing}{path}", headers=BOB)
        assert theirs.status_code == none.status_code == 404
        assert theirs.json()["detail"].replace(job_id, missing) == none.json()["detail"]


def test_a_file_is_read_with_its_owners_key_or_with_its_signed_url_alone(
    guarded: httpx.Client, store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]
) -> None:
    job = new_job(owner="alice")
    store.create(job)
    claim = store.claim(job.id, 30)
    assert claim is not None
    files.put(job.id, 1, "grid.png", b"png")
    sha256 = hashlib.sha256(b"png").hexdigest()
    grid = Artifact(
        name="grid.png", kind="grid", media_type="image/png", size_bytes=3, sha256=sha256
    )
    store.publish(claim, grid)
    store.succeed(claim, {})
    path = f"/v1/jobs/{job.id}/artifacts/grid.png"
    url = guarded.get(f"/v1/jobs/{job.id}", headers=ALICE).json()["artifacts"][0]["url"]
    assert guarded.get(path, headers=ALICE).content == b"png"
    assert guarded.get(path, headers=BOB).status_code == 404
    assert httpx.get(url).content == b"png"
