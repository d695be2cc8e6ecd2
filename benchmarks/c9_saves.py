"""C9: what a count costs an application that saves its objects one at a time: triggers, signals, or nobody."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.c1_write_throughput import p99, per_second, prepare
from benchmarks.conductor import Result
from benchmarks.contestants.counted import VALUES, Counted
from benchmarks.measure import Turn
from benchmarks.report import Column, Results, Verdict, at_least, by_phase, ms, paired, us
from benchmarks.writers import KNOWN, WRITERS, Write, all_write

__all__ = ["prepare"]

ID = "C9"
TITLE = "Eight processes that save objects"
ROUNDS_AT_MOST = 3
SECONDS = 1.5
HOW = f"""
As C1, through Django: {WRITERS} processes save objects of one model, in autocommit. Who counts them: nobody; kck_flow
by triggers, a stock with three facets; kck_flow by signals, the same stock told by a `ModelTracker`, which reads each
row before and after its write.
"""
WHY = """
Signals cost two more statements a save, and a transaction around them where there was none. What only Python can tell
has no other way; everything else has.
"""
CONTESTANTS = ("count-untracked", "count-kck", "count-signals")


def _create(model: Any) -> Write:
    """A new object."""

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        pick = dice.randrange(VALUES**3)
        model.objects.create(
            state="active",
            plan=f"plan{pick % VALUES}",
            country=f"c{pick // VALUES % VALUES}",
            shop_id=pick // VALUES**2,
            note="a note",
        )

    return write


def _move(model: Any) -> Write:
    """One that is loaded, and saved with another plan."""

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        found = model.objects.get(pk=1 + writer + WRITERS * dice.randrange(KNOWN // WRITERS))
        found.plan = f"plan{dice.randrange(VALUES)}"
        found.save()

    return write


KINDS = {"create()": _create, "get(), and save() with another plan": _move}
PHASES = tuple(KINDS)


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Let them save; what waits is folded after the turn."""
    from django.apps import apps

    model = next(one for one in apps.get_models() if one._meta.db_table == player.table)
    turn = all_write(player, KINDS[options["phase"]](model), 0.3 if options["quick"] else SECONDS)
    player.fold()
    player.leave()
    return turn


def tables(results: Results) -> str:
    """Return a table for each kind of save."""

    def columns(found: dict[str, Result]) -> list[Column]:
        plain = found.get("count-untracked")
        return [
            ("saves/s", lambda r: f"{r.count('per_second'):,.0f}"),
            ("× untracked", lambda r: _written(paired(r, plain, per_second))),
            ("p99 ms", lambda r: ms(r.p99_us)),
            ("× p99", lambda r: _written(paired(r, plain, p99))),
            ("CPU client µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
        ]

    return by_phase(results, columns)


def _written(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def verdicts(results: Results) -> list[Verdict]:
    """By triggers, 0.85 of untracked, as one-row statements are to be."""
    return [
        at_least(
            f"{phase}: by triggers ≥ 0.85 × untracked",
            paired(results[phase].get("count-kck"), results[phase].get("count-untracked"), per_second),
            0.85,
            " ×",
        )
        for phase in PHASES
    ]
