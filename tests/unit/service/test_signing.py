"""What is signed with the deployment's secret."""

from __future__ import annotations

import time
from urllib.parse import parse_qs

import pytest
from fastapi import HTTPException

from core.contract.errors import Gone
from service.signing import check_signature, signed_query

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
