"""What the functions count in SQL is what a plain count over the file's lines says."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from statistics import mean, median
from typing import Any

from flights import figures
from flights.clocks import NEW_YORK
from flights.knock_on import knock_on
from flights.models import Flight, Weather
from flights.tests.base import SNOW, FlightsTestCase


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    left = [row["dep_delay"] for row in rows if row["dep_delay"] is not None]
    return {
        "flights": len(rows),
        "cancelled": len(rows) - len(left),
        "late": sum(delay >= 15 for delay in left),
        "mean": round(mean(left), 1) if left else None,
    }


class Figures(FlightsTestCase):
    maxDiff = None

    def of(self, **wanted: object) -> list[dict[str, Any]]:
        return [row for row in self.rows if all(row[name] == value for name, value in wanted.items())]

    def test_delay_board(self) -> None:
        for airport in ("EWR", "JFK", "LGA"):
            rows = self.of(origin=airport)
            board = figures.delay_board(airport)
            self.assertEqual({name: board[name] for name in counted(rows)}, counted(rows))
            left = sorted(row["dep_delay"] for row in rows if row["dep_delay"] is not None)
            self.assertEqual(board["median"], median(left))
            hours = defaultdict(list)
            airlines = defaultdict(list)
            for row in rows:
                hours[int(row["hour"])].append(row)
                airlines[row["carrier"]].append(row)
            self.assertEqual(
                board["hours"], [{"hour": hour, **counted(hours[hour])} for hour in sorted(hours)]
            )
            self.assertEqual(
                {row["code"]: {name: row[name] for name in counted([])} for row in board["airlines"]},
                {code: counted(rows) for code, rows in airlines.items()},
            )
            self.assertEqual(sum(row["flights"] for row in board["airlines"]), board["flights"])
            days = {
                day: counted(self.of(origin=airport, on=day))["mean"] for day in {row["on"] for row in rows}
            }
            self.assertEqual(board["worst_day"]["day"], max(days, key=lambda day: days[day] or 0))

    def test_delay_tally_is_the_sum_of_every_flights_part(self) -> None:
        for airport in ("EWR", "JFK", "LGA"):
            parts: Counter[str] = Counter()
            for row in self.of(origin=airport):
                parts.update(figures.tally_of(row["dep_delay"]))
            self.assertEqual(figures.delay_tally(airport), dict(parts))

    def test_airline_day(self) -> None:
        rows = self.of(carrier="UA", on=SNOW)
        told = figures.airline_day("UA", SNOW)
        self.assertEqual({name: told[name] for name in counted(rows)}, counted(rows))
        self.assertEqual(told["airline"], "United Air Lines Inc.")
        diverted = sum(row["dep_delay"] is not None and row["arr_delay"] is None for row in rows)
        self.assertEqual(told["diverted"], diverted)
        self.assertEqual(
            {row["code"]: row["flights"] for row in told["origins"]}, Counter(row["origin"] for row in rows)
        )
        latest = sorted((row["dep_delay"] for row in rows if row["dep_delay"] is not None), reverse=True)[:5]
        self.assertEqual([row["departure_delay"] for row in told["latest"]], latest)

    def test_a_day_without_flights_is_zeros_and_an_unknown_mean(self) -> None:
        told = figures.airline_day("UA", date(2014, 1, 1))
        self.assertEqual((told["flights"], told["late"], told["mean"], told["latest"]), (0, 0, None, []))

    def test_airport_hour_joins_flights_and_weather(self) -> None:
        at = datetime(2013, 3, 8, 13, tzinfo=UTC)
        told = figures.airport_hour("JFK", at)
        rows = self.of(origin="JFK", time_hour="2013-03-08T13:00:00Z")
        self.assertEqual(
            Counter((one["airline_id"], one["number"], one["departure_delay"]) for one in told["departures"]),
            Counter((row["carrier"], row["flight"], row["dep_delay"]) for row in rows),
        )
        measured = Weather.objects.get(airport="JFK", hour=at)
        self.assertEqual(told["weather"]["temperature"], measured.temperature)
        self.assertIsNone(told["weather"]["pressure"])

    def test_an_hour_with_weather_and_no_flights_is_still_an_hour(self) -> None:
        told = figures.airport_hour("JFK", datetime(2013, 3, 8, 8, tzinfo=UTC))
        self.assertEqual(told["departures"], [])
        self.assertIsNotNone(told["weather"])

    def test_an_hour_with_flights_and_no_weather_is_still_an_hour(self) -> None:
        at = datetime(2013, 3, 8, 13, tzinfo=UTC)
        Weather.objects.filter(airport="JFK", hour=at).delete()
        told = figures.airport_hour("JFK", at)
        self.assertIsNone(told["weather"])
        self.assertEqual(
            len(told["departures"]), len(self.of(origin="JFK", time_hour="2013-03-08T13:00:00Z"))
        )

    def test_every_flight_is_in_exactly_one_hour(self) -> None:
        at = datetime(2013, 3, 10, tzinfo=NEW_YORK).astimezone(UTC)  # a day of 23 hours
        hours = [at + timedelta(hours=n) for n in range(23)]
        found = sum(len(figures.airport_hour("EWR", hour)["departures"]) for hour in hours)
        self.assertEqual(found, len(self.of(origin="EWR", on=date(2013, 3, 10))))

    def test_destinations(self) -> None:
        flown = Counter(row["dest"] for row in self.rows)
        told = figures.destinations()
        self.assertEqual(dict(told), flown)
        self.assertEqual([flights for _, flights in told], sorted(flown.values(), reverse=True))

    def test_destination(self) -> None:
        rows = self.of(dest="ORD")
        arrived = [row["arr_delay"] for row in rows if row["arr_delay"] is not None]
        self.assertEqual(
            figures.destination("ORD"),
            {
                "flights": len(rows), "arrived": len(arrived), "late": sum(delay >= 15 for delay in arrived),
                "mean": round(mean(arrived), 1), "worst": max(arrived), "name": "Chicago Ohare Intl",
            },
        )  # fmt: skip

    def test_knock_on_looks_at_every_flight_of_a_known_plane_that_left(self) -> None:
        rows = [row for row in self.rows if row["tailnum"] != "NA" and row["dep_delay"] is not None]
        told = knock_on(figures.legs())
        self.assertEqual(told["flights"], len(rows))
        self.assertEqual(told["planes"], len({row["tailnum"] for row in rows}))
        self.assertEqual(told["minutes"], sum(max(0, row["dep_delay"]) for row in rows))
        self.assertLess(0, told["inherited"])
        self.assertLess(told["inherited"], told["minutes"])

    def test_this_day_in_2013(self) -> None:
        self.assertEqual(figures.same_day_in_2013(date(2026, 11, 22)), date(2013, 11, 22))
        self.assertEqual(figures.same_day_in_2013(date(2028, 2, 29)), date(2013, 2, 28))

    def test_a_flight_that_never_left_has_no_departure(self) -> None:
        flight = Flight.objects.filter(departure_delay=None).first()
        assert flight is not None
        self.assertIsNone(flight.departed_at)
