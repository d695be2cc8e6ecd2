"""What becomes of each ticket: made up, and for a seed and an instant always the same.

Customers write at all hours; the desk answers from eight to six, Monday to Friday, so mornings begin with what the
night has brought. Some tickets wait for their customer, some come back. One day something breaks, and everybody writes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cached_property

from desk.models import Ticket

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
# How many days before the end.
ALL_BREAKS, SURVEYS_END = 9, 8
OPENS, CLOSES = 8, 18  # o'clock

TOPICS = {"question": 42, "billing": 27, "bug": 20, "account": 11}
CHANNELS = {"mail": 60, "chat": 28, "phone": 12}
WEEKDAYS = (1.35, 1.15, 1.1, 1.05, 1.0, 0.4, 0.35)
HOURS = (1, 1, 1, 1, 1, 1, 3, 6, 11, 15, 16, 14, 10, 12, 14, 14, 13, 10, 8, 7, 7, 6, 4, 2)


@dataclass(slots=True)
class Life:
    """One ticket: what it is, and at which instant it came to be in which state, the first of which is new."""

    topic: str
    channel: str
    moves: list[tuple[datetime, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Story:
    """Some months of the desk.

    Attributes:
        until: When it ends, aware; days begin in its zone.
        days: How long it is.
        tickets: How many are opened.
    """

    seed: int
    until: datetime
    days: int
    tickets: int

    @cached_property
    def midnights(self) -> list[datetime]:
        """The beginnings of its days; the last is that of the day in which it ends."""
        return [self._midnight(before) for before in range(self.days, -1, -1)]

    @cached_property
    def all_breaks(self) -> tuple[datetime, datetime]:
        """The day on which something breaks: its beginning and its end."""
        return self._midnight(ALL_BREAKS), self._midnight(ALL_BREAKS - 1)

    @cached_property
    def surveys_end_at(self) -> datetime:
        return self._midnight(SURVEYS_END)

    def _midnight(self, days_before: int) -> datetime:
        on = self.until.date() - days_before * DAY
        return datetime.combine(on, time(), self.until.tzinfo).astimezone(UTC)

    def lives(self) -> list[Life]:
        """Return what becomes of each ticket, in the order in which they are opened."""
        draw = random.Random(self.seed)
        weights = [
            WEEKDAYS[at.astimezone(self.until.tzinfo).weekday()] * (3.5 if at == self.all_breaks[0] else 1.0)
            for at in self.midnights
        ]
        arrivals = sorted(
            day + timedelta(hours=hour, seconds=draw.randrange(3600))
            for day, hour in zip(
                draw.choices(self.midnights, weights, k=self.tickets),
                draw.choices(range(24), HOURS, k=self.tickets),
                strict=True,
            )
        )
        return [self._live(at, draw) for at in arrivals if at < self.until]

    def ratings(self) -> list[tuple[datetime, int]]:
        """Return what customers said, until nobody asks any more: when, and how many of five."""
        draw = random.Random(self.seed)
        found = []
        for life in self.lives():
            for at, state in life.moves:
                if state == Ticket.SOLVED and draw.random() < 0.4:
                    rated_at = at + draw.uniform(0.1, 20.0) * HOUR
                    slow = at - life.moves[0][0] > 2 * DAY
                    score = draw.choices(
                        (1, 2, 3, 4, 5), (8, 12, 25, 35, 20) if slow else (2, 3, 10, 35, 50)
                    )[0]
                    if rated_at < self.surveys_end_at:
                        found.append((rated_at, score))
        return sorted(found)

    def _live(self, at: datetime, draw: random.Random) -> Life:
        (topic,), (channel,) = (draw.choices(list(of), list(of.values())) for of in (TOPICS, CHANNELS))
        start, end = self.all_breaks
        life = Life("bug" if start <= at < end and draw.random() < 0.7 else topic, channel)
        for moved_at, state in self._moves(at, channel, draw):
            if moved_at >= self.until:
                break
            life.moves.append((moved_at, state))
        return life

    def _moves(self, at: datetime, channel: str, draw: random.Random) -> Iterator[tuple[datetime, str]]:
        """Yield when a ticket comes to be in which state, to its end and beyond that of the story."""

        def working(after: datetime, minutes: float) -> datetime:
            """Return when somebody at the desk has got round to it."""
            busy = 5.0 if self.all_breaks[0] <= after < self.all_breaks[1] + DAY else 1.0
            return self._at_work(self._at_work(after) + (1 + draw.expovariate(1 / (minutes * busy))) * MINUTE)

        yield at, Ticket.NEW
        at = working(at, {"mail": 55, "chat": 6, "phone": 3}[channel])
        yield at, Ticket.OPEN
        while True:
            if draw.random() < 0.45:
                at = working(at, 70)
                yield at, Ticket.WAITING
                if draw.random() < 0.8:
                    at += draw.uniform(0.05, 1.0) * HOUR + draw.expovariate(1 / 14) * HOUR
                    yield at, Ticket.OPEN
                    continue
                at = self._at_work(at + 3 * DAY)
            else:
                at = working(at, 420)
            yield at, Ticket.SOLVED
            if draw.random() >= 0.13:
                yield at + 7 * DAY, Ticket.CLOSED
                return
            at += draw.uniform(0.5, 60.0) * HOUR
            yield at, Ticket.OPEN

    def _at_work(self, at: datetime) -> datetime:
        """Return an instant, or, where nobody is at the desk then, when somebody is."""
        local = at.astimezone(self.until.tzinfo)
        if local.hour >= CLOSES:
            local = datetime.combine(local.date() + DAY, time(), local.tzinfo)
        while local.weekday() >= 5:
            local = datetime.combine(local.date() + DAY, time(), local.tzinfo)
        if local.hour < OPENS:  # with what part of an hour it was, so that not all is done at eight
            local = local.replace(hour=OPENS)
        return local.astimezone(UTC)
