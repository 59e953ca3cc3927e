"""The deployment's secret."""

from __future__ import annotations

import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from core.contract.settings import Settings
from core.storage.secret import signing_secret


def test_a_configured_secret_is_used_and_none_is_written(tmp_path: Path) -> None:
    assert signing_secret(Settings(data_dir=tmp_path, signing_secret="mine")) == b"mine"
    assert list(tmp_path.iterdir()) == []


def test_the_secret_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "data")
    first = signing_secret(settings)
    assert len(first) >= 32
    assert signing_secret(settings) == first
    (file,) = settings.data_dir.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_processes_that_start_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        secrets = set(processes.map(signing_secret, [settings] * 16))
    assert secrets == {signing_secret(settings)}
    assert [file.name for file in tmp_path.iterdir()] == ["signing-secret"]
