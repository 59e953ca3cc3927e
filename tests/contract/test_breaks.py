"""What callers of the last release would miss is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from service.breaks import breaks
from service.openapi import RELEASED, main
from tests.contract.test_openapi import DOCUMENT

Change = Callable[[dict[str, Any], dict[str, Any]], object]
JOBS, JOB = "/v1/jobs", "/v1/jobs/{job_id}"
BODY = "StyleAlignedRequest"
NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}

BREAKING: dict[str, Change] = {
    "GET /v1/jobs: is gone": lambda paths, _: paths.pop(JOBS),
    "DELETE /v1/jobs/{job_id}: is gone": lambda paths, _: paths[JOB].pop("delete"),
    "GET /v1/jobs: answers 200 no more": lambda paths, _: paths[JOBS]["get"]["responses"].pop(
        "200"
    ),
    "GET /v1/jobs: has no parameter limit": lambda paths, _: paths[JOBS]["get"].pop("parameters"),
    "GET /v1/jobs: needs the parameter limit": lambda paths, _: [
        parameter.update(required=True) for parameter in paths[JOBS]["get"]["parameters"]
    ],
    "JobView: has no field artifacts": lambda _, of: fields(of, "JobView").pop("artifacts"),
    "JobView: may be without the field error": lambda _, of: of["JobView"]["required"].remove(
        "error"
    ),
    "JobView.status: has no value 'failed'": lambda _, of: fields(of, "JobView")["status"][
        "enum"
    ].remove("failed"),
    "JobView.model: may now be null": lambda _, of: fields(of, "JobView").update(model=NULLABLE),
    "JobNews: has no field error": lambda _, of: fields(of, "JobNews").pop("error"),
    "StyleAlignedRequest: needs the field style": lambda _, of: of[BODY]["required"].append(
        "style"
    ),
    "StyleAlignedRequest: has no field style": lambda _, of: fields(of, BODY).pop("style"),
    "StyleAlignedRequest.seed: can no longer be null": lambda _, of: fields(of, BODY).update(
        seed={"type": "integer"}
    ),
    "Output.format: has no value 'webp'": lambda _, of: fields(of, "Output")["format"][
        "enum"
    ].remove("webp"),
}

HARMLESS: dict[str, Change] = {
    "a new path": lambda paths, _: paths.update({"/v1/new": paths[JOBS]}),
    "a new field of an answer": lambda _, of: fields(of, "JobView").update(new=NULLABLE),
    "a field that is always in an answer": lambda _, of: of["ArtifactView"]["required"].append(
        "width"
    ),
    "a field that a body may have": lambda _, of: fields(of, "Output").update(new=NULLABLE),
    "a value that a body may have": lambda _, of: fields(of, "Output")["format"]["enum"].append(
        "avif"
    ),
}


def fields(schemas: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = schemas[name]["properties"]
    return found


def changed(change: Change) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    change(document["paths"], document["components"]["schemas"])
    return document


@pytest.mark.parametrize("said", BREAKING)
def test_what_callers_would_miss_is_said(said: str) -> None:
    found = breaks(DOCUMENT, changed(BREAKING[said]))
    assert [line for line in found if line.startswith(said)], found


@pytest.mark.parametrize("what", HARMLESS)
def test_what_callers_need_not_know_is_not(what: str) -> None:
    assert breaks(DOCUMENT, changed(HARMLESS[what])) == []


def test_nothing_of_the_last_release_is_missing() -> None:
    found = breaks(json.loads(RELEASED.read_text(encoding="utf-8")), DOCUMENT)
    assert not found, "see openapi/README.md:\n" + "\n".join(found)


def test_the_check_fails_on_a_break_and_a_release_accepts_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    released = tmp_path / "released.json"
    released.write_text(json.dumps(changed(HARMLESS["a new path"])))
    monkeypatch.setattr("service.openapi.RELEASED", released)
    assert main(["--check"]) == 1
    assert "GET /v1/new: is gone" in capsys.readouterr().err
    assert main(["--release"]) == 0
    assert main(["--check"]) == 0
