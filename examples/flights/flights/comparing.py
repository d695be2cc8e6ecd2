"""What plain SQL says of the windows that the time frames are of: grouped from the tables, with nothing in between."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from kck_flow import Cache, Point

from flights.figures import ORIGINS

# How a size of window is cut. New York is whole hours from UTC, in both its seasons.
CUTS = {
    "15m": "date_bin('15 minutes', {at}, '1970-01-01Z')",
    "1h": "date_bin('1 hour', {at}, '1970-01-01Z')",
    "1d": "date_trunc('day', {at}, 'America/New_York')",
}
WEATHER = """
SELECT {cut}, airport_id, count(*), round(avg(temperature::numeric), 2), max(wind_speed), sum(precipitation::numeric),
       round(avg(pressure::numeric), 2), min(visibility)
FROM flights_weather WHERE hour >= %s AND hour < %s GROUP BY 1, 2
"""
MEASURED = ("observations", "temperature", "wind", "rain", "pressure", "visibility")
DELAYS = """
SELECT {cut}, origin_id, airline_id, count(*), count(*) - count(departure_delay),
       coalesce(sum(greatest(departure_delay, 0)), 0), max(departure_delay)
FROM flights_flight WHERE scheduled_departure >= %s AND scheduled_departure < %s GROUP BY 1, 2, 3
"""
TOLD = ("flights", "cancelled", "minutes", "worst")
NOTHING_MEASURED = {**dict.fromkeys(MEASURED), "observations": 0}
Numbers = dict[datetime, dict[Any, dict[str, Any]]]


@dataclass
class Compared:
    """One series of frames beside plain SQL.

    Attributes:
        name: What the frames are of, and their size.
        windows: How many windows there are.
        missing: Those of which there is no frame.
        incomplete: Frames whose source did not have all of it.
        items: What the frames say that they are made of: observations, flights.
        in_source: The same, by SQL.
        numbers: How many numbers were compared.
        wrong: Those that differ, each in a sentence.
    """

    name: str
    windows: int
    missing: int
    incomplete: int
    items: int
    in_source: int
    numbers: int
    wrong: list[str]


def weather(size: str, start: datetime, end: datetime) -> Compared:
    """Compare the weather of all airports."""
    source: Numbers = defaultdict(dict)
    for at, airport, *measured in _rows(WEATHER.format(cut=CUTS[size].format(at="hour")), start, end):
        source[at][airport] = {name: _plain(one) for name, one in zip(MEASURED, measured, strict=True)}
    points = {
        code: Cache.get_instance().series(f"weather/{code}", start, end, by=size) for code, _ in ORIGINS
    }
    said: Numbers = defaultdict(dict)
    for code, found in points.items():
        for point in found:
            if point.value is not None and point.value != NOTHING_MEASURED:
                said[point.start][code] = point.value
    return _compared(
        f"weather {size}", [one for found in points.values() for one in found], said, source, "observations"
    )


def delays(size: str, start: datetime, end: datetime) -> Compared:
    """Compare the delays of all airlines at all airports."""
    source: Numbers = defaultdict(dict)
    cut = CUTS[size].format(at="scheduled_departure")
    for at, airport, airline, *told in _rows(DELAYS.format(cut=cut), start, end):
        source[at][airport, airline] = dict(zip(TOLD, told, strict=True))
    points = Cache.get_instance().series("delays", start, end, by=size)
    said: Numbers = defaultdict(dict)
    for point in points:
        for airport, airlines in (point.value or {}).items():
            for airline, told in airlines.items():
                said[point.start][airport, airline] = told
    return _compared(f"delays {size}", points, said, source, "flights")


def _compared(name: str, points: list[Point], said: Numbers, source: Numbers, items: str) -> Compared:
    def summed(numbers: Numbers) -> int:
        return sum(one[items] for found in numbers.values() for one in found.values())

    wrong = list(differences(name, said, source))
    return Compared(
        name,
        windows=len(points),
        missing=sum(point.value is None for point in points),
        incomplete=sum(point.value is not None and not point.complete for point in points),
        items=summed(said),
        in_source=summed(source),
        numbers=sum(len(one) for found in source.values() for one in found.values()),
        wrong=wrong,
    )


def differences(name: str, said: Numbers, source: Numbers) -> Iterator[str]:
    """Yield each number that is not the source's."""
    for at in sorted({*said, *source}):
        have, want = said.get(at, {}), source.get(at, {})
        for of in sorted({*have, *want}, key=str):
            mine, theirs = have.get(of, {}), want.get(of, {})
            for number in {**theirs, **mine}:
                if mine.get(number) != theirs.get(number):
                    place = of if isinstance(of, str) else " ".join(of)
                    yield (
                        f"{name} {at:%Y-%m-%dT%H:%M}Z {place} {number}: "
                        f"frame {mine.get(number)}, source {theirs.get(number)}"
                    )


def _rows(statement: str, start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [start, end])
        return cursor.fetchall()


def _plain(value: Any) -> Any:
    return float(value) if hasattr(value, "quantize") else value
