"""Time frames of the week: what a worker makes of the streams is what plain SQL says, and what a page shows."""

import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TestCase
from django.urls import reverse
from kck_flow import Cache
from kck_flow.errors import NotPrimed
from kck_flow.models import Frame
from kck_flow.streams import frames
from kck_flow.testing import count_computes, run_worker

from flights import comparing, streams
from flights.models import Flight, Weather
from flights.primers import AirportWeather, DepartureDelays, changed
from flights.tests.base import SNOW, FlightsTestCase

# Two days with a night on which clocks sprang forward, and the day of the great snow.
SPRING = date(2013, 3, 10)
SIZES = [(comparing.weather, "1h"), (comparing.weather, "1d")] + [
    (comparing.delays, size) for size in ("15m", "1h", "1d")
]


def of_days(first: date, last: date) -> list[object]:
    """Return what makes both families those of some days."""
    start, end = streams.midnight(first), streams.midnight(last + timedelta(days=1))
    return [patch.multiple(one, epoch=start, until=end) for one in (AirportWeather, DepartureDelays)]


class Spans(SimpleTestCase):
    def test_a_part_of_the_year_is_whole_days_of_new_york(self) -> None:
        five, four = datetime(2013, 3, 1, 5, tzinfo=UTC), datetime(2013, 4, 1, 4, tzinfo=UTC)
        self.assertEqual(streams.span("2013-03"), (five, four))
        self.assertEqual(
            streams.span("2013-03-10/2013-03-10"),
            (five + timedelta(days=9), five + timedelta(days=9, hours=23)),
        )
        self.assertEqual(
            streams.span("2013"), (datetime(2013, 1, 1, 5, tzinfo=UTC), datetime(2014, 1, 1, 5, tzinfo=UTC))
        )

    def test_anything_else_is_refused(self) -> None:
        for wrong in (
            "2014",
            "2013-13",
            "2013-3",
            "march",
            "2013-03-10/2013-03-09",
            "2013-03-08",
            "2013-12-31/2014-01-01",
            "/",
        ):
            with (
                self.subTest(wrong),
                self.assertRaisesRegex(ImproperlyConfigured, "FRAMES is a part of 2013"),
            ):
                streams.span(wrong)


class SomeDays(FlightsTestCase):
    first, last = SNOW, SNOW

    def setUp(self) -> None:
        for one in of_days(self.first, self.last):
            one.start()  # type: ignore[attr-defined]
            self.addCleanup(one.stop)  # type: ignore[attr-defined]
        self.start, self.end = streams.midnight(self.first), streams.midnight(self.last + timedelta(days=1))
        self.cache = Cache.get_instance()

    def work(self) -> None:
        for name in ("weather", "delays"):
            frames.wake(name)
        self.assertEqual(run_worker(["weather", "delays"]).failed, [])

    def compared(self) -> list[comparing.Compared]:
        return [compare(size, self.start, self.end) for compare, size in SIZES]


class Snow(SomeDays):
    def test_every_window_of_the_day_is_what_sql_says(self) -> None:
        self.work()
        made = self.compared()
        self.assertEqual([one.wrong for one in made], [[], [], [], [], []])
        self.assertEqual([one.windows for one in made], [72, 3, 96, 24, 1])
        self.assertEqual({one.missing + one.incomplete for one in made}, {0})
        self.assertEqual({one.items for one in made[:2]}, {72})
        self.assertEqual({one.items for one in made[2:]}, {sum(row["on"] == SNOW for row in self.rows)})
        self.assertEqual(
            Frame.objects.count(), 72 + 3 + 96 + 24 + 1
        )  # nothing outside the day, nothing up to today

    def test_the_day_says_what_the_files_lines_say(self) -> None:
        self.work()
        day = self.cache.get("delays/1d/2013-03-08")
        rows = [row for row in self.rows if row["on"] == SNOW]
        self.assertEqual(
            {
                (airport, code): told["flights"]
                for airport, airlines in day.items()
                for code, told in airlines.items()
            },
            Counter((row["origin"], row["carrier"]) for row in rows),
        )
        late = sum(max(row["dep_delay"] or 0, 0) for row in rows)
        self.assertEqual(sum(told["minutes"] for one in day.values() for told in one.values()), late)
        self.assertEqual(
            max(told["worst"] for one in day.values() for told in one.values() if told["worst"] is not None),
            max(row["dep_delay"] for row in rows if row["dep_delay"] is not None),
        )

    def test_items_are_read_once_and_what_is_there_is_not_made_again(self) -> None:
        self.work()
        with count_computes("weather", "delays") as computed:
            self.work()
        self.assertEqual(computed.total, 0)

    def test_a_changed_flight_makes_its_quarter_hour_and_day_again(self) -> None:
        self.work()
        flight = Flight.objects.filter(origin="JFK", day=SNOW, departure_delay=0)[0]
        before = self.cache.get("delays/1d/2013-03-08")["JFK"][flight.airline_id]["minutes"]
        self.client.post(reverse("flight", args=[flight.pk]), {"departure_delay": 90})
        self.work()
        self.assertEqual(
            self.cache.get("delays/1d/2013-03-08")["JFK"][flight.airline_id]["minutes"], before + 90
        )
        self.assertEqual([one.wrong for one in self.compared()], [[], [], [], [], []])

    def test_what_was_not_told_is_found_by_comparing(self) -> None:
        self.work()
        flight = Flight.objects.filter(day=SNOW, departure_delay=0)[0]
        Flight.objects.filter(pk=flight.pk).update(departure_delay=1)
        wrong = [sentence for one in self.compared() for sentence in one.wrong]
        place = f"{flight.origin_id} {flight.airline_id} minutes: frame "
        self.assertEqual(len([one for one in wrong if place in one]), 3)  # its quarter, its hour, its day
        self.assertEqual(len(changed(flight)), 1)
        self.work()
        self.assertEqual([one.wrong for one in self.compared()], [[], [], [], [], []])

    def test_the_page_shows_each_hour_and_a_gap_as_a_gap(self) -> None:
        path = reverse("weather_and_delays", args=["JFK", SNOW])
        self.assertIn("Of this day there are no frames", self.client.get(path).content.decode())
        self.assertFalse(Frame.objects.exists())  # a page makes none
        self.work()
        text = self.client.get(path).content.decode()
        self.assertNotIn("not measured", text)
        self.assertNotIn("no frame", text)
        self.assertEqual(text.count('<th scope="row"><a href="/airports/JFK/'), 24)
        left = [row for row in self.rows if row["on"] == SNOW and row["origin"] == "JFK"]
        self.assertIn(f'<b>Flights</b><span class="big">{len(left):,}</span>', text)
        hour = sum(max(row["dep_delay"] or 0, 0) for row in left if row["hour"] == "8")
        self.assertIn(f'<td class="n">{hour:,}</td>', text.partition(">08:00</a>")[2].partition("</tr>")[0])


