"""P1 and P4: the overview of fifty panels, how long the server takes for it and what it weighs."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.pages import Looked
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, by_phase, latency_columns

ID = "P1"
TITLE = "The overview of fifty panels, and what it weighs (P4)"
RECORDS = {"alone": 0, "beside a million records of other products": 1_000_000}
PHASES = tuple(RECORDS)
HOW = """
A request for the overview is handed to the view over one warm connection: from the request to the page, rendered,
with a tile, a comparison and a sparkline of thirty days for each metric; without a server, middleware or a session.
Sixty days of numbers of each were recorded before. *gzipped* is the page with its stylesheet and its script, the three
requests of a first visit; *queries* are the statements of one request.
"""
WHY = """
Nothing is computed for the page: entries are read in one statement, records in another, however many panels there are.
What remains is Python: the words of each tile, its picture, and Django's templates.
"""
CONTESTANTS = ("page-5", "page-50")


def prepare(player: Looked, options: dict[str, Any]) -> None:
    """Store the metrics and their numbers."""
    player.prepare()
    player.store(RECORDS[options["phase"]])


def measure(player: Looked, options: dict[str, Any]) -> Turn:
    """Ask again and again."""
    calls = 10 if options["quick"] else 100
    call = player.caller()
    player.turn(call, player.requests(5))
    turn = player.turn(call, player.requests(calls))
    turn.counts = player.counts()
    return turn


def tables(results: Results) -> str:
    """Return a table for each phase."""
    return by_phase(
        results,
        lambda found: [
            *latency_columns(found.get("page-5")),
            ("queries", lambda r: f"{r.count('queries'):,.0f}"),
            ("gzipped, bytes", lambda r: f"{r.count('gzipped'):,.0f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """15 ms and 5 queries for 50 panels, 20 kB in 3 requests."""
    made = []
    for phase, found in results.items():
        page = found.get("page-50")
        made += [
            at_most(f"50 panels, {phase}: ≤ 15 ms", page.median_us / 1e3 if page else None, 15, " ms"),
            at_most(f"50 panels, {phase}: ≤ 5 queries", page.count("queries") if page else None, 5, "", 0),
            at_most(
                f"50 panels, {phase}: ≤ 20 kB", page.count("gzipped") / 1e3 if page else None, 20, " kB", 1
            ),
        ]
    return made
