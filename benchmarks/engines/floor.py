"""The floor of a durable queue: a row is deleted for each job, in one statement and one commit, and the job runs."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from benchmarks.contestants import database
from benchmarks.engines.base import Engine

TAKE = """DELETE FROM job WHERE number = (
    SELECT number FROM job ORDER BY number FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING number"""


class OneCommit(Engine):
    """No lease, no value, no record, and a job that dies with its worker is lost."""

    def prepare(self) -> None:
        place = self.places["postgres"]
        database.recreate(place, self.database)
        database.run(place, self.database, "CREATE TABLE job (number bigint PRIMARY KEY)")
        self.cursor = database.connect(place, self.database).cursor()

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.engines.floor"]

    def environment(self) -> dict[str, str]:
        return {"BENCH_FLOOR": json.dumps([self.places["postgres"], self.database])}

    def request(self, number: int) -> None:
        self.cursor.execute("INSERT INTO job VALUES (%s)", (number,))


def work() -> None:
    """Take jobs until told to stop, looking a hundred times a second when there is none."""
    from benchmarks.engines.jobs import note

    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    cursor = database.connect(*json.loads(os.environ["BENCH_FLOOR"])).cursor()
    while True:
        cursor.execute(TAKE)
        row = cursor.fetchone()
        if row is None:
            time.sleep(0.01)
        else:
            note(row[0])


if __name__ == "__main__":
    work()
