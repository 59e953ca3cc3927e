"""Who reads whom: the layout of a UNet batch, said explicitly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Half = Literal["uncond", "cond"]
Role = Literal["reference", "target"]


@dataclass(frozen=True)
class Row:
    """One row of the UNet batch.

    reads: indices of the rows whose keys and values it attends to beside its own. A row that
    names itself attends to the rows it reads and to nothing else, as one pool of keys.
    """

    half: Half
    job: int
    role: Role
    reads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Readers:
    """A run of neighbouring rows that read the same rows."""

    rows: slice
    reads: tuple[int, ...]


@dataclass(frozen=True)
class RowMap:
    """The rows of a batch, in order. Raises ValueError for a read of a row that is not there."""

    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            for read in row.reads:
                if not 0 <= read < len(self.rows):
                    raise ValueError(f"row {index} can't read row {read} of {len(self.rows)}")

    def __len__(self) -> int:
        return len(self.rows)

    def runs(self) -> Iterator[Readers]:
        """Neighbouring rows with the same reads together, so that one kernel serves them."""
        for reads, run in groupby(range(len(self.rows)), key=lambda index: self.rows[index].reads):
            indices = list(run)
            yield Readers(slice(indices[0], indices[-1] + 1), reads)


def halves(guided: bool) -> tuple[Half, ...]:
    """The halves of a batch: [uncond…, cond…] under classifier-free guidance."""
    return ("uncond", "cond") if guided else ("cond",)


def first_row_shared(rows: int, *, guided: bool) -> RowMap:
    """StyleAligned's layout: row 0 of each half is the reference, the others read it.

    rows: rows in one half.
    """
    return RowMap(
        tuple(
            Row(half, 0, "target", reads=(offset * rows,)) if index else Row(half, 0, "reference")
            for offset, half in enumerate(halves(guided))
            for index in range(rows)
        )
    )


def all_rows_shared(rows: int, *, guided: bool) -> RowMap:
    """Full sharing: all rows of a half read all of them."""
    return RowMap(
        tuple(
            Row(
                half,
                0,
                "target" if index else "reference",
                reads=tuple(range(offset * rows, (offset + 1) * rows)),
            )
            for offset, half in enumerate(halves(guided))
            for index in range(rows)
        )
    )
