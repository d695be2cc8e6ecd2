"""Who computes one large time frame."""

from __future__ import annotations

import resource
import time
from typing import Any

from benchmarks.contestants import database
from benchmarks.engines.base import Engine
from benchmarks.measure import Turn, turn_of
from benchmarks.project import django_setup

APPS = ["kck_flow", "benchmarks.project.frames.apps.FramesConfig"]
KEY = "2026-01-01"


class Framing(Engine):
    """An application with a table of items, all of one day but the last.

    Args:
        frame: The family that is computed.
    """

    def __init__(self, name: str, places: dict[str, Any], frame: str) -> None:
        super().__init__(name, places)
        self.frame = frame

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, APPS, BENCH_KCK_FLOW="{}")
        django_setup.migrate()

    def fill(self, number: int) -> None:
        """Put the items in, if nobody has yet."""
        if self.run("SELECT 1 FROM bench_item LIMIT 1"):
            return
        self.run(
            "INSERT INTO bench_item (at, value) SELECT '2026-01-01Z'::timestamptz + g * interval '1 second' * "
            f"{86_399 / number:.9f}, g %% 100 FROM generate_series(1, {number}) AS g".replace("%%", "%"),
            "INSERT INTO bench_item (at, value) VALUES ('2026-01-02T00:00Z', 0)",
            "VACUUM ANALYZE bench_item",
            "CHECKPOINT",
        )

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; returns the rows of the last."""
        return database.run(self.places["postgres"], self.database, *statements)

    def leave(self) -> None:
        django_setup.close_connections()

    def compute(self, number: int) -> Turn:
        """Compute the day; counts the most memory that the process ever had."""
        from kck_flow import Cache

        cache = Cache.get_instance()
        servers, client, start = self.server_cpu_ns(), time.process_time_ns(), time.perf_counter_ns()
        entry = cache.get_entry(f"{self.frame}/{KEY}", wait=3600)
        if entry.version > 1 or entry.value["number"] != number:
            raise RuntimeError(f"{entry.value} of {number} items are in the frame")
        took, client = time.perf_counter_ns() - start, time.process_time_ns() - client
        turn = turn_of(
            [took / number],
            client_cpu_ns=client / number,
            server_cpu_ns=(self.server_cpu_ns() - servers) / number,
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        turn.counts = {"items": number, "per_second": number / took * 1e9, "peak_mb": peak}
        self.run(
            *(f"DELETE FROM {table} WHERE key_base = '{self.frame}'" for table in ("kck_frame", "kck_record"))
        )
        return turn
