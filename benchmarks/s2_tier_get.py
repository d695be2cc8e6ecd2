"""S2: a warm ``get`` out of the process's own memory, every caller with a copy of its own."""

from __future__ import annotations

from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.product import product
from benchmarks.report import Results, Verdict, at_most, by_phase, us, versus
from benchmarks.s1_warm_get import KEYS
from benchmarks.s1_warm_get import PHASES as PHASES
from benchmarks.s1_warm_get import prepare as prepare

ID = "S2"
TITLE = "Warm get from the in-process tier"
HOW = """
As S1, from memory. All but the dict give each caller a copy of its own; what decoding that copy costs by
itself, for this product, is in the floors.
"""
WHY = """
For a record, decoding a copy costs more than the aim by itself: see the floors. The rest is Python: reading the
key, finding the bound, and looking whether the caller stands inside a transaction, where memory must not answer.
"""
CONTESTANTS = (
    *("dict", "bytes-json", "bytes-pickle", "bytes-marshal"),
    *("kck-tier", "django-locmem", "dogpile-memory", "cashews-memory"),
)


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Read the products again and again."""
    calls = 2_000 if options["quick"] else 30_000
    get, keys = player.getter(), [(player.key(number),) for number in range(KEYS)]
    if not player.asynchronous and player.name != "dict":
        get(player.key(1))["id"] = "spoiled"
        wanted = product(1, options["phase"])
        assert get(player.key(1)) == wanted, f"{player.name} shares one object between its callers"
    player.turn(get, keys)
    return player.turn(get, (keys[n % KEYS] for n in range(calls)))


def tables(results: Results) -> str:
    """Return a table for each shape."""
    return by_phase(
        results,
        lambda found: [
            ("median µs", lambda r: us(r.median_us)),
            ("p99 µs", lambda r: us(r.p99_us)),
            ("CPU µs", lambda r: us(r.cpu_us)),
            ("× LocMem", versus(found.get("django-locmem"), lambda r: r.median_us)),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Four microseconds."""
    verdicts = []
    for phase, found in results.items():
        ours = found.get("kck-tier")
        verdicts.append(at_most(f"{phase}: median ≤ 4 µs", ours.median_us if ours else None, 4, " µs", 1))
    return verdicts
