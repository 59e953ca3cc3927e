"""A style from an uploaded picture, end to end: inverted once, used again."""

from __future__ import annotations

import io
from typing import Any

import httpx
import pytest
from PIL import Image
from rich.console import Console

from cli.local import LocalStack
from core.contract.settings import Settings
from tests.tiny_models import models_file


def finished(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/style-aligned", json=body, headers={"Prefer": "wait=60"})
    job: dict[str, Any] = answer.raise_for_status().json()
    assert job["status"] == "succeeded", job["error"]
    return job


def files(job: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["sha256"] for artifact in job["artifacts"]}


@pytest.mark.timeout(400)
def test_a_second_job_with_the_same_reference_skips_the_inversion(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("stack")
    settings = Settings(data_dir=folder / "data", models_file=models_file(folder), port=0)
    picture = io.BytesIO()
    Image.effect_noise((80, 64), 90).save(picture, "PNG")
    with (
        LocalStack(settings, workers=1, console=Console(quiet=True)) as stack,
        httpx.Client(base_url=stack.url, timeout=70) as client,
    ):
        upload = client.post("/v1/images", files={"file": ("style.png", picture.getvalue())})
        body = {
            "prompts": ["a cat", "a house"],
            "seed": 4,
            "reference": {"image": {"upload": upload.json()["id"]}, "prompt": "noise"},
        }
        first = finished(client, body)
        second = finished(client, body)
        stripes = {"image": {"upload": upload.json()["id"]}, "prompt": "stripes"}
        other = finished(client, body | {"reference": stripes})
        references = client.get("/v1/references").json()["references"]
        client.delete(f"/v1/images/{upload.json()['id']}").raise_for_status()
        handle = {"id": references[1]["id"]}
        named = finished(client, body | {"reference": handle})
        sampling = {"steps": references[1]["steps"] + 1}
        clash = client.post(
            "/v1/style-aligned", json=body | {"reference": handle, "sampling": sampling}
        )
        unknown = {"id": "ref_" + 32 * "0"}
        missing = client.post("/v1/style-aligned", json=body | {"reference": unknown})
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
