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
A trigger with transition tables that does nothing costs no more than the noise here; a column list, with which it would
not be called at all, is not allowed with them. What costs is to see that no counted column changed: the rows before
and after are grouped by the columns that stocks look at (here four), and cancel out, before anything else is computed.
"""
STATEMENT = "UPDATE {table} SET note = 'note ' || (substr(note, 6)::int + 1)"
LIMIT = 1.2


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Change all rows."""
    return change_all(player, STATEMENT.format(table=player.table))


def verdicts(results: Results) -> list[Verdict]:
    """1.2 times."""
    return within(results, LIMIT)
