"""A client of attention-please: `Client` submits jobs, waits for them, and fetches their files."""

from attention_please_client import errors
from attention_please_client.answers import Artifact, Image, Job, JobSummary, Problem, Progress
from attention_please_client.client import Client
from attention_please_client.errors import ClientError, ServiceProblem, Unreachable, WaitTimeout
from attention_please_client.events import Event

__all__ = [
    "Artifact",
    "Client",
    "ClientError",
    "Event",
    "Image",
    "Job",
    "JobSummary",
    "Problem",
    "Progress",
    "ServiceProblem",
    "Unreachable",
    "WaitTimeout",
    "errors",
]
