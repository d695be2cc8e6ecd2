"""C2: one statement that changes 100,000 rows in a column that is counted."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.counted import VALUES, Counted
from benchmarks.measure import Turn, turn_of
from benchmarks.report import Results, Verdict, at_most, ms, paired, table

ID = "C2"
TITLE = "One statement that changes 100,000 rows, in a counted column"
ROWS = 100_000
HOW = f"""
`UPDATE … SET plan = …` of all {ROWS:,} rows of a table, each to another plan, three times a turn; before each a VACUUM
and a CHECKPOINT. The stock has three facets of 50 values; the counter rows are kept by a hand-written statement
trigger. *×* is the median over the rounds of the ratio to *untracked* in the same round.
"""
WHY = """
The rows before and after are grouped by the columns that stocks look at; those that changed are split by facet.
"""
CONTESTANTS = ("count-untracked", "count-kck", "count-tally")
STATEMENT = f"UPDATE {{table}} SET plan = 'plan' || (substr(plan, 5)::int + 1) % {VALUES}"
LIMIT = 2.0


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Make and fill the table."""
    player.prepare()
    player.fill_table(5_000 if options["quick"] else ROWS)


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Change all rows."""
    return change_all(player, STATEMENT.format(table=player.table))


def change_all(player: Counted, statement: str) -> Turn:
    """Change all rows three times; what waits is folded before each."""
    cursor, took, used = player.connect().cursor(), [], 0
    for _ in range(3):
        player.fold()
        cursor.execute(f"VACUUM {player.table}")
        cursor.execute("VACUUM kck_delta")
        cursor.execute("CHECKPOINT")
        servers, start = player.server_cpu_ns(), time.perf_counter_ns()
        cursor.execute(statement)
        took.append(time.perf_counter_ns() - start)
        used += player.server_cpu_ns() - servers
    turn = turn_of(took, server_cpu_ns=used)
    turn.counts["rows"] = cursor.rowcount
    cursor.connection.close()
    return turn


def medians(result: Result) -> list[float]:
    """Return the medians, round by round."""
    return [turn.median_us for turn in result.turns]


def tables(results: Results) -> str:
    """Return the table."""
    plain = results[""].get("count-untracked")
    return table(
        results[""].values(),
        [
            ("rows", lambda r: f"{r.count('rows'):,.0f}"),
            ("median ms", lambda r: ms(r.median_us)),
            ("CPU server ms", lambda r: ms(r.server_cpu_us)),
            ("× untracked", lambda r: f"{paired(r, plain, medians) or 0:.2f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Twice."""
    return within(results, LIMIT)


def within(results: Results, limit: float) -> list[Verdict]:
    """At most so many times untracked."""
    found = results[""]
    share = paired(found.get("count-kck"), found.get("count-untracked"), medians)
    return [at_most(f"≤ {limit:g} × untracked", share, limit, " ×")]
