"""S6: reads of a product while it is refreshed: nobody should wait for the refresh."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.crowd import FAILED, keep_reading
from benchmarks.measure import Turn, turn_of
from benchmarks.product import FRESH_SECONDS, REFRESH_SECONDS, lines_of
from benchmarks.report import Results, Verdict, at_most, ms, table
from benchmarks.s1_warm_get import DRIVERS

ID = "S6"
TITLE = "Reads while a product refreshes"
PROCESSES, CALLERS = 4, 2
READ_SECONDS, PAUSE = 2.8, 0.002
HOW = f"""
{PROCESSES} processes × {CALLERS} readers read one product for {READ_SECONDS} s, with pauses of {
    PAUSE * 1000:.0f} ms; it wants a refresh after {FRESH_SECONDS} s, which takes {
    REFRESH_SECONDS
} s. *Blocked* is a read
that took longer than half a refresh. No worker runs: a reader's process does the refresh. Where a cache has
several ways, the one that serves old values is used (dogpile with a creation runner in a thread, cashews and
cache-postgres with `early`, diskcache with `memoize_stampede`); Django's caches and cacheops have none.
"""
WHY = """
Nobody waits for the refresh; what is left is eight readers, their servers and the refresh on two cores. Compare
with the caches above that coordinate nothing at all between readers.
"""
CONTESTANTS = (
    *(f"kck-{driver}" for driver in DRIVERS),
    *("django-db-psycopg2", "django-redis", "dogpile", "cacheops", "cashews", "diskcache", "cache-postgres"),
    "django-kck",
)


def prepare(player: Contestant, options: dict[str, Any]) -> None:
    """Make the tables; close what the processes must not inherit."""
    player.prepare()
    player.leave()


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Read all through one refresh."""
    log = f"{options['folder']}/s6-{player.name}-{options['round']}.log"
    took = keep_reading(
        player,
        lambda: player.stale_getter(log),
        f"r{options['round']}",
        seconds=READ_SECONDS,
        pause=PAUSE,
        processes=PROCESSES,
        callers=CALLERS,
    )
    served = [ns for ns in took if ns != FAILED]
    turn = turn_of(served)
    turn.counts = {
        "reads": len(took),
        "blocked": sum(ns > REFRESH_SECONDS * 1e9 / 2 for ns in served),
        "failed": took.count(FAILED),
        "computes": len(lines_of(log)),
    }
    return turn


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("blocked (worst round)", lambda r: f"{r.most('blocked'):.0f}"),
            ("p99.9 ms", lambda r: ms(r.p999_us)),
            ("slowest ms", lambda r: ms(r.slowest_us)),
            ("median ms", lambda r: ms(r.median_us)),
            ("reads", lambda r: f"{r.count('reads'):,.0f}"),
            ("computes", lambda r: f"{r.count('computes'):.0f}"),
            ("errors", lambda r: f"{r.most('failed'):.0f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """None blocked, 15 ms."""
    verdicts = []
    for driver in DRIVERS:
        ours = results[""].get(f"kck-{driver}")
        verdicts += [
            at_most(f"{driver}: none blocked", ours.most("blocked") if ours else None, 0, "", 0),
            at_most(f"{driver}: p99.9 ≤ 15 ms", ours.p999_us / 1e3 if ours else None, 15, " ms", 1),
        ]
    return verdicts
