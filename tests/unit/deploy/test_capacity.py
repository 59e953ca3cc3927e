"""The capacity page: its tables are what was measured, and what its formula gives."""

from __future__ import annotations

from benchmarks.capacity import recorded, table, workers_for
from tests.unit.deploy.files import ROOT

PAGE = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")


def test_the_table_is_what_was_measured_last() -> None:
    found = recorded("tiny-world", "cpu")
    assert table(found["kinds"]) in PAGE
    assert f"{found['pixels']}, {found['steps']} steps" in PAGE


def test_the_table_for_any_run_time_is_what_the_formula_gives() -> None:
    lines = PAGE.partition("## From any *t*")[2].splitlines()
    rows = [
        [cell.strip().replace(" ", "") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    times = [float("".join(c for c in cell if c.isdigit())) for cell in rows[0][1:]]
    counted = [row for row in rows[2:] if row[0].isdigit()]
    assert len(counted) == 5
    for sets, *workers in counted:
        assert [int(n) for n in workers] == [workers_for(int(sets), t) for t in times]
