"""S3: ``get_many`` of 100 products."""

from __future__ import annotations

from itertools import product as product_of
from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import product
from benchmarks.report import Results, Verdict, at_most, by_phase, cpu_ratio, latency_columns, wall_ratio
from benchmarks.s1_warm_get import DRIVERS
from benchmarks.s1_warm_get import PHASES as PHASES
from benchmarks.s1_warm_get import prepare as prepare

ID = "S3"
TITLE = "get_many of 100"
HOW = """
One caller reads 100 products of about 1 KB, in either shape of S1, in one call, again and again.
Statements are those that the server itself counted. × CPU is against Django's DatabaseCache on psycopg2.
"""
WHY = """
The floor, one bare `SELECT` of the same hundred rows, already costs more than 0.35 × DatabaseCache: the server
writes jsonb out as text and the client parses it as JSON, where DatabaseCache keeps a pickle. A record costs
more than a text because its keys are not in jsonb's own order, which is kept beside it.
"""
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
    assert product(7, options["phase"]) in given
    before = player.statements()
    turn = player.turn(get_many, ((keys,) for _ in range(calls)))
    if before is not None:
        turn.counts["statements"] = ((player.statements() or 0) - before) / turn.operations
    return turn


def tables(results: Results) -> str:
    """Return a table for each shape."""
    return by_phase(
        results,
        lambda found: [*latency_columns(found.get("django-db-psycopg2")), ("statements", _statements)],
    )


def _statements(result: Result) -> str:
    return f"{result.count('statements'):.2f}" if "statements" in result.turns[0].counts else "–"


def verdicts(results: Results) -> list[Verdict]:
    """One statement, and a third of DatabaseCache."""
    verdicts = []
    for (phase, found), driver in product_of(results.items(), DRIVERS):
        who = f"{phase}, {driver}"
        ours, theirs = found.get(f"kck-{driver}"), found.get(f"django-db-{driver}")
        sent = ours.count("statements") if ours and "statements" in ours.turns[0].counts else None
        verdicts += [
            at_most(f"{who}: one statement", sent, 1.0),
            at_most(f"{who}: CPU ≤ 0.35 × DatabaseCache", cpu_ratio(ours, theirs), 0.35, " ×"),
            at_most(f"{who}: wall ≤ 0.35 × DatabaseCache", wall_ratio(ours, theirs), 0.35, " ×"),
        ]
    return verdicts
