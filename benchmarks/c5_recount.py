"""C5: a recount of a stock, its total and all its facets."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.c2_bulk_update import medians
from benchmarks.c4_read_stock import FACETS, size
from benchmarks.c4_read_stock import prepare as prepare
from benchmarks.contestants.counted import VALUES, Counted
from benchmarks.measure import Turn, turn_of
from benchmarks.report import Results, Verdict, at_most, ms, paired, table

ID = "C5"
TITLE = "Recounting a stock: a total and 150 counts by facet"
ROUNDS_AT_MOST = 3
HOW = """
The table of C4 counted anew: kck_flow's `cache.refresh`, with lease, publication and record of the run; Django's
`count()` for the total and one for each value of each facet, as a template tag or an admin filter would; and, as floor,
one `SELECT count(…)` of the same columns that reads the same rows, in one process (a statement that stores what it
counts is never parallel). *Passes* are the sequential scans of the table in the plan, or the statements.
*×* is the median over the rounds of the ratio to the floor in the same round.
"""
WHY = """
One pass; but each row is hashed once for each facet (GROUPING SETS), which costs more than to read it, and neither
GROUPING SETS nor a statement that stores is ever parallel.
"""
CONTESTANTS = ("recount-kck", "recount-scan", "recount-each")
SCAN = (
    "SELECT count(*), count(plan), count(country), count(shop_id) FROM bench_tracked WHERE state = 'active'"
)


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Count, several times where it is quick."""
    from django.db import connection

    from benchmarks.project.counted.models import Tracked

    active, passes = Tracked.objects.filter(state="active"), 1
    names = {"plan": "plan{}", "country": "c{}", "shop_id": "{}"}

    def each() -> None:
        active.count()
        for facet in FACETS:
            for number in range(VALUES):
                active.filter(**{facet: names[facet].format(number)}).count()

    def scan() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SCAN)
            cursor.fetchall()

    with connection.cursor() as cursor:
        cursor.execute(f"SET max_parallel_workers_per_gather = {0 if player.asks == 'scan' else 2}")
    if player.asks == "recount":
        passes = _passes(player)
    elif player.asks == "each":
        passes = 1 + len(FACETS) * VALUES
    ways: dict[str, Any] = {
        "recount": lambda: player.cache.refresh("bench_active"),
        "each": each,
        "scan": scan,
    }
    took = []
    servers, clients = player.server_cpu_ns(), time.process_time_ns()
    for _ in range(1 if player.asks == "each" else 3):
        start = time.perf_counter_ns()
        ways[player.asks]()
        took.append(time.perf_counter_ns() - start)
    clients, servers = time.process_time_ns() - clients, player.server_cpu_ns() - servers
    turn = turn_of(took, client_cpu_ns=clients, server_cpu_ns=servers)
    turn.counts = {"rows": size(options), "passes": passes}
    return turn


def _passes(player: Counted) -> int:
    from kck_flow.cache import counted
    from kck_flow.registry import registry

    definition = counted.definition_of(registry.primers["bench_active"], "default")  # type: ignore[arg-type]
    assert definition is not None
    return sum("Scan on bench_tracked" in line for (line,) in player.run(f"EXPLAIN {definition.recount()}"))


def tables(results: Results) -> str:
    """Return the table."""
    floor = results[""].get("recount-scan")
    return table(
        results[""].values(),
        [
            ("rows", lambda r: f"{r.count('rows'):,.0f}"),
            ("passes", lambda r: f"{r.most('passes'):.0f}"),
            ("median ms", lambda r: ms(r.median_us)),
            ("CPU server ms", lambda r: ms(r.server_cpu_us)),
            ("× one scan", lambda r: f"{paired(r, floor, medians) or 0:.2f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """One pass, 1.2 scans."""
    found = results[""]
    ours = found.get("recount-kck")
    return [
        at_most("one pass", ours.most("passes") if ours else None, 1, "", 0),
        at_most("≤ 1.2 × one sequential scan", paired(ours, found.get("recount-scan"), medians), 1.2, " ×"),
        at_most("less than 151 counts", paired(ours, found.get("recount-each"), medians), 1, " ×"),
    ]
