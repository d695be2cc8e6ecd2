"""Results as Markdown: the machine, the versions, a table for each scenario, each aim and whether it is
met."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.conductor import Result

INTRODUCTION = """Written by `make bench` (`python -m benchmarks`); do not edit. Contestants take turns,
round after round, in processes of their own with warm connections. *median* is the smallest of the
rounds' medians, *p99* the median of the rounds' 99th percentiles, *CPU* that of the client and of its
servers for one operation, in the round
that needed least. Read ratios within one table, not figures: the machine is shared."""

Results = dict[str, dict[str, Result]]
Column = tuple[str, Callable[[Result], str]]


@dataclass
class Verdict:
    """One aim of ``speed.md`` beside what was measured."""

    aim: str
    measured: str
    met: bool | None

    def line(self) -> str:
        """Return the verdict as a row of a Markdown table."""
        word = {True: "met", False: "**missed**", None: "not measured"}[self.met]
        return f"| {self.aim} | {self.measured} | {word} |"


def at_most(aim: str, value: float | None, limit: float, unit: str = "", digits: int = 2) -> Verdict:
    """Return whether a measured value stays within its limit; None was not measured."""
    if value is None:
        return Verdict(aim, "–", None)
    return Verdict(aim, f"{value:,.{digits}f}{unit}", value <= limit)


def at_least(aim: str, value: float | None, limit: float, unit: str = "", digits: int = 2) -> Verdict:
    """Return whether a measured value reaches its limit; None was not measured."""
    if value is None:
        return Verdict(aim, "–", None)
    return Verdict(aim, f"{value:,.{digits}f}{unit}", value >= limit)


def paired(of: Result | None, to: Result | None, values: Callable[[Result], list[float]]) -> float | None:
    """Return the median over the rounds of how many times ``to`` the first is: noise falls on both of a round."""
    if not of or not to:
        return None
    return median(one / other for one, other in zip(values(of), values(to), strict=False))


def ratio(of: Result | None, to: Result | None, value: Callable[[Result], float]) -> float | None:
    """Return how many times ``to`` the first is; None if either did not take part."""
    return value(of) / value(to) if of and to else None


def cpu_ratio(of: Result | None, to: Result | None) -> float | None:
    """Return the ratio of CPU."""
    return ratio(of, to, lambda result: result.cpu_us)


def wall_ratio(of: Result | None, to: Result | None) -> float | None:
    """Return the ratio of the medians."""
    return ratio(of, to, lambda result: result.median_us)


def us(value: float) -> str:
    """Write microseconds for people: 0.42, 7.1, 153, 2,062."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def ms(value_us: float) -> str:
    """Write microseconds as milliseconds."""
    return f"{value_us / 1000:,.1f}"


def versus(reference: Result | None, value: Callable[[Result], float]) -> Callable[[Result], str]:
    """Return a column that says how many times the reference a contestant is."""
    return lambda result: f"{value(result) / value(reference):.2f}" if reference else "–"


def table(results: Iterable[Result], columns: list[Column]) -> str:
    """Return a Markdown table: one contestant a row; who did not take part, with the reason, below."""
    rows = [result for result in results if result.turns]
    absent = [result for result in results if not result.turns]
    lines = ["| | " + " | ".join(head for head, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {row.label} | " + " | ".join(cell(row) for _, cell in columns) + " |" for row in rows]
    for each in absent:
        lines.append(f"| {each.label} | " + " | ".join(["–"] * len(columns)) + " |")
    if absent:
        lines += ["", *(f"* {each.label}: {each.reason or 'not run'}." for each in absent)]
    return "\n".join(lines)


def by_phase(results: Results, columns: Callable[[dict[str, Result]], list[Column]]) -> str:
    """Return a table for each phase, under its name."""
    parts = (f"### {phase}\n\n" + table(found.values(), columns(found)) for phase, found in results.items())
    return "\n\n".join(parts)


def latency_columns(reference: Result | None) -> list[Column]:
    """Return the usual columns: wall clock, CPU of client and server, and the ratio of CPU to a reference."""
    return [
        ("median µs", lambda r: us(r.median_us)),
        ("p99 µs", lambda r: us(r.p99_us)),
        ("CPU client µs", lambda r: us(r.client_cpu_us)),
        ("CPU server µs", lambda r: us(r.server_cpu_us)),
        ("CPU µs", lambda r: us(r.cpu_us)),
        ("× CPU", versus(reference, lambda r: r.cpu_us)),
    ]


def section(scenario: Any, results: Results, run: dict[str, Any]) -> str:
    """Return one scenario's part of the page."""
    verdicts: list[Verdict] = scenario.verdicts(results)
    lines = [f"## {scenario.ID}. {scenario.TITLE}", "", scenario.HOW.strip(), ""]
    lines += [scenario.tables(results), ""]
    lines += ["| aim | measured | |", "|---|---|---|", *(verdict.line() for verdict in verdicts), ""]
    if any(verdict.met is False for verdict in verdicts):
        lines += [f"Why: {scenario.WHY.strip() or 'to be explained.'}", ""]
    lines += [f"{run['rounds']} rounds, {run['when']}, load average before {run['load']}.", ""]
    return "\n".join(lines)


def sections_of(text: str) -> dict[str, str]:
    """Return the scenarios' parts of a page that was written before, by their ids."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]
    return {part[3:].partition(".")[0]: part.rstrip("\n") + "\n" for part in parts}


def versions_of(text: str) -> dict[str, dict[str, str]]:
    """Return the versions that such a page tells, by environment."""
    rows = text.partition("| environment | versions |")[2].partition("\n\n")[0].splitlines()[2:]
    told = (row.strip("| ").split(" | ") for row in rows)
    return {name: dict(each.rsplit(" ", 1) for each in found.split(", ")) for name, found in told}


def page(
    sections: list[str], places: dict[str, Any], versions: dict[str, dict[str, str]], clock_us: float
) -> str:
    """Return the whole page."""
    lines = [
        "# Results",
        "",
        INTRODUCTION,
        "",
        "| machine | |",
        "|---|---|",
        f"| processor | {_processor()}, {os.cpu_count()} cores |",
        f"| memory | {_memory()} |",
        f"| system | {platform.system()} {platform.release()}, Python {platform.python_version()} |",
        f"| servers | {_servers(places)} |",
        "| PostgreSQL | its defaults but for max_connections, shared_buffers and max_wal_size: fsync and"
        " synchronous_commit are on |",
        f"| timing one call of nothing | {clock_us:.2f} µs, part of every figure |",
        "",
        "| environment | versions |",
        "|---|---|",
        *(
            f"| {name} | {', '.join(f'{k} {v}' for k, v in found.items())} |"
            for name, found in versions.items()
        ),
        "",
    ]
    return "\n".join(lines) + "\n" + "\n".join(sections)


def _servers(places: dict[str, Any]) -> str:
    labels = {"postgres": "PostgreSQL", "redis": "Redis", "pgbouncer": "PgBouncer"}
    return ", ".join(
        f"{label} {places[name]['version']}" if "version" in places.get(name, {}) else f"no {label}"
        for name, label in labels.items()
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kib / 2**20:.0f} GiB"
