"""C3: one statement that changes 100,000 rows in a column that nobody counts."""

from __future__ import annotations

from typing import Any

from benchmarks.c2_bulk_update import CONTESTANTS as CONTESTANTS
from benchmarks.c2_bulk_update import ROWS, change_all, within
from benchmarks.c2_bulk_update import prepare as prepare
from benchmarks.c2_bulk_update import tables as tables
from benchmarks.contestants.counted import Counted
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict

ID = "C3"
TITLE = "One statement that changes 100,000 rows, in a column that nobody counts"
HOW = f"""
As C2, but of the column `note`: all {ROWS:,} rows change, and no count does.
"""
WHY = """
A column list, with which the trigger would not be called at all, is not allowed with transition tables. Rows before
and after are kept for it, which alone takes a seventh of the statement's CPU; to see that no counted column changed,
they are grouped by what stocks count by, and cancel out. Of a single row, bytes are compared, and nothing is grouped.
"""
STATEMENT = "UPDATE {table} SET note = 'note ' || (substr(note, 6)::int + 1)"
LIMIT = 1.2


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Change all rows."""
    return change_all(player, STATEMENT.format(table=player.table))


def verdicts(results: Results) -> list[Verdict]:
    """1.2 times."""
    return within(results, LIMIT)
