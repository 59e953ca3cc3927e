"""What a run spends its time on."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.contract.jobs import Progress
from core.telemetry.traces import tracer


class Stages:
    """Passes progress on, and adds up the seconds of each stage, which is a span of its own."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._spent: dict[str, float] = {}
        self._stage = "loading"
        self._since = time.monotonic()
        self._span = tracer.start_span(self._stage)

    def report(self, progress: Progress) -> None:
        self.enter(progress.stage)
        self._report(progress)

    def enter(self, stage: str) -> None:
        now = time.monotonic()
        self._spent[self._stage] = self._spent.get(self._stage, 0.0) + now - self._since
        if stage != self._stage:
            self._span.end()
            self._span = tracer.start_span(stage)
        self._stage, self._since = stage, now

    def end(self) -> dict[str, float]:
        """Seconds by stage."""
        self.enter(self._stage)
        self._span.end()
        return {stage: round(spent, 4) for stage, spent in self._spent.items()}
