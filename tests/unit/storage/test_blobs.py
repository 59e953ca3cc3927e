"""What holds of blobs wherever they lie: on a disk, and in a bucket over HTTP."""

from __future__ import annotations

import io
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from core.storage.blobs import Blobs

LARGE = random.Random(1).randbytes(11_000_000)


def names(blobs: Blobs, folder: str = "") -> list[str]:
    return sorted(blob.name for blob in blobs.under(folder))


def test_a_blob_reads_back_as_it_was_put_last(blobs: Blobs) -> None:
    for data in (b"first", b"the second is longer"):
        blobs.put("a/b.png", data, "image/png")
        assert blobs.read("a/b.png") == data
        with blobs.open("a/b.png") as file:
            assert file.read() == data


def test_a_blob_of_no_bytes_is_a_blob(blobs: Blobs) -> None:
    blobs.put("empty", b"")
    assert blobs.read("empty") == b""
    with blobs.open("empty") as file:
        assert file.read() == b""
    assert blobs.look("empty").size_bytes == 0


def test_a_large_blob_is_whole_and_readable_in_any_part(blobs: Blobs) -> None:
    blobs.put("large", LARGE)
    assert blobs.read("large") == LARGE
    with blobs.open("large") as file:
        for start, length in ((0, 10), (6_000_000, 3_000_000), (3, 70_000), (10_999_990, 99)):
            file.seek(start)
            assert file.read(length) == LARGE[start : start + length]
        assert file.read(1) == b""
        file.seek(-5, io.SEEK_END)
        assert file.read() == LARGE[-5:]


def test_an_open_blob_is_a_file_to_other_libraries(blobs: Blobs) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((400, 300), 90).save(buffer, "PNG")
    blobs.put("noise.png", buffer.getvalue())
    with blobs.open("noise.png") as file, Image.open(file) as image:
        assert image.convert("L").tobytes() == Image.open(buffer).tobytes()


def test_what_is_not_there_is_not_found(blobs: Blobs) -> None:
    blobs.put("a/there", b"")
    for name in ("a/absent", "absent", "a"):
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            blobs.read(name)
    with pytest.raises(FileNotFoundError):
        blobs.open("a/absent")
    with pytest.raises(FileNotFoundError):
        blobs.look("a/absent")
    assert names(blobs, "absent") == []


def test_a_folder_is_all_that_is_below_it_and_nothing_beside_it(blobs: Blobs) -> None:
    for name in ("a/1", "a/b/2", "ab/3", "4"):
        blobs.put(name, name.encode())
    assert names(blobs) == ["4", "a/1", "a/b/2", "ab/3"]
    assert names(blobs, "a") == ["a/1", "a/b/2"]
    assert {blob.size_bytes for blob in blobs.under("a")} == {3, 5}


def test_a_blob_tells_when_it_was_put(blobs: Blobs) -> None:
    before = time.time()
    blobs.put("a", b"")
    (listed,) = blobs.under()
    assert before - 2 < listed.written_at < time.time() + 2
    assert blobs.look("a").written_at == pytest.approx(listed.written_at, abs=1)


def test_what_is_removed_is_gone_and_the_rest_stays(blobs: Blobs) -> None:
    for number in range(5):
        blobs.put(f"a/{number}", b"")
    blobs.remove(blob.name for blob in blobs.under("a") if blob.name != "a/3")
    blobs.remove(["a/0", "never/was"])
    blobs.remove([])
    assert names(blobs) == ["a/3"]


def test_folders_may_be_emptied_and_filled_at_once(blobs: Blobs) -> None:
    def put_and_remove(name: str) -> None:
        for _ in range(10):
            blobs.put(name, b"")
            blobs.remove([name])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put_and_remove, ["a/b/1", "a/b/2", "a/3", "a/b/4"]))
    assert names(blobs) == []


def test_a_check_passes_where_blobs_can_be_put_and_leaves_none(blobs: Blobs) -> None:
    blobs.check()
    assert names(blobs) == []
