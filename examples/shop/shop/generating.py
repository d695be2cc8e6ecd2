"""What becomes of each account: made up, and for a seed and an instant always the same.

Sign-ups grow, and rest at weekends. A trial lasts two weeks. Whoever pays does so every thirty days: some payments
fail, and most of them are made good within days. Twice something happens: prices rise, and payments fail for two days.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property

from shop.models import Account

DAY = timedelta(days=1)
TRIAL, MONTH, GRACE = 14 * DAY, 30 * DAY, 14 * DAY
# How many days before the end: all of it is to be seen in the last months.
PRICES_RISE, PAYMENTS_FAIL = 75, 12
# An account changes once a day at most, so that a day can be written in one go; the longest has 25 hours.
APART = timedelta(hours=26)

PRICES = {Account.BASIC: "9.00", Account.PRO: "29.00", Account.TEAM: "99.00"}
PRICES_AFTER = {Account.BASIC: "9.90", Account.PRO: "34.50", Account.TEAM: "99.00"}
PLANS = {Account.BASIC: 55, Account.PRO: 33, Account.TEAM: 12}
COUNTRIES = {"FR": 34, "DE": 22, "GB": 14, "ES": 10, "IT": 8, "PL": 7, "SE": 5}
CONVERTS = {Account.BASIC: 0.66, Account.PRO: 0.74, Account.TEAM: 0.81}
LEAVES = {Account.BASIC: 0.030, Account.PRO: 0.018, Account.TEAM: 0.009}  # of each month
WEEKDAYS = (1.15, 1.2, 1.15, 1.1, 0.95, 0.5, 0.55)
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 17, 13, 15, 18, 18, 16, 13, 11, 10, 9, 7, 4, 2)


@dataclass(slots=True)
class Life:
    """One account: what it is, and at which instant it came to be in which state, the first of which is a trial."""

    plan: str
    country: str
    moves: list[tuple[datetime, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Story:
    """Two years of the shop, or fewer.

    Attributes:
        until: When it ends, aware; days begin in its zone.
        days: How long it is.
        accounts: How many sign up.
    """

    seed: int
    until: datetime
    days: int
    accounts: int

    @cached_property
    def midnights(self) -> list[datetime]:
        """The beginnings of its days; the last is that of the day in which it ends."""
        return [self._midnight(before) for before in range(self.days, -1, -1)]

    @cached_property
    def prices_rise_at(self) -> datetime:
        return self._midnight(PRICES_RISE)

    @cached_property
    def payments_fail(self) -> tuple[datetime, datetime]:
        """The two days: their beginning and their end."""
        return self._midnight(PAYMENTS_FAIL), self._midnight(PAYMENTS_FAIL - 2)

    def _midnight(self, days_before: int) -> datetime:
        on = self.until.date() - days_before * DAY
        return datetime.combine(on, time(), self.until.tzinfo).astimezone(UTC)

    def lives(self) -> list[Life]:
        """Return what becomes of each account, in the order in which they sign up."""
        draw = random.Random(self.seed)
        midnights = self.midnights
        zone = self.until.tzinfo
        growth = [0.4 + 1.2 * place / len(midnights) for place in range(len(midnights))]
        weights = [
            more * WEEKDAYS[at.astimezone(zone).weekday()] for more, at in zip(growth, midnights, strict=True)
        ]
        arrivals = sorted(
            day + timedelta(hours=hour, seconds=draw.randrange(3600))
            for day, hour in zip(
                draw.choices(midnights, weights, k=self.accounts),
                draw.choices(range(24), HOURS, k=self.accounts),
                strict=True,
            )
        )
        return [self._live(at, draw) for at in arrivals if at < self.until]

    def _live(self, at: datetime, draw: random.Random) -> Life:
        (plan,), (country,) = (draw.choices(list(of), list(of.values())) for of in (PLANS, COUNTRIES))
        life = Life(plan, country)
        for moved_at, state in self._moves(at, plan, draw):
            if moved_at >= self.until:
                break
            life.moves.append((moved_at, state))
        return life

    def _moves(self, at: datetime, plan: str, draw: random.Random) -> Iterator[tuple[datetime, str]]:
        """Yield when an account comes to be in which state, to the end of its days and beyond that of the story."""
        yield at, Account.TRIAL
        if draw.random() >= CONVERTS[plan]:
            yield at + TRIAL, Account.EXPIRED
            return
        at += draw.triangular(2.0, 14.0, 13.0) * DAY
        yield at, Account.ACTIVE
        while at < self.until:
            at += MONTH  # the next payment
            if draw.random() < self._fails(at):
                yield at, Account.PAST_DUE
                if draw.random() < 0.82:
                    at += APART + draw.expovariate(1 / 3.0) * DAY
                    yield at, Account.ACTIVE
                    continue
                at += GRACE
            elif draw.random() < LEAVES[plan] * self._annoyed(at):
                at += draw.uniform(1.1, 20.0) * DAY
            else:
                continue
            yield at, Account.CHURNED
            if draw.random() >= 0.35:
                return
            at += draw.uniform(5.0, 90.0) * DAY
            yield at, Account.ACTIVE

    def _fails(self, at: datetime) -> float:
        start, end = self.payments_fail
        return 0.85 if start <= at < end else 0.035

    def _annoyed(self, at: datetime) -> float:
        return 3.0 if self.prices_rise_at <= at < self.prices_rise_at + MONTH else 1.0

    def price_of(self, plan: str, at: datetime) -> Decimal:
        """Return what a plan costs a month, to those who sign up at an instant."""
        return Decimal((PRICES_AFTER if at >= self.prices_rise_at else PRICES)[plan])


def by_day(lives: Sequence[Life], ends: Sequence[datetime]) -> Iterator[list[tuple[datetime, int, str]]]:
    """Yield what happens until each of some instants, in order: (instant, which life, the state that it comes to)."""
    moves = sorted((at, place, state) for place, life in enumerate(lives) for at, state in life.moves)
    position = 0
    for end in ends:
        begun = position
        while position < len(moves) and moves[position][0] < end:
            position += 1
        yield moves[begun:position]
