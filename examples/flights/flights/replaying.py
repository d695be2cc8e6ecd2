"""The year as it happened: trips are moved from state to state, in the order of time, through three doors in turn.

An hour through ``Model.save()``, half a day through ``bulk_create()``, ``update()`` and ``bulk_update()``, four weeks
through raw SQL, and again: as an application, its batches and somebody's script would. Or less at a time, where the
replay is told to go slowly. Nobody here counts, and nobody tells those who do.

Where the replay stands is in the rows: each statement moves only trips that are where the movement begins. One that
was killed is taken up where it ended, and what it had left half done is done first.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max, Min, OuterRef, QuerySet, Subquery

from flights.models import Movement, Trip

# No flight is announced earlier, or lands later, than so long before and after it was to leave.
EARLIEST, LATEST = timedelta(days=2), timedelta(days=5)
TICK = 0.2  # seconds: the shortest step of a replay that goes slowly
MOMENT = timedelta(microseconds=1)
LOCK_SECONDS = 20.0  # a server needs a moment to see that a client was killed


class ReplayRuns(Exception):
    """Somebody else is replaying, in the same database."""


@dataclass(frozen=True)
class Door:
    """One way to write, and how much of the year goes through it at a time."""

    name: str
    stretch: timedelta
    move: Callable[[datetime, datetime], int]


@dataclass(frozen=True)
class Step:
    """A stretch of the year that has happened: after ``start``, up to and with ``end``."""

    door: str
    start: datetime
    end: datetime
    moved: int


def bounds() -> tuple[datetime, datetime] | None:
    """Return when the first thing happens, and when the last; None where there are no flights."""
    found = Movement.objects.aggregate(first=Min("at"), last=Max("at"))
    return None if found["first"] is None else (found["first"], found["last"])


def position() -> datetime | None:
    """Return how far the replay has come; None where it has not begun."""
    return Trip.objects.aggregate(clock=Max("changed_at"))["clock"]


@contextmanager
def alone() -> Iterator[None]:
    """Hold the trips: two replays would move the same flight twice. Raises ReplayRuns: somebody else holds them."""
    table = "'flights_trip'::regclass::oid::bigint"
    deadline = time.monotonic() + LOCK_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute(f"SELECT pg_try_advisory_lock({table})")
            if cursor.fetchone()[0]:
                break
            if time.monotonic() > deadline:
                raise ReplayRuns(
                    "The flights are being replayed already. Wait for its end, or stop it first."
                )
            time.sleep(0.2)
        try:
            yield
        finally:
            cursor.execute(f"SELECT pg_advisory_unlock({table})")


def replay(*, speed: float | None = None, until: datetime | None = None) -> Iterator[Step]:
    """Move the trips on, step by step, and yield each step when it has happened.

    Args:
        speed: Seconds of 2013 in a second; None for as fast as can be.
        until: Where to stop, that instant included; by default at the end.
    """
    ends = bounds()
    if ends is None:
        return
    first, last = ends
    end = min(until, last) if until else last
    now = position()
    if now is None:
        now = first - MOMENT
    else:
        yield catch_up(now)
    begun, at = time.monotonic(), now
    turn = 0
    while now < end:
        door = DOORS[turn % len(DOORS)]
        target = min(now + door.stretch, end)
        if speed is not None:
            reached = at + timedelta(seconds=(time.monotonic() - begun) * speed)
            if reached < min(now + timedelta(seconds=TICK * speed), target):
                time.sleep(TICK)
                continue
            target = min(target, reached)
        yield Step(door.name, now, target, door.move(now, target))
        now, turn = target, turn + 1


def catch_up(now: datetime) -> Step:
    """Do what should have happened up to ``now`` and has not: the replay was killed in between, or a flight changed."""
    return Step("sql", datetime.min.replace(tzinfo=now.tzinfo), now, _by_sql(None, now))


# -- the doors: what happens after one instant, up to and with another
# --------------------------------------------------------------------------------------------------------


def _script(start: datetime, end: datetime) -> QuerySet[Movement]:
    near = (start - LATEST, end + EARLIEST)  # the index knows when a flight was to leave
    return Movement.objects.filter(at__gt=start, at__lte=end, scheduled_departure__range=near)


def _by_saves(start: datetime, end: datetime) -> int:
    moved = 0
    for movement in _script(start, end).order_by("at", "pk"):
        if movement.was is None:
            trip = _trip(movement)
        else:
            trip = Trip.objects.get(pk=movement.flight_id)
            trip.state, trip.changed_at = movement.state, movement.at
        trip.save(force_insert=movement.was is None)
        moved += 1
    return moved


def _in_bulk(start: datetime, end: datetime) -> int:
    script = _script(start, end)
    moved = len(Trip.objects.bulk_create(map(_trip, script.filter(was=None)), batch_size=1_000))
    for state in (Trip.DEPARTED, Trip.CANCELLED):
        some = script.filter(was=Trip.SCHEDULED, state=state)
        when = Movement.objects.filter(flight=OuterRef("pk"), state=state).values("at")
        trips = Trip.objects.filter(state=Trip.SCHEDULED, pk__in=some.values("flight"))
        moved += trips.update(state=state, changed_at=Subquery(when))
    ended = {one.flight_id: one for one in script.filter(was=Trip.DEPARTED)}
    trips = list(Trip.objects.filter(state=Trip.DEPARTED, pk__in=ended))
    for trip in trips:
        trip.state, trip.changed_at = ended[trip.pk].state, ended[trip.pk].at
    return moved + Trip.objects.bulk_update(trips, ["state", "changed_at"], batch_size=250)


def _trip(movement: Movement) -> Trip:
    return Trip(
        flight_id=movement.flight_id,
        airline_id=movement.airline_id,
        origin_id=movement.origin_id,
        state=movement.state,
        changed_at=movement.at,
    )


ANNOUNCE = """
INSERT INTO flights_trip (flight_id, airline_id, origin_id, state, changed_at)
SELECT flight_id, airline_id, origin_id, state, at FROM flights_movement
WHERE was IS NULL AND at <= %(end)s {near}
ON CONFLICT DO NOTHING
"""
MOVE = """
UPDATE flights_trip AS trip SET state = movement.state, changed_at = movement.at FROM flights_movement AS movement
WHERE trip.flight_id = movement.flight_id AND trip.state = %(was)s AND movement.was = %(was)s
  AND movement.at <= %(end)s {near}
"""
NEAR = "AND at > %(start)s AND scheduled_departure BETWEEN %(earliest)s AND %(latest)s"


def _by_sql(start: datetime | None, end: datetime) -> int:
    params: dict[str, Any] = {"end": end, "latest": end + EARLIEST}
    near = ""
    if start is not None:
        params |= {"start": start, "earliest": start - LATEST}
        near = NEAR
    with connection.cursor() as cursor:
        cursor.execute(ANNOUNCE.format(near=near), params)
        moved = cursor.rowcount
        for was in (Trip.SCHEDULED, Trip.DEPARTED):
            cursor.execute(MOVE.format(near=near), {**params, "was": was})
            moved += cursor.rowcount
    return moved


DOORS = (
    Door("saves", timedelta(hours=1), _by_saves),
    Door("bulk", timedelta(hours=12), _in_bulk),
    Door("sql", timedelta(days=28), _by_sql),
)
