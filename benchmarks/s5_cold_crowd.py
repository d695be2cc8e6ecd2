"""S5: 64 callers ask for one cold product at once: how long the slowest waits beyond the compute."""

from __future__ import annotations

from statistics import mean
from typing import Any

from benchmarks.contestants.base import Contestant
from benchmarks.crowd import FAILED, arrive_together
from benchmarks.measure import Turn, quantile, turn_of
from benchmarks.product import COLD_SECONDS, lines_of
from benchmarks.report import Results, Verdict, at_most, ms, table
from benchmarks.s1_warm_get import DRIVERS

ID = "S5"
TITLE = "64 cold callers"
PROCESSES, CALLERS = 8, 8
HOW = f"""
{PROCESSES} processes × {CALLERS} threads (tasks, for asyncio) with warm connections pass a barrier and ask
for a product that nobody has; its compute sleeps {COLD_SECONDS} s and appends a line to a file. Counted: how
long the slowest of the 64 waits beyond the compute, for each cold product. *p99* is the median over the
rounds of the slowest of all trials of a round (ten of them, so it is the worst), *each caller* the 99th
percentile over all callers. Through PgBouncer: transaction mode, ten server connections.
"""
WHY = """
64 threads in eight processes want the same two cores at the same moment, the one at which the compute ends.
Django's RedisCache, which protects nothing and shares nothing, shows what the machine alone takes for that.
"""
CONTESTANTS = (
    *(f"{who}-{driver}" for driver in DRIVERS for who in ("kck", "kck-bounced")),
    *("django-db-psycopg2", "django-redis", "dogpile", "cacheops", "cashews", "diskcache"),
    *("cache-postgres", "cache-postgres-bounced", "django-kck"),
)


def prepare(player: Contestant, options: dict[str, Any]) -> None:
    """Make the tables; close what the processes must not inherit."""
    player.prepare()
    player.leave()


def measure(player: Contestant, options: dict[str, Any]) -> Turn:
    """Let the crowd ask for one cold product after the other."""
    trials = 2 if options["quick"] else 10
    log = f"{options['folder']}/s5-{player.name}-{options['round']}.log"
    keys = [f"r{options['round']}t{trial}" for trial in range(trials)]
    warm = f"warm{options['round']}"
    waited = arrive_together(
        player, lambda: player.cold_getter(log), keys, warm=warm, processes=PROCESSES, callers=CALLERS
    )
    computes: dict[str, list[int]] = {key: [] for key in [*keys, warm]}
    for line in lines_of(log):
        key, took = line.rsplit(None, 1)
        computes[key.rpartition("/")[2]].append(int(took))
    beyond, slowest, failed = [], [], 0
    for key, all_ns in zip(keys, waited, strict=True):
        compute_ns = mean(computes[key]) if computes[key] else COLD_SECONDS * 1e9
        served = [ns - compute_ns for ns in all_ns if ns != FAILED]
        failed += all_ns.count(FAILED)
        beyond += served
        slowest += [max(served)] if served else []
    if not slowest:
        raise RuntimeError("every caller got an error; its log has the first")
    turn = turn_of(slowest)
    turn.counts = {
        "each_p99_us": quantile(sorted(beyond), 0.99) / 1e3,
        "computes": mean(len(computes[key]) for key in keys),
        "failed": failed / len(keys),
    }
    return turn


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("slowest of 64, median ms", lambda r: ms(r.median_us)),
            ("p99 ms", lambda r: ms(r.p99_us)),
            ("each caller, p99 ms", lambda r: ms(r.count("each_p99_us"))),
            ("computes", lambda r: f"{max(t.counts['computes'] for t in r.turns):.1f}"),
            ("errors of 64", lambda r: f"{max(t.counts['failed'] for t in r.turns):.1f}"),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Fifty milliseconds, and one compute."""
    verdicts = []
    for driver in DRIVERS:
        for name, how in (("kck", "directly"), ("kck-bounced", "through PgBouncer")):
            ours = results[""].get(f"{name}-{driver}")
            verdicts += [
                at_most(f"{driver}, {how}: p99 ≤ 50 ms", ours.p99_us / 1e3 if ours else None, 50, " ms", 1),
                at_most(f"{driver}, {how}: one compute", ours.most("computes") if ours else None, 1.0),
                at_most(f"{driver}, {how}: no error", ours.most("failed") if ours else None, 0),
            ]
    return verdicts
