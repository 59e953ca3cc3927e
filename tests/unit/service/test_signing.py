"""The signing secret and what it signs."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from fastapi import HTTPException

from core.contract.errors import Gone
from core.contract.settings import Settings
from service.signing import check_signature, signed_query, signing_secret

SECRET = b"secret"


def query(name: str, expires: int) -> tuple[str, str]:
    fields = parse_qs(signed_query(SECRET, "job_1", name, expires))
    return fields["expires"][0], fields["sig"][0]


def test_a_signature_holds_for_its_file_until_its_time() -> None:
    expires, signature = query("a.png", int(time.time()) + 60)
    check_signature(SECRET, "job_1", "a.png", expires, signature)


@pytest.mark.parametrize(
    ("secret", "job_id", "name"),
    [(b"other", "job_1", "a.png"), (SECRET, "job_2", "a.png"), (SECRET, "job_1", "b.png")],
)
def test_a_signature_holds_for_nothing_else(secret: bytes, job_id: str, name: str) -> None:
    expires, signature = query("a.png", int(time.time()) + 60)
    with pytest.raises(HTTPException) as refused:
        check_signature(secret, job_id, name, expires, signature)
    assert refused.value.status_code == 403


def test_a_longer_time_can_not_be_had_by_changing_the_url() -> None:
    expires, signature = query("a.png", int(time.time()) - 1)
    with pytest.raises(Gone):
        check_signature(SECRET, "job_1", "a.png", expires, signature)
    with pytest.raises(HTTPException):
        check_signature(SECRET, "job_1", "a.png", expires + "0", signature)


def test_a_configured_secret_is_used_and_none_is_written(tmp_path: Path) -> None:
    assert signing_secret(Settings(data_dir=tmp_path, signing_secret="mine")) == b"mine"
    assert list(tmp_path.iterdir()) == []


def test_the_secret_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "data")
    first = signing_secret(settings)
    assert len(first) >= 32
    assert signing_secret(settings) == first
    (file,) = settings.data_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        secrets = set(processes.map(signing_secret, [settings] * 16))
    assert secrets == {signing_secret(settings)}
    assert [file.name for file in tmp_path.iterdir()] == ["signing-secret"]
