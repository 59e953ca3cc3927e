"""One call over HTTP: sent again where that is safe and may help, failures as exceptions."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from attention_please_client.answers import Problem
from attention_please_client.errors import ClientError, ServiceProblem, Unreachable, of_problem

M = TypeVar("M", bound=BaseModel)

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0


@dataclass(frozen=True)
class Transport:
    """Sends calls. Every one may be sent again: submissions carry an Idempotency-Key, and the
    service's other calls do no harm when they are repeated."""

    http: httpx.Client
    retry_seconds: float

    def send(self, method: str, where: str, **given: Any) -> httpx.Response:
        """The answer, read. Raises ServiceProblem or Unreachable once it is no use to go on."""
        with self.stream(method, where, **given) as answer:
            return answer

    @contextmanager
    def stream(
        self,
        method: str,
        where: str,
        *,
        is_followed: bool = False,
        until: float = math.inf,
        **given: Any,
    ) -> Iterator[httpx.Response]:
        """The answer: read if not `is_followed`, else as its bytes come.

        No try begins after `until`, of `time.monotonic()`.
        """
        give_up_at = min(until, time.monotonic() + self.retry_seconds)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                answer = self._answer(self.http.build_request(method, where, **given), is_followed)
                break
            except ClientError as error:
                wait = _pause_before(error, pause)
                if wait is None or time.monotonic() + wait > give_up_at:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        try:
            yield answer
        finally:
            answer.close()

    def _answer(self, request: httpx.Request, is_followed: bool) -> httpx.Response:
        try:
            answer = self.http.send(request, stream=True)
            if not (is_followed and answer.is_success):
                try:
                    answer.read()
                finally:
                    answer.close()
        except httpx.TransportError as error:
            what = f"{request.method} {request.url.path}"
            raise Unreachable(f"{what} got no answer: {error or type(error).__name__}") from error
        if not answer.is_success:  # a redirection too: the key goes to no other place
            raise _failure(answer)
        return answer


def _pause_before(error: ClientError, pause: float) -> float | None:
    """Seconds before the next try; None where another is no use."""
    if not error.retryable:
        return None
    # By chance, so that clients that failed together do not come back together.
    by_chance = pause * random.uniform(0.5, 1)
    if isinstance(error, ServiceProblem) and error.retry_after is not None:
        return max(error.retry_after, by_chance)
    return by_chance


def _failure(answer: httpx.Response) -> ClientError:
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        # Not the service's: something between, such as a proxy whose service is starting.
        what = f"HTTP {answer.status_code} from {answer.url.host}, but not from the service."
        return Unreachable(what, retryable=answer.status_code >= 500)
    return of_problem(problem, retry_after(answer))


def parsed(kind: type[M], answer: httpx.Response) -> M:
    """The body as a `kind`. Raises Unreachable where it is something else."""
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        what = f"{answer.url} answered with something else than a {kind.__name__}."
        raise Unreachable(what, retryable=False) from error


def path(*parts: str) -> str:
    """A path of the service. Parts that callers give can't lead out of their place."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def retry_after(answer: httpx.Response) -> float | None:
    """`Retry-After` in seconds. The service sends no dates."""
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
