"""Celery on Redis."""

from __future__ import annotations

import os
import sys

from benchmarks.engines.base import Engine


class Celery(Engine):
    """Its defaults (early acknowledgement, a forked child), but one child in each of the two workers."""

    def prepare(self) -> None:
        os.environ.update(self.environment())
        from benchmarks.engines.celery_app import note

        self.task = note

    def command(self, number: int) -> list[str]:
        return [
            *(sys.executable, "-m", "celery", "-A", "benchmarks.engines.celery_app", "worker"),
            *("--concurrency=1", "-n", f"w{number}@%h", "--loglevel=ERROR"),
        ]

    def environment(self) -> dict[str, str]:
        place = self.places["redis"]
        return {"BENCH_BROKER": f"redis://{place['host']}:{place['port']}/5"}

    def request(self, number: int) -> None:
        self.task.delay(number)
