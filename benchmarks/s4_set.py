"""S4: ``set`` of a new product, on an empty table and at two million rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import product
from benchmarks.report import (
    Column,
    Results,
    Verdict,
    at_most,
    by_phase,
    cpu_ratio,
    latency_columns,
    versus,
    wall_ratio,
)
from benchmarks.s1_warm_get import DRIVERS

ID = "S4"
TITLE = "set"
HOW = """
One caller stores products of about 1 KB under new keys, each in a commit of its own: on an empty table, and
in turn on another that holds two million other rows (of small values, loaded in bulk, then a checkpoint). A
turn ends after 400 calls or 4 s. × CPU is against Django's DatabaseCache on psycopg2; DatabaseCache runs with
a `MAX_ENTRIES` out of reach, for it would cull otherwise.
"""
WHY = """
One statement stores the value, answers what was on its way to it and marks what depends on it, in one
commit, which waits for the disk as DatabaseCache's does. The floor, one bare upsert of the same row, costs
nearly all of the aim by itself. Compare *CPU server* with it: an index on the family and a look for marks
and readers; *CPU client* is the encoding, the entry that is returned, and the driver's putting in of
thirteen parameters.
"""
PHASES = ("empty", "2 M rows")
CONTESTANTS = (
    *(f"{who}-{driver}" for driver in DRIVERS for who in ("floor", "kck", "django-db")),
    *("django-redis", "dogpile", "cacheops", "cashews", "diskcache", "cache-postgres", "django-kck"),
)


def prepare(player: Contestant, options: dict[str, Any]) -> None:
    """Begin empty, but for one product that warms the connection; in the second phase, fill."""
    player.prepare()
    player.wait(player.setter()(player.key(0), product(0)))
    if options["phase"] != PHASES[0]:
        player.fill(20_000 if options["quick"] else 2_000_000)


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Store under keys that nobody has used before."""
    calls = 50 if options["quick"] else 400
    first = 10_000_000 + options["round"] * 10_000
    store, value = player.setter(), product(1)
    for n in range(5):
        player.wait(store(player.key(first + 5_000 + n), value))
    return player.turn(store, ((player.key(first + n), value) for n in range(calls)), seconds=4.0)


def tables(results: Results) -> str:
    """Return a table for each phase."""
    empty = results[PHASES[0]]

    def columns(found: dict[str, Result]) -> list[Column]:
        usual = latency_columns(found.get("django-db-psycopg2"))
        return usual if found is empty else [*usual, ("median × empty", _versus_itself(empty))]

    return by_phase(results, columns)


def _versus_itself(empty: dict[str, Result]) -> Callable[[Result], str]:
    return lambda result: versus(empty[result.name], lambda r: r.median_us)(result)


def verdicts(results: Results) -> list[Verdict]:
    """A third of DatabaseCache when empty, and flat."""
    empty, full = (results[phase] for phase in PHASES)
    verdicts = []
    for driver in DRIVERS:
        ours, theirs = empty.get(f"kck-{driver}"), empty.get(f"django-db-{driver}")
        later = full.get(f"kck-{driver}")
        verdicts += [
            at_most(f"{driver}, empty: wall ≤ 0.35 × DatabaseCache", wall_ratio(ours, theirs), 0.35, " ×"),
            at_most(f"{driver}, empty: CPU ≤ 0.35 × DatabaseCache", cpu_ratio(ours, theirs), 0.35, " ×"),
            at_most(f"{driver}: at 2 M rows ≤ 1.2 × empty", wall_ratio(later, ours), 1.2, " ×"),
        ]
    return verdicts
