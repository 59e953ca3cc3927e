"""What of a request decides how much memory its run takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Demand:
    """A run as memory sees it.

    kind: runs of one kind take memory alike. size: width and height of the largest picture in
    pixels. pictures: how many are denoised at once where there is room, the reference included;
    least: how many at the very least.
    """

    kind: str
    size: tuple[int, int]
    pictures: int = 1
    least: int = 1

    @property
    def pixels(self) -> int:
        """Of one picture."""
        return self.size[0] * self.size[1]
