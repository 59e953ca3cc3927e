"""Files on disk: whole or not at all, and no folder left empty."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.storage.disk import DiskBlobs


def everything_below(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskBlobs(tmp_path)
    disk.put("a/grid.png", b"whole")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.put("a/grid.png", b"half")
    assert everything_below(tmp_path) == ["a", "a/grid.png"]
    assert disk.read("a/grid.png") == b"whole"


def test_what_is_removed_leaves_no_empty_folder_but_the_root(tmp_path: Path) -> None:
    disk = DiskBlobs(tmp_path)
    for name in ("a/b/1", "a/2", "3"):
        disk.put(name, b"")
    disk.remove(["a/b/1", "3"])
    assert everything_below(tmp_path) == ["a", "a/2"]
    disk.remove(["a/2"])
    assert everything_below(tmp_path) == []


def test_what_a_writer_left_that_died_is_found_and_can_be_removed(tmp_path: Path) -> None:
    disk = DiskBlobs(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".writing-1").write_bytes(b"half")
    disk.remove(blob.name for blob in disk.under("a"))
    assert everything_below(tmp_path) == []


def test_check_fails_where_files_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disk = DiskBlobs(tmp_path / "file" / "artifacts")
    with pytest.raises(OSError, match="file"):
        disk.check()
    with pytest.raises(OSError, match="file"):
        disk.put("a", b"")