class Silence(SomeDays):
    """A station was silent for an hour, in the night to the 5th of March: at Kennedy and LaGuardia."""

    first, last = date(2013, 3, 5), date(2013, 3, 5)

    def test_an_hour_without_an_observation_is_a_gap_and_no_calm(self) -> None:
        frames.wake("weather")
        self.assertEqual(run_worker(["weather"]).failed, [])
        points = self.cache.series("weather/JFK", self.start, self.end, by="1h")
        silent = [point for point in points if not point.complete]
        self.assertEqual([point.start for point in silent], [datetime(2013, 3, 5, 6, tzinfo=UTC)])
        self.assertEqual(silent[0].value, comparing.NOTHING_MEASURED)
        days = {
            code: self.cache.series(f"weather/{code}", self.start, self.end, by="1d")[0]
            for code in ("EWR", "JFK")
        }
        self.assertEqual({code: day.complete for code, day in days.items()}, {"EWR": True, "JFK": False})
        self.assertEqual(days["JFK"].value["observations"], 23)
        self.assertEqual(comparing.weather("1h", self.start, self.end).wrong, [])
        text = self.client.get(reverse("weather_and_delays", args=["JFK", self.first])).content.decode()
        self.assertEqual(text.count("not measured"), 1)
        self.assertEqual(text.count("no frame"), 24)  # nobody made frames of the flights


class Spring(SomeDays):
    """The day on which clocks sprang forward has 23 hours."""

    first, last = SPRING, SPRING

    def test_a_day_is_as_long_as_it_was(self) -> None:
        self.work()
        made = self.compared()
        self.assertEqual([one.wrong for one in made], [[], [], [], [], []])
        self.assertEqual([one.windows for one in made], [69, 3, 92, 23, 1])
        text = self.client.get(reverse("weather_and_delays", args=["EWR", SPRING])).content.decode()
        self.assertEqual(text.count('<th scope="row"><a href="/airports/EWR/'), 23)
        self.assertNotIn(">02:00</a>", text)


class Streams(FlightsTestCase):
    def test_the_weather_has_no_hour_twice_and_each_in_its_place(self) -> None:
        """By the clock there is an hour twice in the night on which clocks fell back; by the instant there is none."""
        self.assertEqual(Weather.objects.count(), 26_115)
        twice = Weather.objects.filter(
            airport="JFK",
            hour__range=(datetime(2013, 11, 3, 5, tzinfo=UTC), datetime(2013, 11, 3, 6, tzinfo=UTC)),
        )
        self.assertEqual(twice.count(), 2)  # one in the morning, and one in the morning again
        year = streams.span("2013")
        missing = {
            code: len(streams.measurements.narrowed({"airport": code}).gaps(*year))
            for code in ("EWR", "JFK", "LGA")
        }
        self.assertEqual(missing, {"EWR": 57, "JFK": 54, "LGA": 54})

    def test_flights_are_complete_up_to_the_end_of_the_last_day_that_was_loaded(self) -> None:
        self.assertEqual(streams.departures.watermark(), streams.midnight(date(2013, 3, 11)))
        with self.assertRaises(NotPrimed):
            Cache.get_instance().get("delays/1h/2013-03-11T16")


class NothingLoaded(TestCase):
    def test_without_flights_there_are_no_frames_and_the_command_says_what_to_do(self) -> None:
        for name in ("weather", "delays"):
            self.assertEqual(frames.plan(name).planned, 0)
        self.assertIsNone(streams.departures.watermark())
        with self.assertRaisesRegex(CommandError, "load_flights"):
            call_command("fill_frames", stderr=io.StringIO())
