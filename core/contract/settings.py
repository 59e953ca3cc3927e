"""The settings of every process, from `ATTENTION_PLEASE_…` environment variables."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.contract.models import BUILT_IN_MODELS


class Settings(BaseSettings):
    """Read once by each program's entry point and passed on."""

    model_config = SettingsConfigDict(env_prefix="ATTENTION_PLEASE_", frozen=True)

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="The broker.")
    data_dir: Path = Field(default=Path("data"), description="Artifacts and the signing secret.")
    models_file: Path = Field(default=BUILT_IN_MODELS, description="Which models are served.")
    pool: str = Field(default="default", description="Name of the queue; one for each pool.")

    host: str = Field(default="127.0.0.1", description="Address the service binds to.")
    port: int = Field(default=8000, ge=0, le=65_535)
    api_key_hashes: tuple[str, ...] = Field(
        default=(),
        description="SHA-256 of each accepted API key, hexadecimal, as a JSON array.",
    )
    max_body_bytes: int = Field(default=30_000_000, gt=0)
    signing_secret: str | None = Field(
        default=None,
        description="Signs artifact URLs, and webhooks' secrets come from it. Default: made once "
        "and kept in the data directory.",
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

    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N.")
    warm_models: tuple[str, ...] | None = Field(
        default=None,
        description="Models a worker loads before its first job. Default: the default model.",
    )
    lease_seconds: float = Field(
        default=6.0, gt=0, description="A running job without a heartbeat this long is lost."
    )
    stall_seconds: float = Field(
        default=300.0, gt=0, description="A worker without a finished step this long is replaced."
    )
    max_attempts: int = Field(default=3, ge=1, description="Runs of a job whose workers die.")

    @field_validator("api_key_hashes")
    @classmethod
    def _are_sha256(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        for value in hashes:
            if len(value) != 64 or set(value.lower()) - set("0123456789abcdef"):
                raise ValueError("each API key hash is 64 hexadecimal digits (SHA-256)")
        return tuple(value.lower() for value in hashes)

    def environment(self) -> dict[str, str]:
        """The variables from which another process reads these settings."""
        document = self.model_dump(mode="json", exclude_none=True)
        return {
            f"ATTENTION_PLEASE_{name.upper()}": value
            if isinstance(value, str)
            else json.dumps(value)
            for name, value in document.items()
        }
