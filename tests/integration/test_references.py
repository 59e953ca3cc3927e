"""A style from an uploaded picture, end to end: inverted once, used again."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image


def finished(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/style-aligned", json=body, headers={"Prefer": "wait=60"})
    job: dict[str, Any] = answer.raise_for_status().json()
    assert job["status"] == "succeeded", job["error"]
    return job


def files(job: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}


@pytest.mark.timeout(400)
def test_a_second_job_with_the_same_reference_skips_the_inversion(live: httpx.Client) -> None:
    picture = io.BytesIO()
    Image.effect_noise((80, 64), 90).save(picture, "PNG")
    upload = live.post("/v1/images", files={"file": ("style.png", picture.getvalue())})
    body = {
        "prompts": ["a cat", "a house"],
        "seed": 4,
        "reference": {"image": {"upload": upload.json()["id"]}, "prompt": "noise"},
    }
    first = finished(live, body)
    second = finished(live, body)
    stripes = {"image": {"upload": upload.json()["id"]}, "prompt": "stripes"}
    other = finished(live, body | {"reference": stripes})
    references = live.get("/v1/references").json()["references"]
    live.delete(f"/v1/images/{upload.json()['id']}").raise_for_status()
    handle = {"id": references[1]["id"]}
    named = finished(live, body | {"reference": handle})
    sampling = {"steps": references[1]["steps"] + 1}
    clash = live.post("/v1/style-aligned", json=body | {"reference": handle, "sampling": sampling})
    unknown = {"id": "ref_" + 32 * "0"}
    missing = live.post("/v1/style-aligned", json=body | {"reference": unknown})
    assert "inverting" in first["measures"]["stages"]
    assert "inverting" not in second["measures"]["stages"]
    assert files(first) == files(second)
    assert "inverting" in other["measures"]["stages"]
    assert [r["prompt"] for r in references] == ["stripes", "noise"]
    assert references[0]["image"] == upload.json()["id"]
    assert "inverting" not in named["measures"]["stages"]
    assert files(named) == files(first)
    assert named["request"]["reference"]["prompt"] == "noise"
    assert clash.json()["errors"][0]["pointer"] == "/reference/id"
    assert "use as many" in clash.json()["errors"][0]["detail"]
    assert missing.json()["errors"][0]["pointer"] == "/reference/id"
