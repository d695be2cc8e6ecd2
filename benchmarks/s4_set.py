"""S4: ``set`` of a new product, on an empty table and at two million rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import product
from benchmarks.report import Results, Verdict, at_most, latency_columns, ratio, table, versus
from benchmarks.s1_warm_get import DRIVERS

ID = "S4"
TITLE = "set"
HOW = """
One caller stores products of about 1 KB under new keys, each in a commit of its own: first on an empty table,
then with two million other rows (of small values, loaded in bulk) beside them. A turn ends after 400 calls or
4 s. × CPU is against Django's DatabaseCache on psycopg2; DatabaseCache runs with a `MAX_ENTRIES` out of
reach, for it would cull otherwise.
"""
WHY = ""
PHASES = ("empty", "2 M rows")
CONTESTANTS = (
    *(f"{who}-{driver}" for driver in DRIVERS for who in ("floor", "kck", "django-db")),
    *("django-redis", "dogpile", "cacheops", "cashews", "diskcache", "cache-postgres", "django-kck"),
)


def prepare(player: Contestant, options: dict[str, Any]) -> None:
    """Begin empty, but for one product that warms the connection; then fill."""
    if options["phase"] == "empty":
        player.prepare()
        player.wait(player.setter()(player.key(0), product(0)))
    else:
        player.fill(20_000 if options["quick"] else 2_000_000)


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Store under keys that nobody has used before."""
    calls = 50 if options["quick"] else 400
    first = 10_000_000 + (1_000_000 if options["phase"] != "empty" else 0) + options["round"] * 10_000
    store, value = player.setter(), product(1)
    for n in range(5):
        player.wait(store(player.key(first + 5_000 + n), value))
    return player.turn(store, ((player.key(first + n), value) for n in range(calls)), seconds=4.0)


def tables(results: Results) -> str:
    """Return a table for each phase."""
    parts = []
    for phase, found in results.items():
        columns = latency_columns(found.get("django-db-psycopg2"))
        if phase != "empty":
            columns.append(("median × empty", _versus_itself(results["empty"])))
        parts.append(f"### {phase}\n\n" + table(found.values(), columns))
    return "\n\n".join(parts)


def _versus_itself(empty: dict[str, Result]) -> Callable[[Result], str]:
    return lambda result: versus(empty[result.name], lambda r: r.median_us)(result)


def verdicts(results: Results) -> list[Verdict]:
    """A third of DatabaseCache when empty, and flat."""
    empty, full, verdicts = results["empty"], results["2 M rows"], []
    for driver in DRIVERS:
        ours, theirs, later = (
            empty.get(f"kck-{driver}"),
            empty.get(f"django-db-{driver}"),
            full.get(f"kck-{driver}"),
        )
        wall = ratio(ours, theirs, lambda r: r.median_us)
        verdicts += [
            at_most(f"{driver}, empty: wall ≤ 0.35 × DatabaseCache", wall, 0.35, " ×"),
            at_most(
                f"{driver}, empty: CPU ≤ 0.35 × DatabaseCache",
                ratio(ours, theirs, lambda r: r.cpu_us),
                0.35,
                " ×",
            ),
            at_most(
                f"{driver}: at 2 M rows ≤ 1.2 × empty", ratio(later, ours, lambda r: r.median_us), 1.2, " ×"
            ),
        ]
    return verdicts
