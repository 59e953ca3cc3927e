"""Codes and their statuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.contract.errors import AttentionPleaseError, JobError
from service.problems import STATUSES, of_job


def errors(base: type[AttentionPleaseError]) -> Iterator[type[AttentionPleaseError]]:
    yield base
    for derived in base.__subclasses__():
        if derived.__module__ == base.__module__:
            yield from errors(derived)


@pytest.mark.parametrize("error", list(errors(AttentionPleaseError)), ids=lambda error: error.code)
def test_every_code_has_a_status(error: type[AttentionPleaseError]) -> None:
    assert error.code in STATUSES


def test_a_code_that_a_newer_worker_wrote_can_still_be_shown() -> None:
    newer = JobError(code="from-the-future", detail="What happened.", retryable=True)
    problem = of_job(newer, "/v1/jobs/job_1")
    assert (problem.code, problem.status, problem.retryable) == ("from-the-future", 500, True)
