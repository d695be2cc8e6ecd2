"""S8: ``aget_many`` of 100 beside its synchronous twin."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn, take_turn, take_turn_async
from benchmarks.report import Results, Verdict, at_most, table, us
from benchmarks.s1_warm_get import DRIVERS
from benchmarks.s1_warm_get import prepare as prepare

ID = "S8"
TITLE = "aget_many of 100"
HOW = """
One task reads 100 products of about 1 KB by the asynchronous call, again and again, then the same process by
the synchronous one; each turn holds both, in blocks that alternate.
"""
WHY = """
The read goes to a thread and back, once for all keys.
"""
CONTESTANTS = (
    *(f"{who}-{driver}" for driver in DRIVERS for who in ("kck", "django-db")),
    *("django-redis", "cache-postgres"),
)
KEYS = 100
BLOCK_SECONDS = 0.3


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Take turns within the turn: a block of asynchronous calls, a block of synchronous ones."""
    blocks, calls = (2, 5) if options["quick"] else (8, 15)
    keys = [player.key(number) for number in range(KEYS)]
    get_many, aget_many = player.many_getter(), _kept(player)
    assert len(player.loop.run_until_complete(aget_many(keys))) == len(get_many(keys)) == KEYS
    turns, twins = [], []
    for _ in range(blocks):
        arguments = [(keys,)] * calls
        asked = take_turn_async(
            aget_many, arguments, server_cpu_ns=player.server_cpu_ns, seconds=BLOCK_SECONDS
        )
        turns.append(player.loop.run_until_complete(asked))
        twins.append(
            take_turn(get_many, arguments, server_cpu_ns=player.server_cpu_ns, seconds=BLOCK_SECONDS)
        )
    best = min(turns, key=lambda turn: turn.median_us)
    best.counts["twin_us"] = min(turn.median_us for turn in twins)
    best.counts["twin_cpu_us"] = min(turn.cpu_us for turn in twins)
    return best


def _kept(player: Contestant) -> Any:
    """Make the asynchronous call once for all turns: some open a pool for it."""
    if "_aget_many" not in player.__dict__:
        player.__dict__["_aget_many"] = player.async_many_getter()
    return player.__dict__["_aget_many"]


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("async median µs", lambda r: us(r.median_us)),
            ("async CPU µs", lambda r: us(r.cpu_us)),
            ("sync median µs", lambda r: us(r.least("twin_us"))),
            ("async × sync", lambda r: f"{r.median_us / r.least('twin_us'):.2f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Little more than the twin."""
    verdicts = []
    for driver in DRIVERS:
        ours = results[""].get(f"kck-{driver}")
        value = ours.median_us / ours.least("twin_us") if ours else None
        verdicts.append(at_most(f"{driver}: ≤ 1.3 × its synchronous twin", value, 1.3, " ×"))
    return verdicts
