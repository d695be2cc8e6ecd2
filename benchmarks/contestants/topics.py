"""Who takes messages in: a topic that reads the log, or an application that inserts each as a row."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.contestants import database
from benchmarks.engines.base import Engine
from benchmarks.measure import Turn, turn_of
from benchmarks.project import django_setup

APPS = ["kck_flow", "benchmarks.project.topics.apps.TopicsConfig"]
SENT_AT_ONCE = 1000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Taking(Engine):
    """An application with a log of messages.

    Args:
        topic: The topic that handles them; none: each is inserted as a row, in autocommit, and that is all.
    """

    def __init__(self, name: str, places: dict[str, Any], topic: str = "") -> None:
        super().__init__(name, places)
        self.topic = topic
        self.sent = 0

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, APPS, BENCH_KCK_FLOW="{}")
        django_setup.migrate()
        self.run("CREATE TABLE bench_message (id text PRIMARY KEY, at timestamptz, body jsonb)")

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; returns the rows of the last."""
        return database.run(self.places["postgres"], self.database, *statements)

    def leave(self) -> None:
        django_setup.close_connections()

    def messages(self, number: int) -> list[Any]:
        """Return so many messages that were not sent before, four a second."""
        from kck_flow import Message

        dice = random.Random(self.sent)
        first, self.sent = self.sent, self.sent + number
        return [
            Message(
                "delays",
                {"carrier": f"c{dice.randrange(16)}", "delay": dice.randrange(100), "flight": n},
                f"m{n}",
                BEGIN + timedelta(seconds=n / 4),
            )
            for n in range(first, first + number)
        ]

    def insert(self, number: int) -> Turn:
        """Insert each message as a row, in a transaction of its own."""
        import json

        rows = [(one.id, one.at, json.dumps(one.body)) for one in self.messages(number)]
        cursor = database.connect(self.places["postgres"], self.database).cursor()

        def work() -> int:
            for row in rows:
                cursor.execute("INSERT INTO bench_message VALUES (%s, %s, %s)", row)
            return number

        return self._timed(work, number)

    def send_all(self, number: int) -> Any:
        """Send messages, ``SENT_AT_ONCE`` a statement; returns the work."""
        from kck_flow.streams.log import send_many

        messages = self.messages(number)

        def work() -> int:
            return sum(send_many(messages[at : at + SENT_AT_ONCE]) for at in range(0, number, SENT_AT_ONCE))

        return work

    def handle_all(self) -> int:
        """Have all that was sent handled, here; returns how many messages."""
        from kck_flow.streams import topics

        return topics.drain([self.topic])

    def take(self, number: int, *, sending: bool) -> Turn:
        """Handle so many messages; where ``sending``, send them first, and let that count."""
        send = self.send_all(number)
        if sending:

            def work() -> int:
                send()
                return self.handle_all()

        else:
            send()
            self.run("VACUUM ANALYZE kck_outbox", "CHECKPOINT")
            work = self.handle_all
        turn = self._timed(work, number)
        self.check()
        return turn

    def _timed(self, work: Any, number: int) -> Turn:
        servers, client, start = self.server_cpu_ns(), time.process_time_ns(), time.perf_counter_ns()
        done = work()
        took, client = time.perf_counter_ns() - start, time.process_time_ns() - client
        if done != number:
            raise RuntimeError(f"{done} of {number} messages were handled")
        turn = turn_of(
            [took / number],
            client_cpu_ns=client / number,
            server_cpu_ns=(self.server_cpu_ns() - servers) / number,
        )
        turn.counts = {"messages": number, "per_second": number / took * 1e9}
        return turn

    def check(self) -> None:
        """Compare what was counted with what was sent. Raises RuntimeError: it is not the same."""
        counted = self.run(
            f"SELECT coalesce(sum((value #>> '{{}}')::bigint), 0) FROM kck_product WHERE key_base = '{self.topic}'"
        )[0][0]
        if counted != self.sent:
            raise RuntimeError(f"{self.topic} counted {counted} of {self.sent} messages")
