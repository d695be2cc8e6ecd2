"""S7: rows written by fresh reads."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.contestants.base import Contestant, NotOffered
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, table, us
from benchmarks.s1_warm_get import KEYS
from benchmarks.s1_warm_get import prepare as prepare

ID = "S7"
TITLE = "Rows written by fresh reads"
HOW = """
Fresh products are read; then, once the server's statistics have settled, it is asked how many rows were
inserted, updated or deleted meanwhile (for Redis: how many commands ran that are no plain reads; for
diskcache: SQLite's own count). The figures are for a million reads, scaled up from one turn.
"""
WHY = ""
ROUNDS_AT_MOST = 1
CONTESTANTS = (
    *(
        "kck-psycopg2",
        "kck-sourced-psycopg2",
        "kck-psycopg3",
        "django-db-psycopg2",
        "django-redis",
        "dogpile",
    ),
    *("cacheops", "cashews", "diskcache", "cache-postgres", "django-kck"),
)
# A PostgreSQL backend reports what it did within ten seconds of falling idle.
SETTLED_SECONDS = 11


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Count before, read, wait, count after."""
    calls = 1_000 if options["quick"] else 20_000
    get, keys = player.getter(), [(player.key(number),) for number in range(KEYS)]
    settle = SETTLED_SECONDS if "postgres" in player.servers else 0
    time.sleep(settle if options["round"] == 0 else 0)
    before = player.rows_written()
    if before is None:
        raise NotOffered("nobody counts its writes")
    turn = player.turn(get, (keys[n % KEYS] for n in range(calls)), seconds=30)
    time.sleep(settle)
    turn.counts["written"] = ((player.rows_written() or 0) - before) / turn.operations * 1e6
    return turn


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("rows written per million reads", lambda r: f"{r.most('written'):,.0f}"),
            ("reads in a turn", lambda r: f"{r.turns[0].operations:,}"),
            ("median µs", lambda r: us(r.median_us)),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """None."""
    return [
        at_most(
            f"{name}: 0 rows", found.most("written") if (found := results[""].get(name)) else None, 0, "", 0
        )
        for name in ("kck-psycopg2", "kck-sourced-psycopg2", "kck-psycopg3")
    ]
