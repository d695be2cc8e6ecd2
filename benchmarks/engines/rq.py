"""RQ on Redis."""

from __future__ import annotations

from typing import Any

from benchmarks.engines import jobs
from benchmarks.engines.base import Engine


class Rq(Engine):
    """``rq worker``: a process forked for each job, or its ``SimpleWorker``, which forks none."""

    def __init__(self, name: str, places: dict[str, Any], worker: str = "rq.worker.Worker") -> None:
        super().__init__(name, places)
        self.worker = worker

    def prepare(self) -> None:
        from redis import Redis
        from rq import Queue

        place = self.places["redis"]
        self.queue = Queue(self.name, connection=Redis(host=place["host"], port=place["port"], db=6))

    def command(self, number: int) -> list[str]:
        place = self.places["redis"]
        url = f"redis://{place['host']}:{place['port']}/6"
        return [
            self.program("rq"),
            "worker",
            self.name,
            "--url",
            url,
            "--worker-class",
            self.worker,
            "--quiet",
        ]

    def request(self, number: int) -> None:
        self.queue.enqueue(jobs.note, number)
