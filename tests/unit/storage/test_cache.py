"""The cache on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from core.storage.cache import DiskCache


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path, max_bytes=25)


def made(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def never() -> bytes:
    raise AssertionError("it was there")


def used_at(cache: DiskCache, key: str, when: int) -> None:
    os.utime(cache.root / key, (when, when))


def test_an_entry_is_made_once(cache: DiskCache) -> None:
    assert cache.get_or_make("a", made(b"data"), {"of": "a"}) == b"data"
    assert cache.get_or_make("a", never, {}) == b"data"
    assert list(cache.notes()) == [("a", {"of": "a"})]


def test_the_least_recently_used_goes_first(cache: DiskCache) -> None:
    for when, key in enumerate("ab"):
        cache.get_or_make(key, made(10 * b"."), {})
        used_at(cache, key, 1000 + when)
    cache.get_or_make("a", never, {})
    cache.get_or_make("c", made(10 * b"."), {})
    assert {key for key, _ in cache.notes()} == {"a", "c"}
    assert cache.get_or_make("b", made(b"again"), {}) == b"again"


def test_what_is_larger_than_the_cache_is_given_and_is_all_that_stays(cache: DiskCache) -> None:
    cache.get_or_make("small", made(b"1"), {})
    assert len(cache.get_or_make("large", made(100 * b"."), {})) == 100
    assert [key for key, _ in cache.notes()] == ["large"]


def test_an_entry_that_could_not_be_made_leaves_nothing(cache: DiskCache) -> None:
    def failing() -> bytes:
        raise RuntimeError("canceled")

    with pytest.raises(RuntimeError):
        cache.get_or_make("a", failing, {})
    assert list(cache.notes()) == []
