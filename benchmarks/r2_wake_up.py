"""R2: from the request of a refresh to its start."""

from __future__ import annotations

import random
import time
from typing import Any

from benchmarks.engines.base import WARM_JOBS, Engine
from benchmarks.measure import Turn, turn_of
from benchmarks.r1_throughput import CONTESTANTS as CONTESTANTS
from benchmarks.r1_throughput import WORKERS
from benchmarks.r1_throughput import prepare as prepare
from benchmarks.report import Results, Verdict, at_most, ms, table

ID = "R2"
TITLE = "Wake-up latency, two idle workers"
HOW = """
One job at a time is requested of two idle workers, with a random pause of up to a second in between, so
that an engine which polls is met at every point of its interval. The clock runs from just before the
request to the job's first statement.
"""
WHY = """
The request is a durable row, and a worker is told of it by NOTIFY after the commit.
"""


def measure(player: Engine, options: dict[str, Any]) -> Turn:
    """Ask, wait, ask again."""
    jobs = 4 if options["quick"] else 12
    pause = random.Random(options["round"])
    took = []
    try:
        player.start(WORKERS, f"{options['folder']}/r2-{player.name}-{options['round']}.log")
        for number in range(jobs):
            time.sleep(pause.uniform(0.05, 1.05))
            asked = time.monotonic_ns()
            player.request(number)
            _, began = player.wait_for(WARM_JOBS + number + 1, pause=0.002)[-1]
            took.append(began - asked)
    finally:
        player.stop()
    return turn_of(took)


def tables(results: Results) -> str:
    """Return the table."""
    return table(
        results[""].values(),
        [
            ("p50 ms, best round", lambda r: ms(r.median_us)),
            ("slowest ms", lambda r: ms(r.slowest_us)),
        ],
    )


def verdicts(results: Results) -> list[Verdict]:
    """Twenty milliseconds."""
    verdicts = []
    for driver in ("psycopg2", "psycopg3"):
        ours = results[""].get(f"run-kck-{driver}")
        verdicts.append(
            at_most(f"{driver}: p50 ≤ 20 ms", ours.median_us / 1e3 if ours else None, 20, " ms", 1)
        )
    return verdicts
