"""What is kept though it could be made again, on a disk and in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from core.storage.blobs import Blob, Blobs
from core.storage.cache import Cache


@dataclass(frozen=True)
class Counted:
    """Blobs whose time is the number of their last `put`: a bucket's clock shows seconds only."""

    blobs: Blobs
    puts: list[str] = field(default_factory=list)

    def put(self, name: str, data: bytes, media_type: str = "") -> None:
        self.blobs.put(name, data, media_type)
        self.puts.append(name)

    def under(self, folder: str = "") -> Iterator[Blob]:
        for blob in self.blobs.under(folder):
            last = len(self.puts) - self.puts[::-1].index(blob.name)
            yield replace(blob, written_at=float(last))

    def __getattr__(self, name: str) -> object:
        return getattr(self.blobs, name)


@pytest.fixture
def cache(blobs: Blobs) -> Cache:
    return Cache(Counted(blobs), max_bytes=25)  # type: ignore[arg-type]


def made(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def never() -> bytes:
    raise AssertionError("it was there")


def keys(cache: Cache, owner: str = "me") -> list[str]:
    return [key for key, _ in cache.notes(owner)]


def test_an_entry_is_made_once(cache: Cache) -> None:
    for make in (made(b"data"), never):
        assert cache.get_or_make("me", "a", make, {"of": "a"}) == b"data"
    assert list(cache.notes("me")) == [("a", {"of": "a"})]
    assert cache.note("me", "a") == {"of": "a"}


def test_an_owner_sees_only_its_own(cache: Cache) -> None:
    cache.get_or_make("me", "a", made(b"mine"), {})
    assert cache.get_or_make("me-too", "a", made(b"yours"), {}) == b"yours"
    assert cache.get_or_make("me", "a", never, {}) == b"mine"
    assert cache.note("you", "a") is None
    assert keys(cache, "you") == []


def test_the_most_recently_used_is_named_first(cache: Cache) -> None:
    for key in "abca":
        cache.get_or_make("me", key, made(b"."), {})
    assert keys(cache) == ["a", "c", "b"]


def test_the_least_recently_used_goes_first(cache: Cache) -> None:
    for key in "ab":
        cache.get_or_make("me", key, made(10 * b"."), {})
    cache.get_or_make("me", "a", never, {})
    cache.get_or_make("you", "c", made(10 * b"."), {})
    assert (keys(cache, "me"), keys(cache, "you")) == (["a"], ["c"])
    assert cache.note("me", "b") is None
    assert cache.get_or_make("me", "b", made(b"again"), {}) == b"again"


def test_what_is_larger_than_the_cache_is_given_and_is_all_that_stays(cache: Cache) -> None:
    cache.get_or_make("me", "small", made(b"1"), {})
    assert len(cache.get_or_make("me", "large", made(100 * b"."), {})) == 100
    assert keys(cache) == ["large"]


def test_an_entry_that_could_not_be_made_leaves_nothing(cache: Cache) -> None:
    def failing() -> bytes:
        raise RuntimeError("canceled")

    with pytest.raises(RuntimeError):
        cache.get_or_make("me", "a", failing, {})
    assert keys(cache) == []


def test_a_storage_that_does_not_answer_costs_the_making_and_not_the_job(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bytes:
        raise OSError("away")

    cache.get_or_make("me", "a", made(b"kept"), {})
    with monkeypatch.context() as patched:
        patched.setattr(Counted, "put", away)
        patched.setattr(Counted, "read", away, raising=False)
        assert cache.get_or_make("me", "a", made(b"made again"), {}) == b"made again"
        assert cache.get_or_make("me", "b", made(b"new"), {}) == b"new"
    assert cache.get_or_make("me", "a", never, {}) == b"kept"
    assert cache.get_or_make("me", "b", made(b"then"), {}) == b"then"
