"""C1: what counting costs eight writers; C1b: what sixteen products on their table cost them."""

from __future__ import annotations

from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.counted import Counted
from benchmarks.measure import Turn
from benchmarks.report import Column, Results, Verdict, at_least, at_most, by_phase, ms, paired, us
from benchmarks.writers import KNOWN, WRITERS, all_write, facet_move, hundred_rows, one_row, two_statements

ID = "C1"
TITLE = "Eight writers on a counted table"
ROUNDS_AT_MOST = 3
SECONDS = 1.5
KINDS = {
    "one-row INSERT, autocommit": one_row,
    "two statements, 3 ms of client time between them": two_statements,
    "100-row INSERT, autocommit": hundred_rows,
    "one-row UPDATE that moves a facet, autocommit": facet_move,
}
PHASES = tuple(KINDS)
AIMS = (0.85, 0.95, 0.95, 0.85)
HOW = f"""
{WRITERS} processes write to one table of {KNOWN:,} rows for {SECONDS} s a turn, over warm connections of the bare
driver (psycopg2; an ORM would cost all the same on top). The statements are the same for all; what differs is who
counts the table: nobody; a hand-written statement trigger that adds to counter rows; kck_flow, a stock with three
facets of 50 values each (C1), or 16 such stocks (C1b), of which a row is in one, or in all of them. Without a worker
nothing is folded during the turn; with one, it shares the two cores with the writers. *×* columns are medians over the
rounds of the ratio to *untracked* in the same round. An error is a deadlock.
"""
WHY = """
*CPU server* less that of *untracked* is what the trigger costs: of a one-row statement, its call with a transition
table, one question and an INSERT of one delta for the total and one for each facet, with one index entry each; of many
rows, one grouping for each facet, and a delta for each value. On two cores, which eight writers fill, CPU is
throughput, but where the disk or the client's own time is what they wait for.
"""
CONTESTANTS = (
    "count-untracked",
    "count-kck",
    "count-kck-worker",
    "count-kck-divided",
    "count-kck-sixteen",
    "count-tally",
)


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Make and fill the tables."""
    player.prepare()
    player.fill_table(KNOWN)
    player.start_worker(options["folder"])


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Let them write; what waits is folded after the turn."""
    turn = all_write(player, KINDS[options["phase"]](player.table), 0.3 if options["quick"] else SECONDS)
    player.fold()
    player.leave()
    return turn


def per_second(result: Result) -> list[float]:
    """Return the transactions a second, round by round."""
    return [turn.counts["per_second"] for turn in result.turns]


def p99(result: Result) -> list[float]:
    """Return the 99th percentiles, round by round."""
    return [turn.p99_us for turn in result.turns]


def tables(results: Results) -> str:
    """Return a table for each kind of write."""

    def columns(found: dict[str, Result]) -> list[Column]:
        plain = found.get("count-untracked")
        return [
            ("transactions/s", lambda r: f"{r.count('per_second'):,.0f}"),
            ("× untracked", lambda r: _written(paired(r, plain, per_second))),
            ("p99 ms", lambda r: ms(r.p99_us)),
            ("× p99", lambda r: _written(paired(r, plain, p99))),
            ("CPU client µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
            ("deltas left", lambda r: f"{r.count('waiting'):,.0f}"),
            ("errors", lambda r: f"{r.most('failed'):,.0f}"),
        ]

    return by_phase(results, columns)


def _written(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def verdicts(results: Results) -> list[Verdict]:
    """0.85, 0.95, 0.95, 0.85 of untracked; p99 1.2 times; sixteen 0.9 of one."""
    verdicts = []
    for phase, aim in zip(PHASES, AIMS, strict=True):
        found = results[phase]
        plain, one = found.get("count-untracked"), found.get("count-kck")
        name = phase.partition(",")[0]
        verdicts += [
            at_least(f"{name}: ≥ {aim} × untracked", paired(one, plain, per_second), aim, " ×"),
            at_most(f"{name}: p99 ≤ 1.2 × untracked", paired(one, plain, p99), 1.2, " ×"),
        ]
        for other, label in (("divided", "in one of 16"), ("sixteen", "in each of 16")):
            share = paired(found.get(f"count-kck-{other}"), one, per_second)
            verdicts.append(at_least(f"C1b, {name}, rows {label}: ≥ 0.9 × one stock", share, 0.9, " ×"))
    return verdicts
