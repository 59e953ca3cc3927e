"""Segmentation over HTTP, end to end: a picture in; segments, masks and numbers out."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from PIL import Image

PATH = "/v1/segmentation"


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.effect_noise((90, 60), 90).save(buffer, "PNG")
    inline = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"image": {"data": inline}, "labels": ["cat"], "seed": 4, "output": {"format": "jpeg"}}


def finished(live: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = live.post(path, json=body, headers={"Prefer": "wait=60"}).raise_for_status()
    job: dict[str, Any] = answer.json()
    assert job["status"] == "succeeded", job["error"]
    return job


@pytest.mark.timeout(400)
def test_a_job_gives_every_artifact_and_a_second_one_skips_the_inversion(
    live: httpx.Client, body: dict[str, Any]
) -> None:
    first = finished(live, PATH, body)
    kinds = {artifact["name"]: artifact["kind"] for artifact in first["artifacts"]}
    assert kinds == {
        "segments.png": "segments",  # exact values, so no JPEG
        "overlay.jpg": "overlay",
        "segments.json": "segments",
        "mask-cat.png": "mask",
        "features.jpg": "features",
    }
    urls = {artifact["name"]: artifact["url"] for artifact in first["artifacts"]}
    with Image.open(io.BytesIO(httpx.get(urls["segments.png"]).content)) as segments:
        assert (segments.mode, segments.size) == ("P", (64, 64))
        numbers = {value for _, value in segments.getcolors() or ()}
    found = httpx.get(urls["segments.json"]).json()
    assert {segment["value"] for segment in found["segments"]} == numbers
    assert len(first["measures"]["segments"]) == len(numbers)
    assert first["request"]["prompt"] == "a cat"
    second = finished(live, PATH, first["request"])
    assert "inverting" not in second["measures"]["stages"]
    digests = [[a["sha256"] for a in job["artifacts"]] for job in (first, second)]
    assert digests[0] == digests[1]


def test_what_is_wrong_is_said_at_once(live: httpx.Client, body: dict[str, Any]) -> None:
    wrong = {"image": {"upload": "img_" + 32 * "0"}}
    unknown = {"prompt": "a cat", "labels": ["dog"]}
    for sent, pointer in ((wrong, "/image"), (unknown, "/labels/0"), ({}, "/prompt")):
        answer = live.post(PATH, json=sent)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_attention_maps_come_as_pictures_and_arrays(live: httpx.Client) -> None:
    asked = {"prompt": "a cat", "queries": [[5, 60]], "seed": 1}
    job = finished(live, "/v1/attention-maps", asked)
    names = [artifact["name"] for artifact in job["artifacts"]]
    assert names == [
        "image.png",
        "heat-cat.png",
        "query-00.png",
        "pca-features-0.png",
        "pca-maps-0.png",
        "maps.npz",
        "overview.png",
    ]


def test_layers_that_the_model_lacks_are_refused_with_the_request(live: httpx.Client) -> None:
    answer = live.post("/v1/attention-maps", json={"prompt": "a cat", "layers": [1, 99]})
    assert answer.status_code == 422
    fault = {"pointer": "/layers/1", "detail": "Expected a layer from 1 to 4, as tiny has."}
    assert answer.json()["errors"] == [fault]


def test_a_style_aligned_job_shows_what_was_seen_of_its_pictures(live: httpx.Client) -> None:
    asked = {"prompts": ["a cat"], "inspect": {"segments": 2}, "seed": 1}
    job = finished(live, "/v1/style-aligned", asked)
    assert [artifact["name"] for artifact in job["artifacts"]] == [
        "reference.png",
        "image-000-heat-cat.png",
        "image-000-segments.png",
        "image-000-overlay.png",
        "image-000.png",
        "grid.png",
    ]
    asked["inspect"] = {"segments": 1, "words": []}
    answer = live.post("/v1/style-aligned", json=asked)
    assert answer.status_code == 422
    pointers = {error["pointer"] for error in answer.json()["errors"]}
    assert pointers == {"/inspect/segments", "/inspect/words"}
