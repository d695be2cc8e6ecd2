"""T2: one time frame of five million items, and the memory of the process that computes it."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.frames import Framing
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, table, us

ID = "T2"
TITLE = "A frame of five million items"
ROUNDS_AT_MOST = 1
HOW = """
A table has five million rows of one day (`--quick`: 50,000). One process reads the day's frame, which nobody has
computed: it walks all items in Python, adds them up and keeps the value. *peak MB* is the most memory that the process
ever had (`ru_maxrss`), with Django and all that it had loaded before. The items are instances of the model, or light
rows of the one column that is needed.
"""
WHY = """
The stream gives pages, each going on behind the last row of the one before, in one snapshot; a page is in memory at a
time. The time is Python's, which makes an object of each row.
"""
CONTESTANTS = ("frame-rows", "frame-light")


def size(options: dict[str, Any]) -> int:
    """Return how many items there are."""
    return 50_000 if options["quick"] else 5_000_000


def prepare(player: Framing, options: dict[str, Any]) -> None:
    """Make the table, and fill it."""
    player.prepare()
    player.fill(size(options))


def measure(player: Framing, options: dict[str, Any]) -> Turn:
    """Compute the frame."""
    return player.compute(size(options))


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("items", lambda r: f"{r.count('items'):,.0f}"),
            ("items/s", lambda r: f"{r.count('per_second'):,.0f}"),
            ("CPU client µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
            ("peak MB", lambda r: f"{r.count('peak_mb'):,.0f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """200 MB."""
    return [
        at_most(f"{what}: ≤ 200 MB", found.count("peak_mb") if found else None, 200, " MB", 0)
        for name, what in (("frame-rows", "instances"), ("frame-light", "light rows"))
        for found in [results[""].get(name)]
    ]
