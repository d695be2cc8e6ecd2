"""P3: a chart, made on the server."""

from __future__ import annotations

import gzip
from typing import Any

from benchmarks.contestants.charts import Drawing
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, at_most, by_phase, ms

ID = "P3"
TITLE = "A chart of 10,000 points × 2"
SERIES = 2
SIZES = {"30 points": 30, "365 points": 365, "10,000 points": 10_000}
PHASES = tuple(SIZES)
HOW = f"""
{SERIES} series of hours are drawn as lines, 720 × 240 pixels, with axes, ticks of the calendar and names: as SVG, again
and again, from points that are in memory. Within a page, the picture carries what pointer and arrow keys show, too;
alone, it carries its colours. *kB* are 1,000 bytes, *gzip* is level 6.
"""
WHY = """
Each point is an object whose start, value and completeness are looked at; what is drawn is at most four values for each
pixel.
"""
CONTESTANTS = ("chart-page", "chart-alone")


def prepare(player: Drawing, options: dict[str, Any]) -> None:
    """Nothing stands between points and picture."""


def measure(player: Drawing, options: dict[str, Any]) -> Turn:
    """Draw again and again: for at most three seconds."""
    draw = player.drawer(SERIES, SIZES[options["phase"]])
    written = draw().encode()
    turn = player.turn(draw, (() for _ in range(20 if options["quick"] else 300)), seconds=3.0)
    turn.counts = {"bytes": len(written), "gzipped": len(gzip.compress(written, 6))}
    return turn


def tables(results: Results) -> str:
    """Return a table for each number of points."""
    return by_phase(
        results,
        lambda _found: [
            ("median ms", lambda r: f"{r.median_us / 1e3:,.2f}"),
            ("p99 ms", lambda r: ms(r.p99_us)),
            ("CPU ms", lambda r: f"{r.client_cpu_us / 1e3:,.2f}"),
            ("kB", lambda r: f"{r.count('bytes') / 1e3:,.1f}"),
            ("kB, gzip", lambda r: f"{r.count('gzipped') / 1e3:,.1f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """10 ms and 15 kB."""
    found = results["10,000 points"]
    return [
        verdict
        for name, where in (("chart-page", "within a page"), ("chart-alone", "alone"))
        for one in [found.get(name)]
        for verdict in (
            at_most(f"{where}: ≤ 10 ms", one.median_us / 1e3 if one else None, 10, " ms"),
            at_most(f"{where}: ≤ 15 kB gzipped", one.count("gzipped") / 1e3 if one else None, 15, " kB"),
        )
    ]
