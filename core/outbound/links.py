"""URLs in requests: judged when a job is submitted, followed when it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from core.contract.errors import FieldError, InvalidRequest
from core.contract.images import ImageInput, LinkedImage, Upload
from core.contract.requests import JobRequest
from core.contract.settings import Settings
from core.contract.stored import KeptReference, Stored
from core.outbound.rules import Refused, Rules

MAX_LINKS = 16
"""Of one request: a worker draws nothing while it fetches."""


def admitting_links(stored: Stored, settings: Settings) -> Stored:
    """`stored` for one request, whose pictures by URLs of an allowed form are left as they are."""
    rules = Rules.of(settings)
    admitted: set[str] = set()

    def image(pointer: str, given: ImageInput) -> ImageInput:
        if not isinstance(given, LinkedImage) or not settings.fetch_images:
            return stored.image(pointer, given)
        _check(rules, f"{pointer}/url", given.url)
        admitted.add(given.url)
        if len(admitted) > MAX_LINKS:
            detail = f"A request may name {MAX_LINKS} pictures by their URL. Upload the others."
            raise InvalidRequest.of([FieldError(pointer=f"{pointer}/url", detail=detail)])
        return given

    return replace(stored, image=image)


def check_webhook(request: JobRequest, settings: Settings) -> None:
    """Raise InvalidRequest where the request's webhook is none that may be told."""
    if request.webhook is None:
        return
    if not settings.send_webhooks:
        detail = "Webhooks are switched off here. Ask for the job, or read its events, instead."
        raise InvalidRequest.of([FieldError(pointer="/webhook", detail=detail)])
    _check(Rules.of(settings), "/webhook/url", request.webhook.url)


def fetched(request: JobRequest, fetch: Callable[[str], Upload]) -> JobRequest:
    """An effective request with its pictures fetched: it names none by a URL any more.

    fetch: stores the picture at a URL; it is called once for each.
    """
    once = cache(fetch)

    def image(_pointer: str, given: ImageInput) -> ImageInput:
        return once(given.url) if isinstance(given, LinkedImage) else given

    def kept_reference(reference_id: str) -> KeptReference:
        raise AssertionError(f"{reference_id} was looked up when the job was submitted")

    return request.with_stored(Stored(image, kept_reference))


def _check(rules: Rules, pointer: str, url: str) -> None:
    try:
        rules.checked(url)
    except Refused as error:
        raise InvalidRequest.of([FieldError(pointer=pointer, detail=str(error))]) from None
