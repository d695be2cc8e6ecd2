"""C4: reading a stock with three facets of 50 values each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.c2_bulk_update import medians
from benchmarks.conductor import Result
from benchmarks.contestants.counted import Counted
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_least, paired, table, us

ID = "C4"
TITLE = "Reading a stock: a total and 150 counts by facet"
HOW = """
One caller asks for the number of active accounts, in all and by three columns of 50 values each, again and again, over
one warm connection: kck_flow's `cache.get`, one SQL statement with GROUPING SETS, or what Django offers, a `count()`
and three `values().annotate(Count)`. All in one database, whose rows fit into memory; PostgreSQL may use parallel
workers, as by default. *× slower* is the median over the rounds of the ratio to kck_flow in the same round.
One million rows, or ten (`--full`): the table says.
"""
WHY = """
A read costs the same whatever the size of the table (151 levels read, summed with what waits, sent as JSON, and put in
order), what it is compared with grows with the rows: the aim is for ten million.
"""
CONTESTANTS = ("stock-kck", "stock-sets", "stock-annotate", "stock-total")
FACETS = ("plan", "country", "shop_id")
SETS = """SELECT plan, country, shop_id, count(*) FROM bench_tracked WHERE state = 'active'
GROUP BY GROUPING SETS ((), (plan), (country), (shop_id))"""


def size(options: dict[str, Any]) -> int:
    """Return how many rows the table has."""
    return 20_000 if options["quick"] else 10_000_000 if options["full"] else 1_000_000


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Make and fill the table, if nobody has yet."""
    player.prepare()
    if not player.run("SELECT 1 FROM bench_tracked LIMIT 1"):
        player.fill_table(size(options))


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Ask again and again: for at most three seconds."""
    ask = asker(player)
    ask()
    turn = player.turn(ask, (() for _ in range(300)), seconds=3.0)
    turn.counts["rows"] = size(options)
    return turn


def asker(player: Counted) -> Callable[[], Any]:
    """Return the call."""
    from django.db import connection
    from django.db.models import Count

    from benchmarks.project.counted.models import Tracked

    active = Tracked.objects.filter(state="active")

    def sets() -> Any:
        with connection.cursor() as cursor:
            cursor.execute(SETS)
            return cursor.fetchall()

    def annotate() -> Any:
        return active.count(), [list(active.values(name).annotate(n=Count("*"))) for name in FACETS]

    ways: dict[str, Callable[[], Any]] = {
        "get": lambda: player.cache.get("bench_active"),
        "sets": sets,
        "annotate": annotate,
        "total": active.count,
    }
    return ways[player.asks]


def tables(results: Results) -> str:
    """Return the table."""
    ours = results[""].get("stock-kck")
    return table(
        results[""].values(),
        [
            ("rows", lambda r: f"{r.count('rows'):,.0f}"),
            ("median µs", lambda r: us(r.median_us)),
            ("p99 µs", lambda r: us(r.p99_us)),
            ("CPU client µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
            ("× slower", lambda r: f"{paired(r, ours, medians) or 0:,.0f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """A thousand times."""
    found = results[""]

    def times(name: str) -> float | None:
        ours: Result | None = found.get("stock-kck")
        return paired(found.get(name), ours, medians)

    return [
        at_least(
            "≥ 1,000 × faster than one statement with GROUPING SETS", times("stock-sets"), 1000, " ×", 0
        ),
        at_least("≥ 1,000 × faster than Django's GROUP BYs", times("stock-annotate"), 1000, " ×", 0),
    ]
