"""The year as streams: what was measured, and what was to leave, in the order of time.

A stream is made into frames as far as it is complete. The loader knows how far that is: it leaves all of a day or
nothing, and all of the weather or nothing.
"""

import calendar
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from kck_flow import ModelStream

from flights.clocks import NEW_YORK
from flights.models import Flight, Weather

HOUR = timedelta(hours=1)
Interval = tuple[datetime, datetime]


def midnight(day: date) -> datetime:
    """Return the instant at which a day begins in New York."""
    return datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).astimezone(UTC)


def span(text: str) -> Interval:
    """Return the part of the year that ``text`` means: ``2013-03`` is March, ``2013`` all of it, and
    ``2013-03-04/2013-03-10`` a week.

    Raises:
        ImproperlyConfigured: it is none of these.
    """
    first, _, last = text.partition("/")
    try:
        start = date.fromisoformat(first if last else f"{first}-01-01"[:10])
        end = date.fromisoformat(last) if last else _last_of(first, start)
    except ValueError:
        start = end = date.min
    if not date(2013, 1, 1) <= start <= end <= date(2013, 12, 31):
        raise ImproperlyConfigured(
            f"FRAMES is a part of 2013, such as 2013-03-04/2013-03-10, 2013-03 or 2013; not {text!r}."
        )
    return midnight(start), midnight(end + timedelta(days=1))


def _last_of(text: str, start: date) -> date:
    if len(text) == len("2013"):
        return start.replace(month=12, day=31)
    if len(text) == len("2013-03"):
        return start.replace(day=calendar.monthrange(start.year, start.month)[1])
    raise ValueError(text)


def weather_is_known_until() -> datetime | None:
    """Return up to when no more weather can come: it is loaded all at once, or not yet."""
    return midnight(date(2014, 1, 1)) if Weather.objects.exists() else None


def flights_are_known_until() -> datetime | None:
    """Return up to when no more flights can come: the end of the last day that was loaded."""
    last = Flight.objects.order_by("-scheduled_departure").values_list("scheduled_departure", flat=True)[:1]
    return next((midnight(at.astimezone(NEW_YORK).date() + timedelta(days=1)) for at in last), None)


class Measurements(ModelStream):
    """The weather of an airport; the hours in which its station was silent are gaps, which are not the same as calm."""

    def gaps(self, start: datetime, end: datetime) -> Sequence[Interval]:
        measured = {place[0] for place, _ in self.read(start, end)}
        hours = (start + HOUR * number for number in range((end - start) // HOUR))
        return [(hour, hour + HOUR) for hour in hours if hour not in measured]


measurements = Measurements(
    Weather,
    "hour",
    name="weather",
    fields=["temperature", "wind_speed", "precipitation", "pressure", "visibility"],
    watermark=weather_is_known_until,
)
departures = ModelStream(
    Flight,
    "scheduled_departure",
    name="departures",
    fields=["origin", "airline", "departure_delay"],
    watermark=flights_are_known_until,
)
