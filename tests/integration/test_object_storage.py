"""A deployment whose machines share a broker and a bucket, and no disk."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from core.contract.settings import Settings
from core.storage.places import Places
from tests.buckets import bucket_settings, closed_port
from tests.conftest import running_service
from tests.tiny_models import models_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def settings(broker_url: str, bucket_endpoint: str, folder: Path) -> Settings:
    """Those of the service's machine."""
    return bucket_settings(
        bucket_endpoint,
        redis_url=broker_url,
        data_dir=folder / "service",
        models_file=models_file(folder),
        pool="machines",
    )


@pytest.fixture(scope="module")
def client(settings: Settings, folder: Path) -> Iterator[httpx.Client]:
    """Speaks to a service whose one worker has another data directory."""
    elsewhere = settings.model_copy(update={"data_dir": folder / "worker"})
    with (
        running_service(settings) as url,
        httpx.Client(base_url=url, timeout=70) as client,
        (folder / "worker.log").open("wb") as log,
    ):
        worker = subprocess.Popen(
            [sys.executable, "-m", "worker"],
            env=os.environ | elsewhere.environment(),
            stderr=log,
        )
        try:
            give_up_at = time.monotonic() + 120
            while client.get("/readyz").status_code != 200:
                assert worker.poll() is None, (folder / "worker.log").read_text()
                assert time.monotonic() < give_up_at, client.get("/readyz").text
                time.sleep(0.2)
            yield client
        finally:
            worker.terminate()
            worker.wait()


@pytest.fixture(scope="module")
def upload(client: httpx.Client) -> dict[str, Any]:
    picture = io.BytesIO()
    Image.effect_noise((80, 64), 90).save(picture, "PNG")
    answer = client.post("/v1/images", files={"file": ("style.png", picture.getvalue())})
    info: dict[str, Any] = answer.raise_for_status().json()
    return info


def drawn(client: httpx.Client, reference: dict[str, Any]) -> dict[str, Any]:
    body = {"prompts": ["a cat", "a house"], "seed": 4, "previews": True, "reference": reference}
    answer = client.post("/v1/style-aligned", json=body, headers={"Prefer": "wait=60"})
    job: dict[str, Any] = answer.raise_for_status().json()
    assert job["status"] == "succeeded", job
    return job


@pytest.fixture(scope="module")
def job(client: httpx.Client, upload: dict[str, Any]) -> dict[str, Any]:
    """A job whose reference is the uploaded picture."""
    return drawn(client, {"image": {"upload": upload["id"]}, "prompt": "noise"})


def test_a_picture_that_the_service_took_is_what_the_worker_draws_by(
    client: httpx.Client, upload: dict[str, Any], job: dict[str, Any], settings: Settings
) -> None:
    assert client.get(f"/v1/images/{upload['id']}").json() == upload
    assert "inverting" in job["measures"]["stages"]
    assert {file["name"] for file in job["artifacts"]} >= {"image-000.png", "grid.png"}
    assert not settings.data_dir.exists()
    assert not (settings.data_dir.parent / "worker").exists()


def test_a_signed_url_gives_the_file_and_its_parts_and_needs_no_header(
    job: dict[str, Any],
) -> None:
    for file in job["artifacts"]:
        answer = httpx.get(file["url"])
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
        assert answer.headers["etag"] == f'"{file["sha256"]}"'
        assert answer.headers["content-type"] == file["media_type"]
        assert answer.headers["content-disposition"] == f'inline; filename="{file["name"]}"'
        part = httpx.get(file["url"], headers={"Range": "bytes=5-9"})
        assert (part.status_code, part.content) == (206, answer.content[5:10])
        assert part.headers["content-range"] == f"bytes 5-9/{file['size_bytes']}"
        known = httpx.get(file["url"], headers={"If-None-Match": answer.headers["etag"]})
        assert known.status_code == 304


def test_a_job_that_did_not_change_is_known_by_its_etag(
    client: httpx.Client, job: dict[str, Any]
) -> None:
    first = client.get(f"/v1/jobs/{job['id']}")
    again = client.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_the_archive_has_every_file(client: httpx.Client, job: dict[str, Any]) -> None:
    answer = client.get(f"/v1/jobs/{job['id']}/artifacts.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        digests = {
            name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()
        }
    assert digests == {file["name"]: file["sha256"] for file in job["artifacts"]}


