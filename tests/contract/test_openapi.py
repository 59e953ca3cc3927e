"""The OpenAPI document: committed, deterministic, complete, and true of every answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from redis import Redis

from core.catalog import TECHNIQUES
from core.contract.errors import JobError
from core.contract.jobs import Artifact, Job, JobWarning, Progress
from core.contract.webhooks import Delivery
from core.jobs.store import JobStore
from core.jobs.workers import WorkerInfo, announce
from core.storage.artifacts import ArtifactStore
from service.health import Health, Readiness
from service.listing import JobList
from service.models import ModelList
from service.openapi import COMMITTED, main, text
from service.problems import NotReady, Problem
from service.views import JobView
from service.webhooks import DeliveryList, WebhookSecret

DOCUMENT: dict[str, Any] = json.loads(text())
SHAPES: dict[str, type[BaseModel]] = {
    shape.__name__: shape
    for shape in (
        *(JobView, JobList, ModelList, Problem, NotReady, Health, Readiness),
        *(WebhookSecret, DeliveryList, Delivery),
    )
}
BODY = {"prompts": ["a cat"]}
# When waited for, when sent again, and while not final.
SOMETIMES = {"Preference-Applied", "Idempotent-Replayed", "Retry-After"}
NO_JOB = "/v1/jobs/job_00000000000000000000000000000000"


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def check(answer: httpx.Response, operation_id: str) -> None:
    """That `answer` has a status, media type and shape that the document gives it."""
    (operation,) = (op for _, _, op in operations() if op["operationId"] == operation_id)
    documented = operation["responses"].get(str(answer.status_code))
    assert documented, f"{operation_id} does not document {answer.status_code}"
    for name in documented.get("headers", {}):
        assert name in answer.headers or name in SOMETIMES
    if not answer.content:
        assert "content" not in documented
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    content = documented["content"].get(media_type) or documented["content"].get("image/*")
    assert content, f"{operation_id} does not document {media_type}"
    if "$ref" in content["schema"]:
        shape = SHAPES[content["schema"]["$ref"].rpartition("/")[2]]
        # Nothing missing, nothing more, nothing of another type.
        read = shape.model_validate_json(answer.content, strict=True)
        assert json.loads(read.model_dump_json()) == answer.json()


def test_the_committed_document_is_what_the_code_says() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == text(), "run `python -m service.openapi`"


def test_the_document_is_the_same_in_another_process() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "service.openapi", "--print"],
        env={"PYTHONHASHSEED": "1", "ATTENTION_PLEASE_MAX_BODY_BYTES": "5"},
        capture_output=True,
        check=True,
    )
    assert process.stdout.decode() == text()


def test_drift_is_found_and_how_to_mend_it_is_said(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "openapi" / "openapi.json"
    monkeypatch.setattr("service.openapi.COMMITTED", file)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    file.write_text(file.read_text().replace("202", "201"))
    assert main(["--check"]) == 1
    assert "python -m service.openapi" in capsys.readouterr().err


def test_the_service_serves_the_same_document(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == DOCUMENT


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        node: Any = DOCUMENT
        for token in reference.removeprefix("#/").split("/"):
            node = node[token]


def test_every_operation_reads_well() -> None:
    found = {operation["operationId"] for _, _, operation in operations()}
    assert found == {
        "submitAppearanceTransfer",
        "submitAttentionMaps",
        "submitSegmentation",
        "submitStyleAligned",
        "getJob",
        "listJobs",
        "cancelJob",
        "deleteJob",
        "streamJobEvents",
        "getWebhookSecret",
        "listDeliveries",
        "redeliver",
        "getArtifact",
        "getArchive",
        "uploadImage",
        "getImage",
        "deleteImage",
        "listReferences",
        "listModels",
        "getHealth",
        "getReadiness",
        "getMetrics",
    }
    for _, _, operation in operations():
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]


def test_every_failure_is_documented_as_a_problem() -> None:
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            if status == "default" or int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]
        if path.startswith("/v1/"):
            assert "401" in operation["responses"]
    assert "HTTPValidationError" not in DOCUMENT["components"]["schemas"]


def test_every_technique_has_a_typed_body_with_an_example_that_is_accepted(
    client: httpx.Client,
) -> None:
    for technique in TECHNIQUES.values():
        operation = DOCUMENT["paths"][f"/v1/{technique.name}"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        assert name == technique.request.__name__
        described = DOCUMENT["components"]["schemas"][name]
        assert described["additionalProperties"] is False
        for example in described["examples"]:
            assert client.post(f"/v1/{technique.name}", json=example).status_code == 202


def test_keys_are_a_bearer_scheme_and_a_signed_url_needs_none() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for _, path, operation in operations():
        wanted: list[dict[str, list[str]]] = [{"apiKey": []}] if path.startswith("/v1/") else []
        if operation["operationId"] == "getArtifact":
            wanted.append({})
        assert operation.get("security", []) == wanted


def test_submitting_answers_as_documented(client: httpx.Client) -> None:
    path = "/v1/style-aligned"
    check(client.post(path, json=BODY), "submitStyleAligned")
    check(client.post(path, json={}), "submitStyleAligned")
    check(client.post(path, content=b"{"), "submitStyleAligned")
    check(
        client.post(path, content=b"{", headers={"Content-Type": "application/json"}),
        "submitStyleAligned",
    )
    check(client.post(path, json="a" * 1_000_001), "submitStyleAligned")


def test_every_state_of_a_job_answers_as_documented(
    client: httpx.Client, store: JobStore, files: ArtifactStore, new_job: Callable[..., Job]
) -> None:
    job, failed = new_job(), new_job()
    store.create(job)
    store.create(failed)
    path = f"/v1/jobs/{job.id}"
    check(client.get(path), "getJob")
    claim, failing = store.claim(job.id, 30), store.claim(failed.id, 30)
    assert claim
    assert failing
    store.beat(claim, 30, Progress(stage="denoising", step=1, steps=2, fraction=0.5))
    running = client.get(path)
    check(running, "getJob")
    check(client.get(path, headers={"If-None-Match": running.headers["etag"]}), "getJob")
    check(client.post(f"{path}/cancel"), "cancelJob")
    check(client.delete(path), "deleteJob")
    files.put(job.id, 1, "image-000.png", b"png")
    picture = Artifact(
        name="image-000.png",
        kind="image",
        media_type="image/png",
        width=64,
        height=64,
        size_bytes=3,
        sha256="0" * 64,
        metadata={"prompt": "a cat", "seed": 7},
    )
    warning = JobWarning(code="a-warning", detail="Mind this.")
    store.publish(claim, picture)
    store.succeed(claim, {"run_seconds": 1.5, "stages": {"denoising": 1}}, [warning])
    check(httpx.get(client.get(path).json()["artifacts"][0]["url"]), "getArtifact")
    check(client.post(f"{path}/cancel"), "cancelJob")
    store.fail(failing, JobError(code="out-of-memory", detail="Too large.", retryable=False))
    check(client.get(f"/v1/jobs/{failed.id}"), "getJob")
    check(client.get(f"{path}/artifacts.zip"), "getArchive")
    check(client.get(f"/v1/jobs/{failed.id}/artifacts.zip"), "getArchive")
    stream = client.get(f"/v1/jobs/{failed.id}/events")
    check(stream, "streamJobEvents")
    done = {"Last-Event-ID": stream.text.rpartition("id: ")[2].partition("\r")[0]}
    check(client.get(f"/v1/jobs/{failed.id}/events", headers=done), "streamJobEvents")
    check(client.get("/v1/jobs"), "listJobs")
    check(client.get("/v1/jobs?limit=0"), "listJobs")
    check(client.delete(path), "deleteJob")


def test_webhooks_answer_as_documented(
    client: httpx.Client, store: JobStore, new_job: Callable[..., Job]
) -> None:
    check(client.get("/v1/webhook-secret"), "getWebhookSecret")
    job = new_job(request={"webhook": {"url": "https://app.example/", "events": ["job.running"]}})
    store.create(job)
    path = f"/v1/jobs/{job.id}/deliveries"
    check(client.get(path), "listDeliveries")
    store.claim(job.id, 30)
    listed = client.get(path)
    check(listed, "listDeliveries")
    (delivery,) = listed.json()["deliveries"]
    check(client.post(f"{path}/{delivery['id']}/redeliver"), "redeliver")
    check(client.post(f"{path}/msg_0/redeliver"), "redeliver")
    check(client.get(f"{NO_JOB}/deliveries"), "listDeliveries")


def test_what_is_not_there_answers_as_documented(client: httpx.Client) -> None:
    check(client.get(NO_JOB), "getJob")
    check(client.delete(NO_JOB), "deleteJob")
    check(client.get(f"{NO_JOB}/events"), "streamJobEvents")
    check(client.post(f"{NO_JOB}/cancel"), "cancelJob")
    check(client.get(f"{NO_JOB}/artifacts/a.png"), "getArtifact")
    check(client.get(f"{NO_JOB}/artifacts/a.png?sig=0"), "getArtifact")


def test_models_and_health_answer_as_documented(client: httpx.Client, redis: Redis) -> None:
    check(client.get("/healthz"), "getHealth")
    check(client.get("/readyz"), "getReadiness")
    worker = WorkerInfo(
        name="w", pool="default", device="cpu", warm_models=(), since=datetime.now(UTC)
    )
    announce(redis, worker, 30)
    check(client.get("/readyz"), "getReadiness")
    check(client.get("/v1/models"), "listModels")
