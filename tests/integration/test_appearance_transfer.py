"""Appearance transfer over HTTP, end to end: pictures in, pictures out, inverted once."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

PATH = "/v1/appearance-transfer"


def picture(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((90, 60), level).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def body(live: httpx.Client) -> dict[str, Any]:
    upload = live.post("/v1/images", files={"file": ("structure.png", picture(90))}).json()
    inline = "data:image/png;base64," + base64.b64encode(picture(30)).decode()
    return {
        "structure": {"upload": upload["id"]},
        "appearance": {"data": inline},
        "domain": "animal",
        "seed": 4,
        "steps": 6,
        "skip_steps": 2,
    }


def finished(live: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = live.post(PATH, json=body, headers={"Prefer": "wait=60"}).raise_for_status()
    job: dict[str, Any] = answer.json()
    assert job["status"] == "succeeded", job["error"]
    return job


@pytest.mark.timeout(400)
def test_a_job_gives_every_artifact_and_a_second_one_skips_the_inversions(
    live: httpx.Client, body: dict[str, Any]
) -> None:
    first = finished(live, body)
    kinds = {artifact["name"]: artifact["kind"] for artifact in first["artifacts"]}
    assert kinds == {
        "output.png": "output",
        "structure-reconstruction.png": "reconstruction",
        "appearance-reconstruction.png": "reconstruction",
        "structure-mask.png": "mask",
        "appearance-mask.png": "mask",
        "comparison.png": "comparison",
    }
    with Image.open(io.BytesIO(httpx.get(first["artifacts"][0]["url"]).content)) as output:
        assert output.size == (64, 64)
    assert first["request"]["appearance"]["upload"].startswith("img_")
    assert "inverting" in first["measures"]["stages"]
    assert set(first["measures"]["subject_areas"]) == {"structure", "appearance"}
    second = finished(live, first["request"])
    assert "inverting" not in second["measures"]["stages"]
    digests = [[a["sha256"] for a in job["artifacts"]] for job in (first, second)]
    assert digests[0] == digests[1]


@pytest.mark.timeout(400)
def test_a_subject_that_is_not_found_is_a_warning_in_the_job(
    live: httpx.Client, body: dict[str, Any]
) -> None:
    # The domain is beyond the 16 tokens that this model's text encoder reads.
    prompt = "a b c d e f g h i j k l m n o p animal"
    job = finished(live, body | {"prompt": prompt})
    assert job["warnings"][0]["code"] == "mask-empty"
    assert "structure" in job["warnings"][0]["detail"]


def test_what_is_wrong_is_said_at_once(live: httpx.Client, body: dict[str, Any]) -> None:
    wrong = body | {"structure": {"upload": "img_" + 32 * "0"}}
    for sent, pointer in ((wrong, "/structure"), (body | {"domain": ""}, "/domain")):
        answer = live.post(PATH, json=sent)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
