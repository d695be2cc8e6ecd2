"""R1: no-op refreshes per second, with two workers."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.conductor import Result
from benchmarks.engines.base import WARM_JOBS, Engine
from benchmarks.measure import Turn
from benchmarks.report import Results, Verdict, table, us

ID = "R1"
TITLE = "No-op refreshes per second, two workers"
JOBS = 1000
HOW = f"""
Two workers start, do a few jobs and are held (SIGSTOP); {JOBS:,} jobs are requested, one by one, each of
which does nothing but append a line with the instant to a file; the workers are let go, and the time
until the last line is taken. CPU is that of the workers, with all that they fork, and of their server,
for one job. Every engine runs with its defaults, but for one job at a time in each process where it would
run more (Celery). A job of kck_flow is the refresh of a key of its own, value and record of the run
included. The floor shows what the disk allows to an engine that commits once for each job.
"""
WHY = """
A refresh here stores a value, its next due time and a record of the run, durably, and outlives the worker that
dies in it: one commit for each, which waits for the disk (see the floor; DURABLE_PUBLISH = False does not wait).
Celery and RQ take a job out of Redis's memory; Celery by default before it has run, so that it is lost with its
worker.
"""
WORKERS = 2
CONTESTANTS = (
    "run-floor",
    "run-kck-psycopg2",
    "run-kck-psycopg3",
    "run-kck-at-once",
    "procrastinate",
    "django-tasks-db",
    "celery",
    "rq",
    "rq-simple",
)


def prepare(player: Engine, options: dict[str, Any]) -> None:
    """Make the tables."""
    player.prepare()


def measure(player: Engine, options: dict[str, Any]) -> Turn:
    """Let two fresh workers loose on a full queue."""
    jobs = 100 if options["quick"] else JOBS
    try:
        player.start(WORKERS, f"{options['folder']}/r1-{player.name}-{options['round']}.log")
        player.hold()
        for number in range(jobs):
            player.request(number)
        workers, servers = player.workers_cpu_ns(), player.server_cpu_ns()
        began = time.monotonic_ns()
        player.release()
        done = player.wait_for(WARM_JOBS + jobs, pause=0.02)
        workers, servers = player.workers_cpu_ns() - workers, player.server_cpu_ns() - servers
    finally:
        player.stop()
    ours = [at for number, at in done if number >= 0]
    if len({number for number, _ in done if number >= 0}) != jobs:
        raise RuntimeError(f"{jobs} jobs were wanted, {len(set(done))} different ones ran")
    each_us = (max(ours) - began) / jobs / 1e3
    return Turn(jobs, each_us, each_us, each_us, each_us, workers / jobs / 1e3, servers / jobs / 1e3)


def tables(results: Results) -> str:
    """Return the table."""
    first = results[""].get("procrastinate")
    return table(
        results[""].values(),
        [
            ("jobs/s, best round", lambda r: f"{per_second(r):,.0f}"),
            ("× Procrastinate", lambda r: f"{per_second(r) / per_second(first):.2f}" if first else "–"),
            ("CPU workers µs", lambda r: us(r.client_cpu_us)),
            ("CPU server µs", lambda r: us(r.server_cpu_us)),
            ("CPU µs", lambda r: us(r.cpu_us)),
            ("jobs per CPU second", lambda r: f"{1e6 / r.cpu_us:,.0f}"),
        ],
    )


def per_second(result: Result) -> float:
    """Return how many jobs a second the best round did."""
    return 1e6 / result.median_us


def verdicts(results: Results) -> list[Verdict]:
    """First of all of them."""
    others = {name: per_second(r) for name, r in results[""].items() if r and not name.startswith("run-")}
    verdicts = []
    for driver in ("psycopg2", "psycopg3", "at-once"):
        ours = results[""].get(f"run-kck-{driver}")
        if not ours or not others:
            verdicts.append(Verdict(f"{driver}: first of all of them", "–", None))
            continue
        best = max(others, key=lambda name: others[name])
        share = per_second(ours) / others[best]
        verdicts.append(
            Verdict(
                f"{driver}: first of all of them",
                f"{share:.2f} × {results[''][best].label}, the next best",
                share >= 1,
            )
        )
    return verdicts
