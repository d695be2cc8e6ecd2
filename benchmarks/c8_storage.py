"""C8: how large our tables are after many changes of hot keys."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.contestants.counted import VALUES, Counted
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, table
from benchmarks.writers import WRITERS, Write, all_write

ID = "C8"
TITLE = "Storage after many changes of hot keys"
ROUNDS_AT_MOST = 1
HOT, ROWS_IN_ONE, PARTS = 8_000, 100, 5
HOW = f"""
{WRITERS} writers move {HOT:,} rows between 50 plans, {ROWS_IN_ONE} in a statement, beside a worker and
PostgreSQL's own autovacuum with its defaults. After each fifth of the changes the sizes of our two tables
are taken, with their indexes: deltas pass through, of levels 151 live; and at last, once nothing waits and
both were vacuumed. One million changes of a row, or ten (`--full`): the table says.
"""
WHY = """
A table is at its largest just before autovacuum comes, which by default looks once a minute, and here the changes are
made within a few: what was deleted in the meantime is what it holds.
"""
CONTESTANTS = ("count-kck-worker",)


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Make and fill the table, start the worker."""
    player.prepare()
    player.fill_table(HOT)
    player.start_worker(options["folder"])


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Change rows, and look."""
    changes = 40_000 if options["quick"] else 10_000_000 if options["full"] else 1_000_000
    each = changes // PARTS // ROWS_IN_ONE // WRITERS
    counts: dict[str, float] = {"changes": each * PARTS * ROWS_IN_ONE * WRITERS}
    highest = 0.0
    for part in range(1, PARTS + 1):
        turn = all_write(player, _move(player.table), 600.0, count=each)
        highest = max(highest, *turn.watched)
        counts |= {f"{name}_{part}": size for name, size in player.sizes().items()}
    player.fold()
    player.leave()
    player.run("VACUUM kck_delta", "VACUUM kck_level")
    counts |= {f"{name}_vacuumed": size for name, size in player.sizes().items()}
    turn.counts = counts | {"highest": highest}
    return turn


def _move(table: str) -> Write:
    own = HOT // WRITERS

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        first = 1 + writer * own + dice.randrange(own - ROWS_IN_ONE)
        cursor.execute(
            f"UPDATE {table} SET plan = 'plan' || (substr(plan, 5)::int + {dice.randrange(1, VALUES)}) % {VALUES} "
            f"WHERE id BETWEEN {first} AND {first + ROWS_IN_ONE - 1}"
        )

    return write


def tables(results: Results) -> str:
    """Return a table for each of our tables."""
    stages = [*((f"{n * 100 // PARTS} %", str(n)) for n in range(1, PARTS + 1)), ("vacuumed", "vacuumed")]
    parts = []
    for name in ("kck_delta", "kck_level"):
        columns = [("changes", lambda r: f"{r.count('changes'):,.0f}")]
        columns += [
            (f"MB at {head}" if "%" in head else f"MB {head}", _megabytes(f"{name}_{stage}"))
            for head, stage in stages
        ]
        if name == "kck_delta":
            columns.append(("most waiting", lambda r: f"{r.most('highest'):,.0f}"))
        parts.append(f"### {name}\n\n{table(results[''].values(), columns)}")
    return "\n\n".join(parts)


def _megabytes(name: str) -> Any:
    return lambda result: f"{result.count(name) / 1e6:,.1f}"


def verdicts(results: Results) -> list[Verdict]:
    """What is kept is what lives; and the tables do not grow with history."""
    found = results[""].get(CONTESTANTS[0])
    kept = (
        sum(found.count(f"{name}_vacuumed") for name in ("kck_delta", "kck_level")) / 1e6 if found else None
    )
    grown = found.count(f"kck_delta_{PARTS}") / found.count("kck_delta_3") if found else None
    return [
        at_most("151 live levels: ≤ 10 MB in both tables, vacuumed", kept, 10, " MB", 1),
        at_most("deltas at the end ≤ 1.2 × those at three fifths", grown, 1.2, " ×"),
    ]
