"""``manage.py replay_flights``: the year as it happened, at any speed; taken up where it was left."""

import time
from argparse import ArgumentParser
from collections import Counter
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flights import replaying
from flights.board import states
from flights.clocks import NEW_YORK


def instant(text: str) -> datetime:
    """Read an instant; without a zone, it is New York's."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=NEW_YORK)


class Command(BaseCommand):
    help = "Move the year's flights from state to state, in the order of time; go on where the last replay ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--speed", type=float, help="seconds of 2013 in a second: 3600 for an hour (as fast as can be)"
        )
        parser.add_argument(
            "--until", type=instant, help="where to stop, as 2013-03-08 or 2013-03-08T12:00 (the end)"
        )

    def handle(self, *, speed: float | None, until: datetime | None, **options: Any) -> None:
        if speed is not None and not 0 < speed < 1e9:
            raise CommandError(f"--speed is a number of seconds above 0, not {speed:g}.")
        states()  # so that all of them are counted, from the first flight on
        began, doors = time.monotonic(), Counter[str]()
        told = ""
        try:
            with replaying.alone():
                for step in replaying.replay(speed=speed, until=until):
                    doors[step.door] += step.moved
                    month = f"{step.end.astimezone(NEW_YORK):%B %Y}"
                    if month != told and step.moved:
                        told = month
                        self.tell(step.end)
        except replaying.ReplayRuns as error:
            raise CommandError(str(error)) from error
        moved = sum(doors.values())
        if not moved:
            self.stderr.write("flights: replayed already", str)
            return
        took = time.monotonic() - began
        shares = ", ".join(f"{doors[name]:,} {said}" for name, said in SAID.items())
        self.stderr.write(f"flights: {moved:,} moves in {took:.1f} s: {shares}", str)

    def tell(self, at: datetime) -> None:
        counts = states()
        told = ", ".join(f"{counts[state]['value']:,} {state}" for state in counts)
        self.stderr.write(f"{at.astimezone(NEW_YORK):%Y-%m-%d %H:%M}  {told}", str)


SAID = {"saves": "by save()", "bulk": "in bulk", "sql": "by SQL"}
