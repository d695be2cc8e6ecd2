"""C6: a year of a flow, day by day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from benchmarks.c2_bulk_update import medians
from benchmarks.contestants.counted import Counted
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, ms, paired, table

ID = "C6"
TITLE = "A year of a flow, by day"
HOW = """
Events of 2024, evenly over the year, were inserted in batches and captured by the triggers; asked for is the number of
each day, again and again, over one warm connection: kck_flow's `cache.series` of a flow whose windows are days, or of
one whose windows are hours, beside Django's GROUP BY over the events. *×* is the median over the rounds of the ratio to
kck_flow's windows of a day in the same round. One million events, or ten (`--full`): the table says.
"""
WHY = """
Of windows of a day 366 levels are read, of windows of an hour 8,784; each becomes a `Point`.
"""
CONTESTANTS = ("flow-daily", "flow-hourly", "flow-group")
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
BATCH = 50_000


def size(options: dict[str, Any]) -> int:
    """Return how many events there are."""
    return 20_000 if options["quick"] else 10_000_000 if options["full"] else 1_000_000


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Insert the events, if nobody has yet, and fold what they gave."""
    player.prepare()
    rows = size(options)
    if player.run("SELECT 1 FROM bench_event LIMIT 1"):
        return
    for first in range(0, rows, BATCH):
        player.run(
            f"INSERT INTO bench_event (at, kind) SELECT '2024-01-01Z'::timestamptz + g * interval '1 second' * "
            f"{366 * 86400 / rows:.6f}, 'a' FROM generate_series({first}, {min(rows, first + BATCH) - 1}) AS g"
        )
        player.fold()
    player.run("VACUUM ANALYZE bench_event", "VACUUM ANALYZE kck_delta, kck_level", "CHECKPOINT")
    player.made()


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Ask again and again: for at most three seconds."""
    ask = asker(player)
    found = ask()
    if sum(found) != size(options):
        raise RuntimeError(f"{size(options)} events were inserted, {sum(found)} are counted")
    turn = player.turn(ask, (() for _ in range(200)), seconds=3.0)
    turn.counts = {"rows": size(options), "points": len(found)}
    return turn


def asker(player: Counted) -> Callable[[], list[int]]:
    """Return the call."""
    from django.db.models import Count
    from django.db.models.functions import TruncDay

    from benchmarks.project.counted.models import Event

    days = (
        Event.objects.filter(at__gte=START, at__lt=END)
        .annotate(day=TruncDay("at", tzinfo=UTC))
        .values("day")
        .annotate(n=Count("*"))
        .order_by("day")
    )
    if player.asks == "group":
        return lambda: [row["n"] for row in days.all()]
    series, name = player.cache.series, player.asks
    return lambda: [point.value for point in series(name, START, END, by="day")]


def tables(results: Results) -> str:
    """Return the table."""
    ours = results[""].get("flow-daily")
    return table(
        results[""].values(),
        [
            ("events", lambda r: f"{r.count('rows'):,.0f}"),
            ("points", lambda r: f"{r.count('points'):,.0f}"),
            ("median ms", lambda r: f"{r.median_us / 1000:,.2f}"),
            ("p99 ms", lambda r: ms(r.p99_us)),
            ("CPU client ms", lambda r: ms(r.client_cpu_us)),
            ("CPU server ms", lambda r: ms(r.server_cpu_us)),
            ("× slower", lambda r: f"{paired(r, ours, medians) or 0:,.1f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """5 ms."""
    return [
        at_most(f"windows of {what}: ≤ 5 ms", found.median_us / 1e3 if found else None, 5, " ms")
        for name, what in (("flow-daily", "a day"), ("flow-hourly", "an hour"))
        for found in [results[""].get(name)]
    ]
