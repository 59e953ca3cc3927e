"""Where the service may listen, and what it may load."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from core.contract.keys import ApiKey
from core.contract.settings import Settings
from service.server import UnguardedAddress, check_address, serve

OPEN = ["0.0.0.0", "::", "10.0.0.5", "", "example.org"]
DIGEST = hashlib.sha256(b"key").hexdigest()


@pytest.mark.parametrize("host", OPEN)
def test_an_open_address_without_keys_is_refused_with_how_to_mend_it(host: str) -> None:
    with pytest.raises(UnguardedAddress) as refused:
        serve(Settings(host=host))
    for part in ("127.0.0.1", "attention-please keys new", "ATTENTION_PLEASE_API_KEYS"):
        assert part in str(refused.value)


@pytest.mark.parametrize("host", OPEN)
def test_keys_open_every_address(host: str) -> None:
    check_address(Settings(host=host, api_keys=(ApiKey(name="shop", sha256=DIGEST),)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_keys(host: str) -> None:
    check_address(Settings(host=host))


def test_python_dash_m_service_refuses_in_words_and_not_with_a_traceback() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "service"],
        env={"ATTENTION_PLEASE_HOST": "0.0.0.0"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stderr.startswith("Refusing to listen on 0.0.0.0 without API keys")
    assert "Traceback" not in process.stderr


def test_the_service_loads_no_torch_and_no_worker() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, service.app, service.server; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    heavy = {"torch", "diffusers", "transformers", "numpy", "worker", "training"}
    assert heavy.isdisjoint(loaded)


def test_importing_the_service_does_nothing() -> None:
    """No settings are read: broken ones are found when a program starts."""
    subprocess.run(
        [sys.executable, "-c", "import service.app, service.server, service.openapi"],
        env={"ATTENTION_PLEASE_PORT": "none"},
        check=True,
    )
