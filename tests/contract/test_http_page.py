"""docs/http.md: every command is run, and every operation of the document has one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from core.contract.settings import Settings
from tests.conftest import running_service
from tests.contract.test_hostile_requests import worker  # noqa: F401
from tests.contract.test_openapi import DOCUMENT, operations
from tests.integration.test_http_keys import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
# Notes what each command asked for and how it was answered, in the order of the page.
NOTING = """
curl() { command curl --max-time 60 -w '%{stderr}%{method} %{url_effective} %{http_code}\\n' \
    "$@" 2>> calls; }
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.usefixtures("worker")
def test_every_command_of_the_page_is_answered_as_the_page_says(
    settings: Settings, tmp_path: Path
) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "style.png")
    with running_service(settings.model_copy(update={"api_keys": KEYS})) as url:
        run = subprocess.run(
            ["bash", "-c", NOTING + COMMANDS],
            env={"PATH": os.environ["PATH"], "URL": url, "KEY": "alice's key"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    calls = [line.split(" ") for line in (tmp_path / "calls").read_text().splitlines()]
    said = re.findall(r"^# (\d{3}.*)$", COMMANDS, re.MULTILINE)
    assert len(calls) == len(said) == COMMANDS.count("curl "), run.stderr
    for (method, where, status), saying in zip(calls, said, strict=True):
        assert status in re.findall(r"\b\d{3}\b", saying), (method, where, status, run.stdout)
    assert (tmp_path / "grid.png").read_bytes() == b"grid"
    asked = {_operation(method, where.removeprefix(url)) for method, where, _ in calls}
    assert asked == {operation["operationId"] for _, _, operation in operations()}


def test_the_page_names_every_code() -> None:
    codes = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"]
    assert set(codes) <= set(re.findall(r"`([a-z-]+)`", PAGE))


def test_the_limits_of_the_page_are_those_of_the_service() -> None:
    default = Settings()
    assert f"{default.submissions_per_minute} submissions and pictures a minute" in PAGE
    assert f"{default.max_queued_per_key} jobs waiting" in PAGE
    assert f"{default.max_body_bytes // 10**6} MB" in PAGE


def _operation(method: str, where: str) -> str:
    """The id of the operation that a request is for."""
    path = where.partition("?")[0]
    fits = [
        (template.count("{"), operation["operationId"])
        for known, template, operation in operations()
        if known.upper() == method
        and re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path)
    ]
    assert fits, f"{method} {path} is no operation"
    return str(min(fits)[1])
