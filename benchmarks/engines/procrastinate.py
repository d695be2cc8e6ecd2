"""Procrastinate: a job is a row, LISTEN wakes the workers."""

from __future__ import annotations

import os

from benchmarks.contestants import database
from benchmarks.engines.base import Engine


class Procrastinate(Engine):
    """One job at a time in each worker, its default."""

    def prepare(self) -> None:
        database.recreate(self.places["postgres"], self.database)
        os.environ.update(self.environment())
        from benchmarks.engines import procrastinate_app

        self.application = procrastinate_app.app
        with self.application.open():
            self.application.schema_manager.apply_schema()
        self.application.open()

    def command(self, number: int) -> list[str]:
        program = self.program("procrastinate")
        return [program, "--app=benchmarks.engines.procrastinate_app.app", "worker", "--concurrency=1"]

    def environment(self) -> dict[str, str]:
        place = self.places["postgres"]
        return {
            "PGHOST": place["host"],
            "PGPORT": str(place["port"]),
            "PGUSER": place["user"],
            "PGPASSWORD": place["password"],
            "PGDATABASE": self.database,
        }

    def request(self, number: int) -> None:
        self.application.configure_task("note").defer(number=number)
