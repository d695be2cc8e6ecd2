"""S1: a warm ``get`` of a product of one kilobyte: CPU of client and server."""

from __future__ import annotations

from itertools import product as product_of
from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import SHAPES, product
from benchmarks.report import Results, Verdict, at_most, by_phase, cpu_ratio, latency_columns

ID = "S1"
TITLE = "Warm get"
HOW = """
One caller reads 100 stored products of about 1 KB of JSON in turn, over one warm connection, in autocommit
(one contestant inside a transaction, where nothing may be prepared). Two shapes: a record (figures, a short
series, a paragraph) and a text (one string). The floors are one `SELECT` by primary key with a bare driver
that decodes the JSON (psycopg 3 without prepared statements, as Django uses it). × CPU is against Django's
DatabaseCache on psycopg2.
"""
WHY = """
Our statement tells fresh from stale, invalidated and changed meanwhile, by the database's clock, and with a
declared source looks for changes on their way; on a direct connection it is planned once, which is why the
server has less to do than with the bare `SELECT`; inside a transaction, or behind a pooler, it is planned
anew at each read. The driver, the network and the decoding of a record, which the floor has too, are
already half of what a DatabaseCache get costs; the rest is the Python between the call and the driver (*CPU
client* less the floor's).
"""

DRIVERS = ("psycopg2", "psycopg3")
CONTESTANTS = (
    *(
        f"{who}-{driver}"
        for driver in DRIVERS
        for who in ("floor", "kck", "kck-sourced", "kck-inside", "django-db")
    ),
    *("django-redis", "dogpile", "cacheops", "cashews", "diskcache", "cache-postgres", "django-kck"),
)
PHASES = SHAPES
KEYS = 100


def prepare(player: Contestant, options: dict[str, Any]) -> None:
    """Store the products, of the phase's shape, and read each once."""
    player.prepare()
    store, get = player.setter(), player.getter()
    for number in range(KEYS):
        wanted = product(number, options["phase"] or PHASES[0])
        player.wait(store(player.key(number), wanted))
        found = player.wait(get(player.key(number)))
        assert found == wanted, f"{player.name} gave something else back: {found!r}"[:200]


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Read them again and again."""
    calls = 300 if options["quick"] else 3000
    get, keys = player.getter(), [(player.key(number),) for number in range(KEYS)]
    player.turn(get, keys)
    return player.turn(get, (keys[n % KEYS] for n in range(calls)))


def tables(results: Results) -> str:
    """Return a table for each shape."""
    return by_phase(results, lambda found: latency_columns(found.get("django-db-psycopg2")))


def verdicts(results: Results) -> list[Verdict]:
    """CPU beside DatabaseCache and beside the bare driver, with each driver."""
    verdicts = []
    for (phase, found), driver in product_of(results.items(), DRIVERS):
        who = f"{phase}, {driver}"
        ours, sourced = found.get(f"kck-{driver}"), found.get(f"kck-sourced-{driver}")
        theirs, floor = found.get(f"django-db-{driver}"), found.get(f"floor-{driver}")
        verdicts += [
            at_most(f"{who}: CPU ≤ 0.6 × DatabaseCache", cpu_ratio(ours, theirs), 0.6, " ×"),
            at_most(f"{who}: CPU ≤ 1.3 × the bare driver, no source", cpu_ratio(ours, floor), 1.3, " ×"),
            at_most(f"{who}: CPU ≤ 1.5 × the bare driver, a source", cpu_ratio(sourced, floor), 1.5, " ×"),
        ]
    return verdicts
