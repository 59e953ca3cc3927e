"""What a call may raise: one class for each problem that the service tells of.

ClientError
├── Unreachable       no answer came, as often as it was tried
├── WaitTimeout       the job had not ended when the time was up
├── DamagedDownload   the bytes that came are not those that were announced
└── ServiceProblem    the service said what is wrong; a class below it for each `code`
"""

from __future__ import annotations

from attention_please_client.answers import FieldError, Job, Problem


class ClientError(Exception):
    """The base of everything that this package raises by itself."""

    retryable: bool = False
    """Whether the same call may succeed later."""


class Unreachable(ClientError):
    """No answer came, or none that is the service's."""

    def __init__(self, detail: str, *, retryable: bool = True) -> None:
        super().__init__(detail)
        self.retryable = retryable


class WaitTimeout(ClientError, TimeoutError):
    """The job had not ended when the time was up. It goes on."""


class DamagedDownload(ClientError):
    """The bytes that came are not those that were announced. Nothing was written."""


class ServiceProblem(ClientError):
    """A problem that the service tells of (RFC 9457). Unknown codes are raised as this class."""

    code: str = ""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(f"{problem.title}: {problem.detail}")
        self.code = problem.code
        self.retryable = problem.retryable
        self.problem = problem
        self.job: Job | None = None
        """The job that ended so, where that is what the problem is about."""
        self.retry_after = retry_after
        """Seconds after which to try again, where the service said so."""

    @property
    def detail(self) -> str:
        """What happened, and what would mend it."""
        return self.problem.detail

    @property
    def errors(self) -> tuple[FieldError, ...]:
        """The fields at fault, each by a JSON pointer."""
        return tuple(self.problem.errors or ())


class InvalidRequest(ServiceProblem):
    code = "invalid-request"


class InvalidImage(ServiceProblem):
    code = "invalid-image"


class IdempotencyMismatch(ServiceProblem):
    code = "idempotency-mismatch"


class MalformedJson(ServiceProblem):
    code = "malformed-json"


class MalformedBody(ServiceProblem):
    code = "malformed-body"


class UnsupportedMediaType(ServiceProblem):
    code = "unsupported-media-type"


class BodyTooLarge(ServiceProblem):
    code = "body-too-large"


class RangeNotSatisfiable(ServiceProblem):
    code = "range-not-satisfiable"


class MethodNotAllowed(ServiceProblem):
    code = "method-not-allowed"


class Unauthorized(ServiceProblem):
    code = "unauthorized"


class Forbidden(ServiceProblem):
    code = "forbidden"


class NotFound(ServiceProblem):
    code = "not-found"


class Conflict(ServiceProblem):
    code = "conflict"


class Gone(ServiceProblem):
    code = "gone"


class TooLarge(ServiceProblem):
    code = "too-large"


class QueueFull(ServiceProblem):
    code = "queue-full"


class RateLimited(ServiceProblem):
    code = "rate-limited"


class Busy(ServiceProblem):
    code = "busy"


class Unavailable(ServiceProblem):
    code = "unavailable"


class InternalError(ServiceProblem):
    code = "internal-error"


class JobFailed(ServiceProblem):
    code = "job-failed"


class JobCanceled(ServiceProblem):
    code = "canceled"


class DeadlineExceeded(ServiceProblem):
    code = "deadline-exceeded"


class OutOfMemory(ServiceProblem):
    code = "out-of-memory"


class NumericsFailure(ServiceProblem):
    code = "numerics"


class StorageUnavailable(ServiceProblem):
    code = "storage-unavailable"


class ModelUnavailable(ServiceProblem):
    code = "model-unavailable"


class ImageUnreachable(ServiceProblem):
    code = "image-unreachable"


class WorkerLost(ServiceProblem):
    code = "worker-lost"


class AttemptSuperseded(ServiceProblem):
    code = "attempt-superseded"


BY_CODE = {kind.code: kind for kind in ServiceProblem.__subclasses__()}


def of_problem(problem: Problem, retry_after: float | None = None) -> ServiceProblem:
    """The exception for `problem`."""
    return BY_CODE.get(problem.code, ServiceProblem)(problem, retry_after)


def of_job(job: Job) -> ServiceProblem:
    """The exception for a job that failed or was canceled."""
    error = of_problem(job.error or _canceled(job))
    error.job = job
    return error


def _canceled(job: Job) -> Problem:
    return Problem(
        type="urn:attention-please:problem:canceled",
        title="The job was canceled",
        status=409,
        detail=f"{job.id} was canceled.",
        instance=f"/v1/jobs/{job.id}",
        code="canceled",
        retryable=False,
    )
