"""What can be said about the flights: from the tables to plain values. Each function asks one to three
questions of the database, and knows nothing of keys, ages or caches: that is ``primers``' part.

Delays are whole minutes; a mean is rounded to a tenth of one. A flight is *late* from 15 minutes on, as the
US Department of Transportation counts. A share is never computed here, only what it is a share of: shares do
not add up.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any

from django.db import connections
from django.db.models import Aggregate, Avg, Count, F, FloatField, Max, Q, Sum
from django.db.models.functions import ExtractHour

from flights.clocks import NEW_YORK
from flights.knock_on import Leg
from flights.models import Airline, Airport, Flight

LATE = 15  # minutes
ORIGINS = [("EWR", "Newark"), ("JFK", "Kennedy"), ("LGA", "LaGuardia")]

Value = dict[str, Any]


class Percentile(Aggregate):
    """The value below which a share of the rows lies, interpolated; NULLs are passed over."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = FloatField()

    def __init__(self, expression: str, share: float) -> None:
        super().__init__(expression, share=share)


DEPARTURES: dict[str, Aggregate] = {
    "flights": Count("pk"),
    "cancelled": Count("pk", filter=Q(departure_delay=None)),
    "late": Count("pk", filter=Q(departure_delay__gte=LATE)),
    "mean": Avg("departure_delay"),
}


def delay_board(airport: str) -> Value:
    """Return how late an airport's departures left in the year: in all, by hour of the day, by airline."""
    flights = Flight.objects.filter(origin=airport)
    total = flights.aggregate(
        **DEPARTURES, median=Percentile("departure_delay", 0.5), ninth=Percentile("departure_delay", 0.9)
    )
    hours = (
        flights.annotate(hour=ExtractHour("scheduled_departure", tzinfo=NEW_YORK))
        .values("hour")
        .annotate(**DEPARTURES)
        .order_by("hour")
    )
    airlines = (
        flights.values(code=F("airline"), name=F("airline__name"))
        .annotate(**DEPARTURES)
        .order_by("-flights", "code")
    )
    worst = (
        flights.values("day")
        .annotate(mean=Avg("departure_delay"), cancelled=DEPARTURES["cancelled"], flights=Count("pk"))
        .filter(mean__isnull=False)
        .order_by("-mean", "day")
        .first()
    )
    return {
        **_rounded(total),
        "hours": [_rounded(row) for row in hours],
        "airlines": [_rounded(row) for row in airlines],
        "worst_day": _rounded(worst) if worst else None,
    }


def delay_tally(airport: str) -> dict[str, int]:
    """Return what can be kept up flight by flight: how many there were, how many late, minutes late in all.

    A flight that left early is on time: its minutes count as none. ``tally_of`` is one flight's part.
    """
    on = Flight.objects.filter(origin=airport)
    return on.aggregate(
        flights=Count("pk"),
        cancelled=Count("pk", filter=Q(departure_delay=None)),
        late=Count("pk", filter=Q(departure_delay__gte=LATE)),
        minutes=Sum("departure_delay", filter=Q(departure_delay__gt=0), default=0),
    )


def tally_of(departure_delay: int | None) -> dict[str, int]:
    """Return what one flight adds to its airport's ``delay_tally``."""
    return {
        "flights": 1,
        "cancelled": int(departure_delay is None),
        "late": int(departure_delay is not None and departure_delay >= LATE),
        "minutes": max(0, departure_delay or 0),
    }


def airline_day(airline: str, day: date) -> Value:
    """Return an airline's day: its counts, its departures by airport, and the five that left latest."""
    flights = Flight.objects.filter(airline=airline, day=day)
    total = flights.aggregate(**DEPARTURES, diverted=Count("pk", filter=_diverted()))
    by_origin = flights.values(code=F("origin")).annotate(**DEPARTURES).order_by("code")
    latest = flights.filter(departure_delay__isnull=False).order_by("-departure_delay", "number")[:5]
    return {
        **_rounded(total),
        "airline": Airline.objects.values_list("name", flat=True).filter(pk=airline).first(),
        "origins": [_rounded(row) for row in by_origin],
        "latest": list(
            latest.values(
                "pk", "number", "origin_id", "destination_id", "scheduled_departure", "departure_delay"
            )
        ),
    }


