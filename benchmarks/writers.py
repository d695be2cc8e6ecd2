"""Eight processes that write at once, and what each of their transactions took."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contestants.counted import COLUMNS, ROWS, VALUES, Counted
from benchmarks.crowd import FORK, PATIENCE_SECONDS, children, gather
from benchmarks.measure import Turn, turn_of

WRITERS = 8
# Rows that are there before: each writer changes those of its own.
KNOWN = 10_000

Write = Callable[[Any, int, random.Random], None]


def one_row(table: str) -> Write:
    """An INSERT of one row, in autocommit."""
    text = f"INSERT INTO {table} {COLUMNS} VALUES ('active', %s, %s, %s, 'a note')"

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        pick = dice.randrange(VALUES**3)
        cursor.execute(text, (f"plan{pick % VALUES}", f"c{pick // VALUES % VALUES}", pick // VALUES**2))

    return write


def two_statements(table: str) -> Write:
    """A transaction of an INSERT and an UPDATE that moves another row to another plan, with 3 ms between them."""
    insert, move = one_row(table), facet_move(table)

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        cursor.execute("BEGIN")
        insert(cursor, writer, dice)
        time.sleep(0.003)
        move(cursor, writer, dice)
        cursor.execute("COMMIT")

    return write


def hundred_rows(table: str) -> Write:
    """An INSERT of 100 rows, in autocommit."""

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        first = dice.randrange(VALUES**3)
        cursor.execute(f"INSERT INTO {table} {COLUMNS} {ROWS.format(first=first, last=first + 99)}")

    return write


def facet_move(table: str) -> Write:
    """An UPDATE that moves one row to another plan, in autocommit."""
    text = f"UPDATE {table} SET plan = %s WHERE id = %s"

    def write(cursor: Any, writer: int, dice: random.Random) -> None:
        row = 1 + writer + WRITERS * dice.randrange(KNOWN // WRITERS)
        cursor.execute(text, (f"plan{dice.randrange(VALUES)}", row))

    return write


@dataclass
class Written(Turn):
    """A turn of writers, and how many deltas waited, twice a second."""

    watched: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().as_dict().items() if name != "watched"}


def all_write(
    player: Counted, write: Write, seconds: float, *, pace: float | None = None, count: int | None = None
) -> Written:
    """Let the writers write for so long, or ``count`` transactions each; one that fails (a deadlock) is lost.

    Args:
        pace: Seconds from one transaction of a writer to its next; with it, or with ``count``, what waits is watched.

    Returns:
        A turn that counts ``per_second`` transactions, ``failed`` ones, and ``waiting`` deltas at the end.
    """
    watch = pace is not None or count is not None
    barrier = FORK.Barrier(WRITERS)
    over = FORK.Event()

    def process(writer: int) -> tuple[list[int], int, int]:
        dice = random.Random(writer)
        connection = player.connect()
        cursor = connection.cursor()
        for _ in range(5):
            try:
                write(cursor, writer, dice)
            except Exception:  # a deadlock is counted only once all of them write
                cursor.execute("ROLLBACK")
        took: list[int] = []
        failed = 0
        barrier.wait(PATIENCE_SECONDS)
        began = time.perf_counter_ns()
        until = began + int(seconds * 1e9)
        while (start := time.perf_counter_ns()) < until and (count is None or len(took) + failed < count):
            try:
                write(cursor, writer, dice)
                took.append(time.perf_counter_ns() - start)
            except Exception:
                failed += 1
                cursor.execute("ROLLBACK")
            if pace is not None:
                # Each writer begins at another moment; one that is late does not wait.
                due = began + int((len(took) + failed + writer / WRITERS) * pace * 1e9)
                time.sleep(max(0.0, (due - time.perf_counter_ns()) / 1e9))
        connection.close()
        return took, failed, time.perf_counter_ns() - began

    def watcher() -> list[int]:
        cursor, found = player.connect().cursor(), []
        while not over.wait(0.5):
            cursor.execute("SELECT count(*) FROM kck_delta")
            found.append(int(cursor.fetchone()[0]))
        return found or [player.waiting()]

    player.leave()
    if player.workers:
        player.release()
    servers, workers, clients = player.server_cpu_ns(), player.workers_cpu_ns(), _children_ns()
    try:
        with children([watcher] if watch else []) as watching:
            works = [lambda writer=writer: process(writer) for writer in range(WRITERS)]  # type: ignore[misc]
            found = gather(works, seconds + PATIENCE_SECONDS)
            over.set()
            watched = [number for pipe in watching for number in pipe.recv()[1]]
        workers = player.workers_cpu_ns() - workers
        servers = player.server_cpu_ns() - servers
    finally:
        if player.workers:
            player.hold()
    took = [ns for each, _, _ in found for ns in each]
    turn = turn_of(took, client_cpu_ns=_children_ns() - clients + workers, server_cpu_ns=servers)
    counts = {
        "per_second": len(took) / max(ns for _, _, ns in found) * 1e9,
        "failed": sum(failed for _, failed, _ in found),
        "waiting": player.waiting(),
    }
    return Written(**{**asdict(turn), "counts": counts}, watched=watched)


def _children_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)
