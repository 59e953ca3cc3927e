"""The job: one queued run of a request, and the moves it may make."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.contract.errors import JobError

JobStatus = Literal["queued", "running", "succeeded", "failed", "canceled"]

# What a job, its summary and its webhook say alike.
Id = Annotated[str, Field(description="`job_` and 32 hexadecimal digits.")]
TechniqueName = Annotated[str, Field(description="As in the path that it was submitted to.")]
Status = Annotated[
    JobStatus,
    Field(
        description="queued → running → succeeded, failed or canceled; the last three are final."
    ),
]
ModelName = Annotated[str, Field(description="The model that draws it.")]
Attempt = Annotated[
    int, Field(description="Runs begun; above 1 where a worker was lost or had to go.")
]
CreatedAt = Annotated[datetime, Field(description="When it was submitted.")]
StartedAt = Annotated[datetime | None, Field(description="When its first run began.")]
EndedAt = Annotated[datetime | None, Field(description="When it became final.")]
ExpiresAt = Annotated[
    datetime | None,
    Field(description="When the job and its artifacts go; known once it has ended."),
]
Metadata = Annotated[dict[str, str], Field(description="That of the request.")]

FINAL: frozenset[JobStatus] = frozenset({"succeeded", "failed", "canceled"})

# From where each status may be reached. `running` to `queued` is a job going back whose worker was
# lost, or had to go.
LEGAL_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    "queued": frozenset({"running"}),
    "running": frozenset({"queued"}),
    "succeeded": frozenset({"running"}),
    "failed": frozenset({"queued", "running"}),
    "canceled": frozenset({"queued", "running"}),
}


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Progress(Frozen):
    """How far a running job is."""

    stage: str = Field(description="fetching, loading, inverting, denoising, decoding or storing.")
    step: int = Field(ge=0, description="Steps of this stage that are done.")
    steps: int = Field(ge=0, description="Steps of this stage in all.")
    fraction: float = Field(ge=0, le=1, description="Of the whole job.")


class Artifact(Frozen):
    """A stored file of a job."""

    name: str = Field(description="Of the file; unique in its job.")
    kind: str = Field(
        description="image, reference, control, grid, output, reconstruction, mask, comparison or "
        "metadata."
    )
    attempt: int = Field(default=1, description="The run that made it.")
    media_type: str = Field(description="Such as `image/png`.")
    width: int | None = Field(default=None, description="Pixels.")
    height: int | None = Field(default=None, description="Pixels.")
    size_bytes: int = Field(description="Of the file.")
    sha256: str = Field(description="Of the file, lower-case hexadecimal.")
    metadata: dict[str, Any] = Field(
        default={}, description="What the technique says of it, such as its prompt and seed."
    )


class JobWarning(Frozen):
    """Something a caller should know about a job that went on."""

    code: str = Field(description="Stable; meant to be compared by programs.")
    detail: str = Field(description="What happened, and what to mind.")


class Job(Frozen):
    """A job as it is recorded. What HTTP shows of it is `service.views.JobView`."""

    id: str
    technique: str
    owner: str = Field(description="Id of the API key that submitted it.")
    pool: str = Field(description="The queue, and so the workers, that it belongs to.")
    status: JobStatus
    revision: int = Field(description="Grows with each change of the record.")
    attempt: int = Field(description="Runs begun so far; also the fencing token of the last.")
    losses: int = Field(default=0, description="Runs whose worker died.")
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = Field(default=None, description="Set when the job ends.")
    deadline_at: datetime | None = None
    cancel_requested: bool = False
    request: dict[str, Any] = Field(description="The effective request.")
    request_id: str | None = Field(default=None, description="Of the request that submitted it.")
    trace: dict[str, str] = Field(default={}, description="W3C trace context to go on in.")
    progress: Progress | None = None
    artifacts: tuple[Artifact, ...] = ()
    measures: dict[str, Any] = {}
    warnings: tuple[JobWarning, ...] = ()
    error: JobError | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def new_job_id() -> str:
    """An id that can't be guessed: 128 random bits."""
    return f"job_{secrets.token_hex(16)}"
