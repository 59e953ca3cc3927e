"""How many jobs ended how, and how long they waited and ran, counted in the broker.

Counted once for the deployment, whichever worker ran a job, and so the same from every service.
The script that ends a job counts its end (`scripts.MOVE`). How long it took is counted after that:
a worker that dies in between loses those figures, and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from redis import Redis

from core.jobs.record import TALLY

BUCKETS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds, in seconds."""


@dataclass
class Histogram:
    """Durations of one technique's jobs."""

    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    """How many fell into the bucket below each bound, written as text; `+Inf` for the last."""

    def cumulative(self) -> list[tuple[str, float]]:
        """Bound and how many were at most that, as Prometheus wants them."""
        found, total = [], 0
        for bound in (*map(str, BUCKETS), "+Inf"):
            total += self.counts.get(bound, 0)
            found.append((bound, float(total)))
        return found


@dataclass
class Tally:
    """All that was counted."""

    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    """By technique and status."""
    queue: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    run: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    stages: dict[tuple[str, str], float] = field(default_factory=dict)
    """Seconds by technique and stage."""


def count_run(
    redis: Redis,
    technique: str,
    queue_seconds: float,
    run_seconds: float,
    stages: Mapping[str, float],
) -> None:
    """Count how long a job that succeeded waited and ran."""
    with redis.pipeline(transaction=False) as pipe:
        for kind, seconds in (("queue", queue_seconds), ("run", run_seconds)):
            bound = next((str(bound) for bound in BUCKETS if seconds <= bound), "+Inf")
            pipe.hincrby(TALLY, f"{kind} {technique} {bound}", 1)
            pipe.hincrbyfloat(TALLY, f"{kind} {technique} sum", seconds)
        for stage, seconds in stages.items():
            pipe.hincrbyfloat(TALLY, f"stage {technique} {stage}", seconds)
        pipe.execute()


def tally(redis: Redis) -> Tally:
    """What was counted so far."""
    found = Tally()
    for name, value in cast(dict[bytes, bytes], redis.hgetall(TALLY)).items():
        kind, technique, what = name.decode().split(" ")
        match kind:
            case "ended":
                found.ended[technique, what] = int(value)
            case "stage":
                found.stages[technique, what] = float(value)
            case "queue" | "run":
                histogram = (found.queue if kind == "queue" else found.run)[technique]
                if what == "sum":
                    histogram.seconds = float(value)
                else:
                    histogram.counts[what] = int(value)
    return found