def test_a_reference_that_a_worker_inverted_is_listed_and_may_be_named(
    client: httpx.Client, upload: dict[str, Any], job: dict[str, Any]
) -> None:
    (reference,) = client.get("/v1/references").json()["references"]
    assert (reference["image"], reference["prompt"]) == (upload["id"], "noise")
    named = drawn(client, {"id": reference["id"]})
    assert "inverting" not in named["measures"]["stages"]
    assert [f["sha256"] for f in named["artifacts"]] == [f["sha256"] for f in job["artifacts"]]


def test_a_deployment_may_send_readers_of_signed_urls_on_to_the_bucket(
    settings: Settings, job: dict[str, Any], bucket_endpoint: str
) -> None:
    leading = settings.model_copy(update={"storage_redirect": True})
    with running_service(leading) as url, httpx.Client(base_url=url) as client:
        told = client.get(f"/v1/jobs/{job['id']}")
        assert client.get(f"/v1/jobs/{job['id']}").content == told.content
        file = told.json()["artifacts"][0]
        answer = httpx.get(file["url"])
        assert answer.status_code == 307
        assert answer.headers["location"].startswith(bucket_endpoint)
        assert "X-Amz-Expires=300" in answer.headers["location"]
        assert answer.headers["cache-control"] == "no-store"
        followed = httpx.get(file["url"], follow_redirects=True)
        assert hashlib.sha256(followed.content).hexdigest() == file["sha256"]
        assert followed.headers["content-type"] == file["media_type"]
        part = httpx.get(file["url"], headers={"Range": "bytes=0-3"}, follow_redirects=True)
        assert (part.status_code, part.content) == (206, followed.content[:4])
        known = httpx.get(file["url"], headers={"If-None-Match": f'"{file["sha256"]}"'})
        assert known.status_code == 304
        beyond = httpx.get(file["url"], headers={"Range": "bytes=99999999-"})
        assert beyond.status_code == 416
        assert httpx.head(file["url"]).headers["content-length"] == str(file["size_bytes"])
        by_key = client.get(f"/v1/jobs/{job['id']}/artifacts/{file['name']}")
        assert (by_key.status_code, by_key.content) == (200, followed.content)
        Places.of(settings).artifacts.blobs.remove([f"{job['id']}/1/{file['name']}"])
        assert httpx.get(file["url"]).status_code == 410
        Places.of(settings).artifacts.put(job["id"], 1, file["name"], followed.content)


def test_deleting_a_job_removes_its_files_from_the_bucket(
    client: httpx.Client, upload: dict[str, Any], settings: Settings
) -> None:
    short = drawn(client, {"image": {"upload": upload["id"]}, "prompt": "stripes"})
    blobs = Places.of(settings).artifacts.blobs
    left = {blob.name.rpartition("/")[2] for blob in blobs.under(short["id"])}
    assert left == {file["name"] for file in short["artifacts"]}, "no preview is left"
    client.delete(f"/v1/jobs/{short['id']}").raise_for_status()
    assert [*blobs.under(short["id"])] == []
    assert httpx.get(short["artifacts"][0]["url"]).status_code in (404, 410)


def test_a_bucket_that_does_not_answer_is_503_and_tells_nothing_of_it(
    settings: Settings, job: dict[str, Any]
) -> None:
    away = settings.model_copy(update={"storage_endpoint": f"http://127.0.0.1:{closed_port()}"})
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with running_service(away) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get(f"/v1/jobs/{job['id']}").status_code == 200
        path = f"/v1/jobs/{job['id']}/artifacts"
        for answer in (
            client.get(f"{path}/grid.png"),
            client.get(f"{path}.zip"),
            client.get("/v1/references"),
            client.post("/v1/images", files={"file": ("a.png", picture.getvalue())}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            assert "127.0.0.1" not in answer.text
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "ok")
        assert ready.json()["checks"]["storage"] == "Files can't be written."
