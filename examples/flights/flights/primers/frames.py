"""What is made of the year's streams, window by window: each is computed once, when it is complete, and kept.

The finest windows are made of the rows, the coarser ones of the finer: the rows are read once. ``settings.FRAMES`` says
of which part of the year: a week makes 1,368 frames, the year 71,540.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.conf import settings
from kck_flow import ChoiceParameter, Key, TimeFrame
from kck_flow.streams import frames
from kck_flow.timeframe import Items, Part

from flights import streams
from flights.figures import ORIGINS
from flights.models import Flight

BEGINS, ENDS = streams.span(settings.FRAMES)
HUNDREDTH = Decimal("0.01")

# Of one airline at one airport; "minutes" are those after the timetable, "worst" is None where nothing left.
Delays = dict[str, Any]


class AirportWeather(TimeFrame):
    """The weather at an airport, by the hour and by the day: ``weather/JFK/1h/2013-03-08T13``.

    An hour in which nothing was measured is a frame that is not complete, and so is its day.
    """

    key_base, label = "weather", "Weather"
    parameters = [ChoiceParameter("airport", ORIGINS)]
    domain = [code for code, _ in ORIGINS]
    stream = streams.measurements
    windows = ["1h", "1d"]
    tz = "America/New_York"
    epoch, until = BEGINS, ENDS
    quiet = None  # that the last hour is long ago says nothing of whether all is loaded: the watermark knows

    def compute(self, key: Key, items: Items) -> dict[str, Any]:
        rows = list(items)
        return {
            "observations": len(rows),
            "temperature": _mean((row.temperature, 1) for row in rows),
            "wind": _most(row.wind_speed for row in rows),
            "rain": _sum(row.precipitation for row in rows),
            "pressure": _mean((row.pressure, 1) for row in rows),
            "visibility": _least(row.visibility for row in rows),
        }

    def merge(self, key: Key, parts: Sequence[Part]) -> dict[str, Any]:
        hours = [part.value for part in parts]
        return {
            "observations": sum(hour["observations"] for hour in hours),
            # One observation an hour, at most: the hours weigh the same.
            "temperature": _mean((hour["temperature"], hour["observations"]) for hour in hours),
            "wind": _most(hour["wind"] for hour in hours),
            "rain": _sum(hour["rain"] for hour in hours),
            "pressure": _mean((hour["pressure"], hour["observations"]) for hour in hours),
            "visibility": _least(hour["visibility"] for hour in hours),
        }


class DepartureDelays(TimeFrame):
    """How late departures left, by airport and airline, by the quarter of an hour in which they were to leave, the hour
    and the day: ``delays/15m/2013-03-08T13:15``.

    One product for each window, with all airlines in it: one for each airline would be half a million a year.
    """

    key_base, label = "delays", "Delays"
    stream = streams.departures
    windows = ["15m", "1h", "1d"]
    tz = "America/New_York"
    epoch, until = BEGINS, ENDS
    quiet = None

    def compute(self, key: Key, items: Items) -> dict[str, dict[str, Delays]]:
        return added((row.origin, row.airline, _delay(row.departure_delay)) for row in items)

    def merge(self, key: Key, parts: Sequence[Part]) -> dict[str, dict[str, Delays]]:
        return added(
            (airport, airline, told)
            for part in parts
            for airport, airlines in part.value.items()
            for airline, told in airlines.items()
        )


def _delay(minutes: int | None) -> Delays:
    return {
        "flights": 1,
        "cancelled": int(minutes is None),
        "minutes": max(minutes or 0, 0),
        "worst": minutes,
    }


def added(told: Iterable[tuple[str, str, Delays]]) -> dict[str, dict[str, Delays]]:
    """Return what was told of airlines at airports, together: ``{"JFK": {"UA": {"flights": 3, …}}}``."""
    found: dict[str, dict[str, Delays]] = {}
    for airport, airline, more in told:
        airlines = found.setdefault(airport, {})
        airlines[airline] = together([airlines[airline], more]) if airline in airlines else more
    return {airport: dict(sorted(airlines.items())) for airport, airlines in sorted(found.items())}


def together(told: Sequence[Delays]) -> Delays:
    """Return several as one."""
    counts = ("flights", "cancelled", "minutes")
    return {
        **{name: sum(one[name] for one in told) for name in counts},
        "worst": _most(one["worst"] for one in told),
    }


def changed(flight: Flight) -> list[str]:
    """Have the frames of a flight made again, which has changed since they were; returns their keys. What is merged
    from them follows.
    """
    start = flight.scheduled_departure
    return frames.recompute("delays", start, start + streams.HOUR / 60)


# -- of what is there; None of nothing. Decimals, so that no sum depends on its order.


def _decimals(values: Iterable[float | None]) -> list[Decimal]:
    return [Decimal(str(value)) for value in values if value is not None]


def _rounded(value: Decimal) -> float:
    return float(value.quantize(HUNDREDTH, ROUND_HALF_UP))


def _sum(values: Iterable[float | None]) -> float | None:
    found = _decimals(values)
    return _rounded(sum(found, Decimal(0))) if found else None


def _mean(weighed: Iterable[tuple[float | None, int]]) -> float | None:
    found = [(Decimal(str(value)), weight) for value, weight in weighed if value is not None]
    weights = sum(weight for _, weight in found)
    return (
        _rounded(sum((value * weight for value, weight in found), Decimal(0)) / weights) if weights else None
    )


def _most(values: Iterable[Any]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _least(values: Iterable[Any]) -> Any:
    return min((value for value in values if value is not None), default=None)
