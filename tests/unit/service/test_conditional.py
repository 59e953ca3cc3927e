"""Entity tags and byte ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.conditional import byte_range, matches


@pytest.mark.parametrize(
    ("if_none_match", "etag", "same"),
    [
        (None, '"a"', False),
        ("", '"a"', False),
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('"b", "a"', '"a"', True),
        ("*", '"a"', True),
        ('"b"', '"a"', False),
        ("a", '"a"', False),
    ],
)
def test_tags_are_compared_weakly(if_none_match: str | None, etag: str, same: bool) -> None:
    assert matches(if_none_match, etag) is same


@given(size=st.integers(1, 1000), first=st.integers(0, 999), length=st.integers(1, 2000))
def test_a_range_is_what_a_slice_of_the_file_is(size: int, first: int, length: int) -> None:
    first %= size
    part = byte_range(f"bytes={first}-{first + length - 1}", size)
    assert part is not None
    data = bytes(size)
    assert data[slice(*part)] == data[first : first + length]
    assert part[0] == first


@given(size=st.integers(1, 1000), length=st.integers(1, 2000))
def test_a_suffix_is_the_end_of_the_file(size: int, length: int) -> None:
    assert byte_range(f"bytes=-{length}", size) == (max(0, size - length), size)
