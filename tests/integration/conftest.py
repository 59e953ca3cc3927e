"""A whole service, with a worker."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from rich.console import Console

from cli.local import LocalStack
from core.contract.settings import Settings
from tests.tiny_models import models_file


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Speaks to a service with tiny random models behind it, the same for the whole session."""
    folder = tmp_path_factory.mktemp("live")
    settings = Settings(data_dir=folder / "data", models_file=models_file(folder), port=0)
    with (
        LocalStack(settings, workers=1, console=Console(quiet=True)) as stack,
        httpx.Client(base_url=stack.url, timeout=120) as client,
    ):
        yield client
