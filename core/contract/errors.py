"""Failures a caller can act on. Each class is one stable `code`.

    AttentionPleaseError
    ├── InvalidRequest        the request, with a JSON pointer for each thing wrong
    ├── MalformedJson         what should be JSON is not
    ├── IdempotencyMismatch   an idempotency key sent before with another request
    ├── InvalidImage          no picture, or one beyond the limits
    ├── NotFound              no such job, model or artifact, or not this caller's
    ├── Unauthorized          no key, or one that isn't known
    ├── Conflict              the job's state does not allow it
    ├── Gone                  an artifact past its time, or a signature past its own
    ├── Unavailable           the broker or the storage does not answer
    ├── Busy                  as many jobs wait as may
    ├── QueueFull             as many of this caller's jobs wait as may
    ├── TooLarge              more than any worker's memory takes
    ├── RateLimited           too many submissions in too short a time
    └── JobFailure            a job ended without pictures
        ├── JobCanceled
        ├── DeadlineExceeded
        ├── OutOfMemory
        ├── NumericsFailure   not-a-number where pictures should be
        ├── StorageUnavailable  the disk is full, or does not answer
        ├── ModelUnavailable  the model can't be loaded
        ├── ImageUnreachable  a picture named by its URL could not be fetched
        ├── WorkerLost        its workers died, as often as it was tried
        └── AttemptSuperseded a newer attempt has the job; this one may write nothing more

Whatever else is raised is a bug and is shown to callers as `internal-error`, with nothing
of it but that.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

INTERNAL_ERROR = "internal-error"


class FieldError(BaseModel):
    """One thing wrong with a request body."""

    model_config = ConfigDict(frozen=True)

    pointer: str = Field(description="RFC 6901 JSON pointer into the request body.")
    detail: str = Field(description="What is wrong, and what would be accepted.")


class JobError(BaseModel):
    """Why a job failed, as data that can travel."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(description="Stable; meant to be compared by programs.")
    detail: str = Field(description="What happened, and what would mend it.")
    retryable: bool = Field(description="Whether the same request may succeed later.")


class AttentionPleaseError(Exception):
    """The base of every failure that has a code."""

    code: ClassVar[str] = INTERNAL_ERROR
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: bool = False
    retry_after_seconds: int | None = None
    """When to try again, where that is known."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def as_job_error(self) -> JobError:
        return JobError(code=self.code, detail=self.detail, retryable=self.retryable)


class InvalidRequest(AttentionPleaseError):
    code = "invalid-request"
    title = "The request is not valid"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.errors = errors

    @classmethod
    def of(cls, errors: list[FieldError]) -> InvalidRequest:
        """One error for one or many faulty fields; its detail names the first."""
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return cls(f"{errors[0].pointer or 'body'}: {errors[0].detail}{more}", tuple(errors))


class MalformedJson(AttentionPleaseError):
    code = "malformed-json"
    title = "The body can't be read"


class IdempotencyMismatch(AttentionPleaseError):
    code = "idempotency-mismatch"
    title = "The idempotency key is another request's"


class InvalidImage(AttentionPleaseError):
    code = "invalid-image"
    title = "The picture can't be used"


class NotFound(AttentionPleaseError):
    code = "not-found"
    title = "There is no such thing"


class Unauthorized(AttentionPleaseError):
    code = "unauthorized"
    title = "A valid API key is needed"


class Conflict(AttentionPleaseError):
    code = "conflict"
    title = "The state of the job does not allow this"


class Gone(AttentionPleaseError):
    code = "gone"
    title = "It is no longer here"


class Unavailable(AttentionPleaseError):
    code = "unavailable"
    title = "A part of the service does not answer"
    retryable = True


class Busy(AttentionPleaseError):
    code = "busy"
    title = "The queue is full"
    retryable = True
    retry_after_seconds = 30


class TooLarge(AttentionPleaseError):
    code = "too-large"
    title = "The pictures don't fit into a worker's memory"


class QueueFull(AttentionPleaseError):
    code = "queue-full"
    title = "Too many of your jobs wait"
    retryable = True
    retry_after_seconds = 10


class RateLimited(AttentionPleaseError):
    code = "rate-limited"
    title = "Too many requests"
    retryable = True

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class JobFailure(AttentionPleaseError):
    code = "job-failed"
    title = "The job failed"


class JobCanceled(JobFailure):
    code = "canceled"
    title = "The job was canceled"


class DeadlineExceeded(JobFailure):
    code = "deadline-exceeded"
    title = "The job's deadline passed"


class OutOfMemory(JobFailure):
    code = "out-of-memory"
    title = "The device ran out of memory"


class NumericsFailure(JobFailure):
    code = "numerics"
    title = "The model produced no usable numbers"


class StorageUnavailable(JobFailure):
    code = "storage-unavailable"
    title = "The job's files can't be stored"
    retryable = True


class ModelUnavailable(JobFailure):
    """`retryable` where its weights may be fetched later."""

    code = "model-unavailable"
    title = "The model can't be loaded"

    def __init__(self, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.retryable = retryable


class ImageUnreachable(JobFailure):
    """`retryable` where its server may answer otherwise later."""

    code = "image-unreachable"
    title = "A picture can't be fetched"

    def __init__(self, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.retryable = retryable


class WorkerLost(JobFailure):
    code = "worker-lost"
    title = "The workers that ran the job died"
    retryable = True


class AttemptSuperseded(JobFailure):
    code = "attempt-superseded"
    title = "Another attempt has the job"
