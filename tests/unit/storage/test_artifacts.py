"""The files of jobs, on a disk and in a bucket."""

from __future__ import annotations

import pytest

from core.storage.artifacts import ArtifactStore
from core.storage.blobs import Blobs

JOB = "job_" + "0123456789abcdef" * 2
OTHER = JOB.replace("0", "9")


@pytest.fixture
def files(blobs: Blobs) -> ArtifactStore:
    return ArtifactStore(blobs)


def names(files: ArtifactStore) -> list[str]:
    return sorted(blob.name for blob in files.blobs.under())


def test_a_file_reads_back_as_it_was_written(files: ArtifactStore) -> None:
    files.put(JOB, 1, "image-000.png", b"first")
    files.put(JOB, 1, "image-000.png", b"second")
    assert files.read(JOB, 1, "image-000.png") == b"second"
    with files.open(JOB, 1, "image-000.png") as file:
        assert file.read() == b"second"


def test_attempts_do_not_see_each_others_files(files: ArtifactStore) -> None:
    files.put(JOB, 1, "grid.png", b"late")
    for read in (files.open, files.read):
        with pytest.raises(FileNotFoundError):
            read(JOB, 2, "grid.png")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "A.png", "a\x00", "a\n"]
)
def test_a_name_that_is_no_plain_file_name_is_refused(files: ArtifactStore, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.put(JOB, 1, name, b"")
    with pytest.raises(FileNotFoundError):
        files.open(JOB, 1, name)
    assert names(files) == []


@pytest.mark.parametrize("job_id", ["", "..", "job_1", "job_" + "0" * 31 + "/", "../" + JOB])
def test_an_id_that_is_no_job_id_is_refused(files: ArtifactStore, job_id: str) -> None:
    with pytest.raises(FileNotFoundError):
        files.put(job_id, 1, "grid.png", b"")
    with pytest.raises(FileNotFoundError):
        files.delete(job_id)


def test_delete_removes_a_job_and_no_other(files: ArtifactStore) -> None:
    for job_id in (JOB, OTHER):
        files.put(job_id, 1, "grid.png", b"")
    files.delete(JOB)
    files.delete(JOB)
    assert names(files) == [f"{OTHER}/1/grid.png"]


def test_discard_removes_one_attempts_files_but_those_that_count(files: ArtifactStore) -> None:
    for attempt in (1, 2, 21):
        for name in ("a.png", "grid.png"):
            files.put(JOB, attempt, name, b"")
    files.discard(JOB, 2, keep=["grid.png", "other.png"])
    files.discard(JOB, 21)
    assert names(files) == [f"{JOB}/1/a.png", f"{JOB}/1/grid.png", f"{JOB}/2/grid.png"]
    files.discard("job_" + "f" * 32, 1)


def test_only_jobs_are_untouched_and_only_where_no_file_is_new(files: ArtifactStore) -> None:
    for attempt in (1, 2):
        files.put(JOB, attempt, "grid.png", b"")
    files.blobs.put("notes.txt", b"of somebody else")
    assert files.untouched(60) == []
    assert files.untouched(-60) == [JOB]


def test_there_is_no_link_to_a_file_that_is_not_there(files: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        files.link(JOB, 1, "grid.png", 60)


def test_check_passes_where_files_can_be_written_and_leaves_none(files: ArtifactStore) -> None:
    files.check()
    assert names(files) == []
