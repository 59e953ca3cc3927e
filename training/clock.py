"""The wall clock as the measure of a training run: how far it is, and what that means for it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Counts training time, over interruptions, towards a budget.

    seconds: the whole budget. before: seconds that earlier parts of the run have used.
    """

    seconds: float
    before: float = 0.0
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return self.before + time.monotonic() - self._start

    @property
    def fraction(self) -> float:
        return self.elapsed / self.seconds


def trapezoid(fraction: float, step: int, warm_up: int = 100, cool_down: float = 0.3) -> float:
    """Learning-rate factor in [0, 1]: up over the first steps, flat, then linearly to zero over
    the last share of the run."""
    rise = min(1.0, (step + 1) / warm_up)
    fall = min(1.0, (1.0 - fraction) / cool_down)
    return max(0.0, min(rise, fall))
