"""The settings of every process, from `ATTENTION_PLEASE_…` environment variables."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.contract.keys import ApiKey, Limits
from core.contract.models import BUILT_IN_MODELS


class Settings(BaseSettings):
    """Read once by each program's entry point and passed on."""

    model_config = SettingsConfigDict(env_prefix="ATTENTION_PLEASE_", frozen=True)

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="The broker.")
    data_dir: Path = Field(
        default=Path("data"),
        description="Artifacts, pictures, kept references and the signing secret.",
    )
    models_file: Path = Field(default=BUILT_IN_MODELS, description="Which models are served.")
    pool: str = Field(
        default="default",
        description="Name of the queue whose jobs a worker runs, and to which a service sends "
        "those of models that name no pool.",
    )

    host: str = Field(default="127.0.0.1", description="Address the service binds to.")
    port: int = Field(
        default=8000, ge=0, le=65_535, description="Port it listens on; 0 takes a free one."
    )
    api_keys: tuple[ApiKey, ...] = Field(
        default=(),
        description="The accepted API keys, as a JSON array of objects with `name`, `sha256` and, "
        "optionally, limits. `attention-please keys new NAME` makes one.",
    )
    max_queued: int = Field(default=10_000, ge=1, description="Jobs that may wait in a pool.")
    max_queued_per_key: int = Field(default=1_000, ge=1, description="Jobs of one key that may.")
    submissions_per_minute: int = Field(
        default=600, ge=1, description="Jobs and pictures that one key may send in a minute."
    )
    max_body_bytes: int = Field(
        default=30_000_000, gt=0, description="Of a request's JSON, pictures inside it included."
    )
    signing_secret: str | None = Field(
        default=None,
        description="Signs artifact URLs, and webhooks' secrets come from it. Default: made once "
        "and kept in the data directory.",
    )

    storage_url: str | None = Field(
        default=None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?$",
        description="`s3://bucket/prefix`: files are kept there instead of in the data directory, "
        "so that machines need not share a disk. Needs `SIGNING_SECRET`.",
    )
    storage_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL of the server that has the bucket. Default: Amazon's.",
    )
    storage_region: str | None = Field(
        default=None, description="The bucket's region. Default: `AWS_REGION`, or us-east-1."
    )
    storage_redirect: bool = Field(
        default=False,
        description="Signed URLs of files lead on to the bucket, instead of through the service. "
        "Callers must be able to reach it.",
    )

    fetch_images: bool = Field(
        default=True, description="Workers fetch pictures that requests name by their URL."
    )
    send_webhooks: bool = Field(
        default=True, description="Workers tell the webhooks that requests name of their jobs."
    )
    outbound_http: bool = Field(
        default=False, description="URLs in requests may be of plain http too, not https only."
    )
    outbound_networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="Networks that URLs in requests may lead to though they are not public.",
    )
    outbound_ports: tuple[int, ...] = Field(
        default=(), description="Ports they may name beside 443, and 80 for http."
    )

    log_format: Literal["text", "json"] = Field(
        default="text", description="Lines for a person, or one JSON object each."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    warm_models: tuple[str, ...] | None = Field(
        default=None,
        description="Models a worker loads, and draws with, before it is ready. Default: those of "
        "its pool that `models.toml` calls warm, or else the first.",
    )
    max_models: int | None = Field(
        default=None,
        ge=1,
        description="Models a worker holds at once; the least recently used makes room. Default: "
        "all that were asked for.",
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=1,
        description="What a worker may take of its device's memory. Default: nine tenths of a "
        "GPU's, and no limit on the CPU.",
    )
    lease_seconds: float = Field(
        default=6.0, gt=0, description="A running job without a heartbeat this long is lost."
    )
    stall_seconds: float = Field(
        default=300.0, gt=0, description="A worker without a finished step this long is replaced."
    )
    checkpoint_steps: int = Field(
        default=5,
        ge=0,
        description="A lost job does at most so many steps again; 0 keeps no checkpoints.",
    )
    drain_seconds: float = Field(
        default=20.0,
        ge=0,
        description="How long the job in hand may go on after SIGTERM, before it is kept and "
        "handed back for another worker.",
    )
    max_attempts: int = Field(default=3, ge=1, description="Runs of a job whose workers die.")

    @field_validator("storage_url")
    @classmethod
    def _signed_alike(cls, url: str | None, given: ValidationInfo) -> str | None:
        if url is not None and not given.data.get("signing_secret"):
            raise ValueError(
                "machines that share a bucket must sign alike: set ATTENTION_PLEASE_SIGNING_SECRET "
                "for all of them, to 32 random bytes or more"
            )
        return url

    @field_validator("api_keys")
    @classmethod
    def _agree(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        for name in {key.name for key in keys}:
            limits = {(k.max_queued, k.submissions_per_minute) for k in keys if k.name == name}
            if len(limits) > 1:
                raise ValueError(f"the keys named {name!r} differ in their limits")
        if len({key.sha256 for key in keys}) < len(keys):
            raise ValueError("each key may be listed once")
        return keys

    def limits_of(self, owner: str) -> Limits:
        """How much `owner` may ask for, defaults filled in."""
        own = next((key for key in self.api_keys if key.name == owner), None)
        return Limits(
            (own and own.max_queued) or self.max_queued_per_key,
            (own and own.submissions_per_minute) or self.submissions_per_minute,
        )

    def environment(self) -> dict[str, str]:
        """The variables from which another process reads these settings."""
        document = self.model_dump(mode="json", exclude_none=True)
        return {
            f"ATTENTION_PLEASE_{name.upper()}": value
            if isinstance(value, str)
            else json.dumps(value)
            for name, value in document.items()
        }
