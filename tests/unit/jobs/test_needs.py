"""What is learned of how much memory runs take."""

from __future__ import annotations

import pytest
from redis import Redis

from core.jobs.needs import Needs, predicted


@pytest.mark.parametrize(
    ("known", "pixels", "pictures", "need"),
    [
        ({}, 100, 1, None),
        ({(100, 2): 50}, 100, 2, 50),
        ({(100, 2): 50}, 100, 4, 100),
        ({(100, 2): 50}, 400, 2, 200),
        ({(100, 2): 50}, 100, 1, 25),
        ({(100, 1): 50, (100, 3): 90}, 100, 2, 70),
        ({(100, 1): 50, (100, 3): 90}, 200, 3, 150),
        ({(100, 1): 50, (100, 2): 10, (100, 3): 90}, 100, 2, 10),
        ({(100, 1): 90, (100, 3): 50}, 100, 6, 50),
    ],
)
def test_need_is_what_was_measured_or_a_straight_line_through_it(
    known: dict[tuple[int, int], int], pixels: int, pictures: int, need: int | None
) -> None:
    assert predicted(known, pixels, pictures) == need


def test_the_last_run_of_a_kind_counts_and_is_forgotten_after_a_day(redis: Redis) -> None:
    needs = Needs(redis)
    needs.learn("sdxl", "segmentation", 100, 1, 70)
    needs.learn("sdxl", "segmentation", 100, 1, 50)
    needs.learn("sdxl", "style-aligned", 100, 4, 200)
    assert needs.known("sdxl", "segmentation") == {(100, 1): 50}
    assert needs.known("sd15", "segmentation") == {}
    assert 0 < redis.ttl("attention-please:needs:sdxl:segmentation") <= 86_400
