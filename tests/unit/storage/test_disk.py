"""Files on disk: whole or not at all, and never outside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.storage.disk import DiskStore

JOB = "job_" + "0123456789abcdef" * 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def disk(root: Path) -> DiskStore:
    return DiskStore(root)


def files_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_file_reads_back_as_it_was_written(disk: DiskStore) -> None:
    disk.put(JOB, 1, "image-000.png", b"first")
    disk.put(JOB, 1, "image-000.png", b"second")
    with disk.open(JOB, 1, "image-000.png") as file:
        assert file.read() == b"second"


def test_attempts_do_not_see_each_others_files(disk: DiskStore) -> None:
    disk.put(JOB, 1, "grid.png", b"late")
    with pytest.raises(FileNotFoundError):
        disk.open(JOB, 2, "grid.png")


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(
    disk: DiskStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.put(JOB, 1, "grid.png", b"whole")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.put(JOB, 1, "grid.png", b"half")
    assert files_below(root) == [f"{JOB}/1/grid.png"]
    with disk.open(JOB, 1, "grid.png") as file:
        assert file.read() == b"whole"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "A.png", "a\x00", "a\n"]
)
def test_a_name_that_is_no_plain_file_name_is_refused(
    disk: DiskStore, root: Path, name: str
) -> None:
    with pytest.raises(FileNotFoundError):
        disk.put(JOB, 1, name, b"")
    with pytest.raises(FileNotFoundError):
        disk.open(JOB, 1, name)
    assert not root.exists()


@pytest.mark.parametrize("job_id", ["", "..", "job_1", "job_" + "0" * 31 + "/", "../" + JOB])
def test_an_id_that_is_no_job_id_is_refused(disk: DiskStore, job_id: str) -> None:
    with pytest.raises(FileNotFoundError):
        disk.put(job_id, 1, "grid.png", b"")
    with pytest.raises(FileNotFoundError):
        disk.delete(job_id)


def test_delete_removes_a_job_and_no_other(disk: DiskStore, root: Path) -> None:
    other = JOB.replace("0", "9")
    for job_id in (JOB, other):
        disk.put(job_id, 1, "grid.png", b"")
    disk.delete(JOB)
    disk.delete(JOB)
    assert files_below(root) == [f"{other}/1/grid.png"]


def test_discard_removes_one_attempts_files_but_those_that_count(
    disk: DiskStore, root: Path
) -> None:
    for attempt in (1, 2, 21):
        for name in ("a.png", "grid.png"):
            disk.put(JOB, attempt, name, b"")
    disk.discard(JOB, 2, keep=["grid.png", "other.png"])
    disk.discard(JOB, 21)
    assert files_below(root) == [f"{JOB}/1/a.png", f"{JOB}/1/grid.png", f"{JOB}/2/grid.png"]
    disk.discard("job_" + "f" * 32, 1)


def test_check_passes_where_files_can_be_written_and_leaves_none(
    disk: DiskStore, root: Path
) -> None:
    disk.check()
    assert files_below(root) == []


def test_check_fails_where_files_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        DiskStore(tmp_path / "file" / "artifacts").check()
