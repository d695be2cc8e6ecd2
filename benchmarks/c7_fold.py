"""C7: how fast waiting deltas are folded, and whether a worker keeps up with 10,000 rows a second."""

from __future__ import annotations

import random
import time
from statistics import mean
from typing import Any

from benchmarks.conductor import Result
from benchmarks.contestants.base import NotOffered
from benchmarks.contestants.counted import COLUMNS, ROWS, VALUES, Counted
from benchmarks.measure import Turn, turn_of
from benchmarks.report import Results, Verdict, at_least, at_most, table, us
from benchmarks.writers import KNOWN, WRITERS, Write, all_write

ID = "C7"
TITLE = "Folding"
ROUNDS_AT_MOST = 3
PACE = 10_000
SECONDS = 12.0
IN_ONE, BATCH = 20, 20_000
FOLDS = {"151 levels": 1, "30,001 levels": 200}
PACED = {
    "100-row statements": 100,
    f"one-row statements, {IN_ONE} in a transaction": IN_ONE,
}
PHASES = (*FOLDS, *PACED)
HOW = f"""
Deltas of one stock, as one-row INSERTs append them (one for the total, one for each of three facets), are folded by one
process in batches of {BATCH:,}, as a worker does, until none is left: into the levels of 50 values of each facet, or of
10,000. The floor deletes as many deltas, in as many statements, and keeps nothing. One core is a backend's; *CPU* is
the server's.

Then {WRITERS} writers insert {PACE:,} rows a second for {SECONDS:.0f} s at an even pace, beside a worker with its
defaults; the number of deltas that wait is looked at twice a second. *Begin* and *end* are its means over the first
and the last third.
"""
WHY = """
A delta that is folded was a row with an index entry, and has to be deleted as one: compare *CPU* with the floor,
which does nothing else. A million CPU µs are a second of one core; the wall clock tells less where others share the
machine. With many levels, a digest and an upsert for each come on top. At 10,000 one-row statements a second (40,000
deltas), eight writers and their server alone want more than two cores.
"""
CONTESTANTS = ("fold-kck", "fold-floor")
_FACETS = (
    "(VALUES (0, 'null'::jsonb), (1, to_jsonb('plan' || g % {n})), (2, to_jsonb('c' || g / 7 % {n})), "
    "(3, to_jsonb(g / 49 % {n}))) AS f (facet, facet_value)"
)
_FILL = (
    "INSERT INTO kck_delta (generation, args_digest, args, facet, facet_value, at, n) "
    "SELECT c.generation, kck_digest('{{}}'), '{{}}', f.facet, f.facet_value, now(), 1 "
    "FROM kck_generation c, generate_series(1, {rows}) AS g, LATERAL "
    + _FACETS
    + " WHERE c.key_base = 'bench_active'"
)


def prepare(player: Counted, options: dict[str, Any]) -> None:
    """Make the tables; where writers will write, start the worker."""
    if options["phase"] in PACED and player.asks:
        raise NotOffered("it only deletes")
    player.prepare()
    player.fill_table(KNOWN)
    if options["phase"] in PACED:
        player.worker = True
        player.start_worker(options["folder"])


def measure(player: Counted, options: dict[str, Any]) -> Turn:
    """Fold what was appended, or see whether a worker keeps up."""
    if options["phase"] in PACED:
        return _paced(player, options)
    rows = 5_000 if options["quick"] else 250_000 if options["full"] else 75_000
    fill = _FILL.format(rows=rows, n=VALUES * FOLDS[options["phase"]])
    player.run(fill, "VACUUM ANALYZE kck_delta", "VACUUM ANALYZE kck_level", "CHECKPOINT")
    servers, start = player.server_cpu_ns(), time.perf_counter_ns()
    deltas = _delete_all(player) if player.asks else player.fold()
    took = time.perf_counter_ns() - start
    turn = turn_of([took / deltas], server_cpu_ns=(player.server_cpu_ns() - servers) / deltas)
    turn.counts = {"deltas": deltas, "per_second": deltas / took * 1e9}
    return turn


