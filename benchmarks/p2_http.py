"""P2: one product over HTTP, and one that the client has already."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.http import Asked
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, by_phase, latency_columns

ID = "P2"
TITLE = "One product over HTTP"
ROWS = {"a record of 1 kB": 0, "1,000 rows, 87 kB": 1000}
PHASES = tuple(ROWS)
HOW = """
A request for a product's `.json` is handed to the view, again and again, over one warm connection: from the request to
the response with its headers, without a server, middleware or a session around it. Before it the client had nothing, or
this very version (*304*). *The query* is the one statement that the view runs, alone; the plain view gets the value and
makes a `JsonResponse` of it, without an ETag, and makes it before it can know that the client has it.
"""
WHY = """
What is stored is JSON already, and is passed on as it is: no value is made of it, and none is encoded. Of a version
that the client has, the value does not even leave the database. What remains above the query is looking up the key,
asking for the permission, some metadata, and the headers.
"""
CONTESTANTS = ("http-query", "http-kck", "http-query-304", "http-kck-304", "http-plain")


def prepare(player: Asked, options: dict[str, Any]) -> None:
    """Store the product, and get it once each way."""
    player.prepare()
    player.store(ROWS[options["phase"]])


def measure(player: Asked, options: dict[str, Any]) -> Turn:
    """Ask again and again."""
    calls = 100 if options["quick"] else 2000
    call = player.caller()
    player.turn(call, player.requests(50))
    turn = player.turn(call, player.requests(calls))
    turn.counts = {"bytes": player.size()}
    return turn


def tables(results: Results) -> str:
    """Return a table for each size."""
    return by_phase(
        results,
        lambda found: [
            *latency_columns(found.get("http-plain")),
            ("bytes", lambda r: f"{r.count('bytes'):,.0f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """0.3 ms above the query, and 0.2 ms, the query included, where the client has it."""
    made = []
    for phase, found in results.items():
        for name, limit, what in (("", 0.3, "above the query"), ("-304", 0.2, "304, in all")):
            view, query = found.get(f"http-kck{name}"), found.get(f"http-query{name}")
            above = None
            if view is not None and query is not None:
                above = (view.median_us - (query.median_us if not name else 0)) / 1e3
            made.append(at_most(f"{phase}, {what}: ≤ {limit} ms", above, limit, " ms"))
    return made
