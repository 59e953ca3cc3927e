"""The settings, and the page that tells of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from core.contract.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items())
def test_every_setting_is_on_the_page_as_the_code_describes_it(name: str, field: FieldInfo) -> None:
    assert field.description, f"{name} has no description"
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name.upper()}` |"))
    assert row.endswith(f"| {field.description} |")
    if isinstance(field.default, str | int | float) and not isinstance(field.default, bool):
        assert f"| {field.default} |" in row


def test_the_page_has_no_setting_that_is_not_there() -> None:
    table = PAGE.partition("## Keys")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == {name.upper() for name in Settings.model_fields}


def test_a_bucket_is_refused_without_a_secret_that_all_machines_share() -> None:
    with pytest.raises(ValidationError, match="set ATTENTION_PLEASE_SIGNING_SECRET"):
        Settings(storage_url="s3://bucket/prefix")
    Settings(storage_url="s3://bucket/prefix", signing_secret="of all")


@pytest.mark.parametrize("url", ["", "bucket", "https://bucket", "s3://", "s3://b", "s3://a b/c"])
def test_a_storage_that_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        Settings(storage_url=url, signing_secret="of all")
