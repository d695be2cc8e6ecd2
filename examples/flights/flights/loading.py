"""From the source's files into the five tables, by COPY, with either driver.

COPY is the fastest way in: the year takes seconds. It fires no signal of Django's, so products that were
computed before a load do not hear of it: the command ``load_flights`` invalidates them.
"""

import csv
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from itertools import islice
from typing import Any, TextIO

from django.db import connections, models, transaction
from django.db.backends.utils import CursorWrapper

from flights import source
from flights.models import Airline, Airport, Flight, Plane, Weather

CHUNK = 2_000  # rows handed over at a time: some 200 kB, small beside what the server buffers
YEAR = 336_776  # flights; what the progress bar counts towards

COLUMNS: dict[type[models.Model], str] = {
    Airline: "code name",
    Airport: "code name latitude longitude altitude time_zone",
    Plane: "tail_number year kind manufacturer model engines seats speed engine",
    Weather: "airport_id hour temperature dew_point humidity wind_direction wind_speed wind_gust "
    "precipitation pressure visibility",
    Flight: "airline_id number plane_id origin_id destination_id distance day scheduled_departure "
    "scheduled_arrival departure_delay arrival_delay arrived_at air_time",
}


class Progress:
    """How far a long piece of work has come: one line redrawn on a terminal, a line each tenth elsewhere.

    Without a ``total`` only the end is told. ``unit`` is what is counted.
    """

    def __init__(
        self, label: str, total: int | None, out: TextIO | None = None, *, unit: str = "rows"
    ) -> None:
        self.label, self.total, self.out, self.unit = label, total, out or sys.stderr, unit
        self.done = 0
        self.started = time.monotonic()
        self.redraws = self.out.isatty()
        self.shown = -1

    def add(self, count: int) -> None:
        self.done += count
        if self.total is None:
            return
        percent = min(100, self.done * 100 // self.total)
        step = percent if self.redraws else percent // 10 * 10
        if step != self.shown:
            self.shown = step
            self._draw(step)

    def _draw(self, percent: int) -> None:
        if self.redraws:
            bar = "#" * (percent // 4)
            self.out.write(f"\r{self.label} [{bar:-<25}] {percent:3} %  {self.done:,} {self.unit}\x1b[K")
        elif percent:
            self.out.write(f"{self.label}: {percent} %, {self.done:,} {self.unit}\n")
        self.out.flush()

    def finish(self) -> None:
        took = time.monotonic() - self.started
        line = f"{self.label}: {self.done:,} {self.unit} in {took:.1f} s"
        self.out.write(f"\r{line}\x1b[K\n" if self.redraws else f"{line}\n")
        self.out.flush()


def load(
    *, start: date | None = None, end: date | None = None, using: str = "default", out: TextIO | None = None
) -> int:
    """Fill the five tables, all of them or none.

    Args:
        start, end: The days to load: ``start`` on, before ``end``; by default the whole year.
        using: The database's alias.
        out: Where the progress is drawn; by default standard error.

    Returns:
        How many flights were loaded.

    Raises:
        SourceMissing: The package with the data is not installed.
        IntegrityError: There are rows in the tables already.
    """
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        _copy(cursor, Airline, source.airlines())
        _copy(cursor, Airport, source.airports())
        _copy(cursor, Plane, source.planes())
        _copy(cursor, Weather, source.weather())
        progress = Progress("flights", YEAR if start is None and end is None else None, out)
        _copy(cursor, Flight, source.flights(start, end), progress.add)
        progress.finish()
    return progress.done


def is_loaded(using: str = "default") -> bool:
    """Tell whether the year has been loaded: ``load`` leaves all of it or nothing."""
    return Flight.objects.using(using).exists()


def _copy(
    cursor: CursorWrapper,
    model: type[models.Model],
    rows: Iterable[source.Row],
    told: Callable[[int], None] = lambda count: None,
) -> None:
    columns = ", ".join(COLUMNS[model].split())
    # An empty field is NULL in this format, and the source has no empty texts.
    statement = f"COPY {model._meta.db_table} ({columns}) FROM STDIN (FORMAT csv)"
    driver: Any = cursor.cursor
    with cursor.db.wrap_database_errors:  # Django's own errors, whichever driver
        if hasattr(driver, "copy"):  # psycopg 3
            with driver.copy(statement) as copy:
                for chunk in _chunks(rows, told):
                    copy.write(chunk)
        else:  # psycopg2
            driver.copy_expert(statement, _Stream(_chunks(rows, told)))


def _chunks(rows: Iterable[source.Row], told: Callable[[int], None]) -> Iterator[bytes]:
    left = iter(rows)
    while batch := list(islice(left, CHUNK)):
        buffer = io.StringIO()
        csv.writer(buffer).writerows(batch)
        yield buffer.getvalue().encode()
        told(len(batch))


class _Stream(io.RawIOBase):
    """Chunks of bytes as a file that can be read; psycopg2 wants one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size or size < 0:
            chunk = next(self.chunks, None)
            if chunk is None:
                break
            self.rest += chunk
        if size < 0:
            size = len(self.rest)
        part, self.rest = self.rest[:size], self.rest[size:]
        return part