_HOUR = """
    SELECT w.temperature, w.wind_speed, w.wind_gust, w.precipitation, w.visibility, w.pressure, w.humidity,
           w.id IS NOT NULL AS measured,
           f.id, f.airline_id, f.number, f.destination_id, f.scheduled_departure, f.departure_delay,
           a.name AS airline, d.name AS destination
      FROM (VALUES (%s, %s::timestamptz)) AS asked (airport, hour)
      LEFT JOIN flights_weather w ON w.airport_id = asked.airport AND w.hour = asked.hour
      LEFT JOIN (flights_flight f
                 JOIN flights_airline a ON a.code = f.airline_id
                 JOIN flights_airport d ON d.code = f.destination_id)
             ON f.origin_id = asked.airport
            AND f.scheduled_departure >= asked.hour AND f.scheduled_departure < asked.hour + interval '1 hour'
     ORDER BY f.scheduled_departure, f.airline_id, f.number
"""
_MEASURED = ("temperature", "wind_speed", "wind_gust", "precipitation", "visibility", "pressure", "humidity")


def airport_hour(airport: str, hour: datetime) -> Value:
    """Return an airport's scheduled departures in the hour that begins at ``hour``, and the weather they met.

    One join answers both, so that an hour with weather and no flights, or the other way round, is still an
    hour: ``weather`` is None where nothing was measured, ``departures`` is empty where none was in the
    timetable.
    """
    with connections[Flight.objects.db].cursor() as cursor:
        cursor.execute(_HOUR, [airport, hour])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {
        "weather": {name: rows[0][name] for name in _MEASURED} if rows[0]["measured"] else None,
        "departures": [
            {name: value for name, value in row.items() if name not in {*_MEASURED, "measured"}}
            for row in rows
            if row["id"] is not None
        ],
    }


def destinations() -> list[list[Any]]:
    """Return ``[code, flights]`` of every airport that was flown to, the most frequent first."""
    counted = Flight.objects.values_list("destination").annotate(flights=Count("pk"))
    return [list(row) for row in counted.order_by("-flights", "destination")]


def destination(airport: str) -> Value:
    """Return how the flights to one airport arrived."""
    return {
        **_rounded(
            Flight.objects.filter(destination=airport).aggregate(
                flights=Count("pk"),
                arrived=Count("arrival_delay"),
                late=Count("pk", filter=Q(arrival_delay__gte=LATE)),
                mean=Avg("arrival_delay"),
                worst=Max("arrival_delay"),
            )
        ),
        "name": Airport.objects.values_list("name", flat=True).filter(pk=airport).first(),
    }


def legs() -> Iterator[Leg]:
    """Yield every flight of a known plane that left, plane by plane, in the order of the timetable.

    The rows stream: the year does not have to fit into memory.
    """
    rows = (
        Flight.objects.filter(plane__isnull=False, departure_delay__isnull=False)
        .order_by("plane", "scheduled_departure")
        .values_list(
            "plane",
            "pk",
            "scheduled_departure",
            "scheduled_arrival",
            "departure_delay",
            "arrival_delay",
            "origin",
            "destination",
        )
    )
    return (Leg(*row) for row in rows.iterator(chunk_size=5_000))


def same_day_in_2013(today: date) -> date:
    """Return the day of 2013 with the month and day of ``today``; the 28th for a 29th of February."""
    return today.replace(year=2013, day=28 if (today.month, today.day) == (2, 29) else today.day)


def airlines() -> list[str]:
    return list(Airline.objects.order_by("pk").values_list("pk", flat=True))


def _diverted() -> Q:
    return Q(departure_delay__isnull=False, arrival_delay=None)


def _rounded(row: Mapping[str, Any]) -> Value:
    return {
        name: round(value, 1) if isinstance(value, float) else _number(value) for name, value in row.items()
    }


def _number(value: Any) -> Any:
    # AVG of whole numbers comes back as a Decimal; a tenth of a minute needs no more than a float.
    return round(float(value), 1) if hasattr(value, "quantize") else value