def _delete_all(player: Counted) -> int:
    cursor, deleted = player.connect().cursor(), 0
    while True:
        cursor.execute(f"DELETE FROM kck_delta WHERE id IN (SELECT id FROM kck_delta LIMIT {BATCH})")
        if not cursor.rowcount:
            break
        deleted += cursor.rowcount
    cursor.connection.close()
    return deleted


def _paced(player: Counted, options: dict[str, Any]) -> Turn:
    rows = PACED[options["phase"]]
    many = rows == 100
    write = _hundred(player.table) if many else _one_by_one(player.table)
    sequence = "SELECT last_value FROM pg_sequences WHERE sequencename = 'kck_delta_id_seq'"
    before = player.run(sequence)[0][0] or 0
    seconds = 2.0 if options["quick"] else SECONDS
    turn = all_write(player, write, seconds, pace=rows * WRITERS / PACE)
    third = max(1, len(turn.watched) // 3)
    turn.counts |= {
        "rows_per_second": turn.counts["per_second"] * rows,
        "deltas_per_second": ((player.run(sequence)[0][0] or 0) - before) / seconds,
        "begin": mean(turn.watched[:third]),
        "end": mean(turn.watched[-third:]),
        "highest": max(turn.watched),
    }
    player.fold()
    player.leave()
    return turn


def _hundred(table: str) -> Write:
    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        first = dice.randrange(VALUES**3)
        cursor.execute(f"INSERT INTO {table} {COLUMNS} {ROWS.format(first=first, last=first + 99)}")

    return write


def _one_by_one(table: str) -> Write:
    """One round trip, so that the writers' own time is not what is measured."""

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        ones = []
        for _ in range(IN_ONE):
            n = dice.randrange(VALUES**3)
            ones.append(f"INSERT INTO {table} {COLUMNS} {ROWS.format(first=n, last=n)}")
        cursor.execute("; ".join(["BEGIN", *ones, "COMMIT"]))

    return write


def tables(results: Results) -> str:
    """Return a table of folds, one of floors beside them, and one of each pace."""
    parts = []
    for phase, found in results.items():
        if phase in FOLDS:
            columns = [
                ("deltas", lambda r: f"{r.count('deltas'):,.0f}"),
                ("deltas/s", lambda r: f"{r.count('per_second'):,.0f}"),
                ("CPU µs a delta", lambda r: us(r.server_cpu_us)),
            ]
            parts.append(f"### {phase}\n\n{table(found.values(), columns)}")
            continue
        columns = [
            ("rows/s", lambda r: f"{r.count('rows_per_second'):,.0f}"),
            ("deltas/s", lambda r: f"{r.count('deltas_per_second'):,.0f}"),
            ("waiting, begin", lambda r: f"{r.count('begin'):,.0f}"),
            ("end", lambda r: f"{r.count('end'):,.0f}"),
            ("highest", lambda r: f"{r.most('highest'):,.0f}"),
        ]
        ours: list[Result] = [result for name, result in found.items() if name == CONTESTANTS[0]]
        parts.append(f"### {PACE:,} rows a second, by {phase}\n\n{table(ours, columns)}")
    return "\n\n".join(parts)


def verdicts(results: Results) -> list[Verdict]:
    """500,000 deltas a second; a backlog that does not grow."""
    verdicts = []
    for phase in FOLDS:
        ours = results[phase].get("fold-kck")
        speed = ours.count("per_second") if ours else None
        verdicts.append(at_least(f"{phase}: ≥ 500,000 deltas/s", speed, 500_000, "", 0))
    for phase in PACED:
        ours = results[phase].get("fold-kck")
        reached = ours.count("rows_per_second") if ours else None
        growth = (ours.count("end") - ours.count("begin")) / ours.count("deltas_per_second") if ours else None
        verdicts += [
            at_least(f"{phase}: {PACE:,} rows/s written", reached, 0.99 * PACE, "", 0),
            at_most(f"{phase}: the backlog grows by less than a second's deltas", growth, 1, " s"),
        ]
    return verdicts
