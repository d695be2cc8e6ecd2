"""T1: how many messages a second a topic takes, each exactly once, beside an INSERT for each."""

from __future__ import annotations

from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.base import NotOffered
from benchmarks.contestants.topics import SENT_AT_ONCE, Taking
from benchmarks.measure import Turn
from benchmarks.report import Column, Results, Verdict, at_least, by_phase, paired, us

ID = "T1"
TITLE = "Messages through a topic"
ROUNDS_AT_MOST = 3
HANDLED, SENT = "messages that are in the log", f"messages sent, {SENT_AT_ONCE:,} a statement, and handled"
PHASES = (HANDLED, SENT)
HOW = f"""
One process handles messages of some 60 bytes, in batches of 5,000: a topic that counts all of them, and one that counts
them by carrier (16) and hour. Each batch commits with the place that it was read up to. First those that are in the log
already, then with their sending by the same process, {SENT_AT_ONCE:,} a statement, each with an id that is looked up
among all that were sent. Afterwards the counts are compared with what was sent. The floor inserts each message as a row
with its id, in autocommit, over the bare driver, and counts nothing.

*CPU* is that of client and server for one message: a million µs are a second of one core.
"""
WHY = """
Most of it is Python's: a message is an object, made of its JSON, given to a function. The server reads rows and writes
a few products a batch; with the sending, it keeps an index of ids, too.
"""
CONTESTANTS = ("topic-kck", "topic-kck-windows", "topic-insert")


def prepare(player: Taking, options: dict[str, Any]) -> None:
    """Make the tables."""
    if options["phase"] == SENT and not player.topic:
        raise NotOffered("it is the same in both")
    player.prepare()


def measure(player: Taking, options: dict[str, Any]) -> Turn:
    """Take some messages in."""
    number = 5_000 if options["quick"] else 100_000
    if not player.topic:
        return player.insert(number // 10)
    return player.take(number, sending=options["phase"] == SENT)


def per_second(result: Result) -> list[float]:
    """Return the messages a second of each round."""
    return [turn.counts["per_second"] for turn in result.turns]


def on_one_core(result: Result) -> float:
    """Return how many messages a second one core can take, client and server together."""
    return 1e6 / min(turn.cpu_us for turn in result.turns)


def tables(results: Results) -> str:
    """Return a table for each phase."""

    def columns(found: dict[str, Result]) -> list[Column]:
        floor = results[HANDLED].get("topic-insert")
        return [
            ("messages/s", lambda r: f"{r.count('per_second'):,.0f}"),
            ("× INSERT", lambda r: _written(paired(r, floor, per_second))),
            ("CPU client µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
            ("messages/s of one core", lambda r: f"{on_one_core(r):,.0f}"),
        ]

    return by_phase(results, columns)


def _written(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def verdicts(results: Results) -> list[Verdict]:
    """20,000 a second of one core, exactly once."""
    return [
        at_least(
            f"{phase}: ≥ 20,000 messages/s of one core",
            on_one_core(results[phase]["topic-kck"]) if results[phase].get("topic-kck") else None,
            20_000,
            "",
            0,
        )
        for phase in PHASES
    ]
