"""A test database with the week of the great snow, loaded once for each class of tests."""

import io
from datetime import date
from functools import cache
from typing import Any

from django.test import TestCase

from flights import loading, source
from flights.clocks import minute_of_day

START, END = date(2013, 3, 4), date(2013, 3, 11)  # with the night when clocks sprang forward
SNOW = date(2013, 3, 8)


@cache
def stated(*, start: date = START, end: date = END) -> list[dict[str, Any]]:
    """Return the flights as the source's file says they were: numbers or None, nothing derived."""
    names = (
        "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier flight "
        "tailnum origin dest air_time distance hour minute time_hour"
    )
    numbers = {"dep_delay", "arr_delay", "air_time", "distance", "flight", "sched_dep_time"}
    found = []
    for row in source.read("flights.csv.zip", names):
        flight: dict[str, Any] = dict(zip(names.split(), row, strict=True))
        flight["on"] = date(int(flight["year"]), int(flight["month"]), int(flight["day"]))
        if start <= flight["on"] < end:
            for name in numbers:
                flight[name] = None if flight[name] == "NA" else int(flight[name])
            flight["clock"] = minute_of_day(flight["sched_dep_time"])
            found.append(flight)
    return found


class FlightsTestCase(TestCase):
    rows: list[dict[str, Any]]
    loaded: int

    @classmethod
    def setUpTestData(cls) -> None:
        cls.rows = stated()
        cls.loaded = loading.load(start=START, end=END, out=io.StringIO())
