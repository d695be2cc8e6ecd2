"""S3: ``get_many`` of 100 products."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import product
from benchmarks.report import Results, Verdict, at_most, latency_columns, ratio, table
from benchmarks.s1_warm_get import DRIVERS
from benchmarks.s1_warm_get import prepare as prepare

ID = "S3"
TITLE = "get_many of 100"
HOW = """
One caller reads 100 products of about 1 KB in one call, again and again. Statements are those that the server
itself counted. × CPU is against Django's DatabaseCache on psycopg2.
"""
WHY = ""
CONTESTANTS = (
    *(f"{who}-{driver}" for driver in DRIVERS for who in ("floor", "kck", "kck-sourced", "django-db")),
    *("django-redis", "dogpile", "cacheops", "cashews", "diskcache", "cache-postgres", "django-kck"),
)
KEYS = 100


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Read all of them at once."""
    calls = 30 if options["quick"] else 300
    keys = [player.key(number) for number in range(KEYS)]
    get_many = player.many_getter()
    found = player.wait(get_many(keys))
    given = list(found.values()) if isinstance(found, dict) else list(found)
    assert sorted(each["id"] for each in given) == list(range(KEYS)), f"{player.name} lost some"
    assert product(7) in given
    before = player.statements()
    turn = player.turn(get_many, ((keys,) for _ in range(calls)))
    if before is not None:
        turn.counts["statements"] = ((player.statements() or 0) - before) / turn.operations
    return turn


def tables(results: Results) -> str:
    """Return the table."""
    columns = latency_columns(results[""].get("django-db-psycopg2"))
    counted = [r for r in results[""].values() if r and "statements" in r.turns[0].counts]
    columns.append(("statements", lambda r: f"{r.count('statements'):.2f}" if r in counted else "–"))
    return table(results[""].values(), columns)


def verdicts(results: Results) -> list[Verdict]:
    """One statement, and a third of DatabaseCache."""
    found, verdicts = results[""], []
    for driver in DRIVERS:
        ours, theirs = found.get(f"kck-{driver}"), found.get(f"django-db-{driver}")
        sent = ours.count("statements") if ours and "statements" in ours.turns[0].counts else None
        verdicts += [
            at_most(f"{driver}: one statement", sent, 1.0),
            at_most(
                f"{driver}: CPU ≤ 0.35 × DatabaseCache", ratio(ours, theirs, lambda r: r.cpu_us), 0.35, " ×"
            ),
            at_most(
                f"{driver}: wall ≤ 0.35 × DatabaseCache",
                ratio(ours, theirs, lambda r: r.median_us),
                0.35,
                " ×",
            ),
        ]
    return verdicts
