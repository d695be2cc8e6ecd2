"""The primers: what is computed, what is not, and what a saved flight does; in plain Django TestCases."""

import random
from datetime import UTC, date, datetime
from unittest.mock import patch

from kck_flow import Cache
from kck_flow.errors import InvalidKey
from kck_flow.models import DataProduct
from kck_flow.testing import assert_augment_equals_compute, assert_state, count_computes

from flights import figures, primers
from flights.models import Flight
from flights.tests.base import SNOW, FlightsTestCase

ORIGINS = ("EWR", "JFK", "LGA")


class Products(FlightsTestCase):
    def setUp(self) -> None:
        self.cache = Cache.get_instance()

    def test_what_is_asked_for_twice_is_computed_once(self) -> None:
        with count_computes("delay_board") as computed:
            first, second = self.cache.get("delay_board/JFK"), self.cache.get("delay_board/JFK")
        self.assertEqual(first, figures.delay_board("JFK"))
        self.assertEqual(second, first)
        self.assertEqual(computed.counts, {"delay_board/JFK": 1})

    def test_dates_and_instants_come_back_as_what_they_were(self) -> None:
        self.assertIsInstance(self.cache.get("delay_board/JFK")["worst_day"]["day"], date)
        [first, *_] = self.cache.get("airport_hour/JFK/2013-03-08T13:00:00Z")["departures"]
        self.assertEqual(first["scheduled_departure"], datetime(2013, 3, 8, 13, 0, tzinfo=UTC))

    def test_an_hour_has_one_key_in_whatever_zone_it_is_told(self) -> None:
        build = self.cache.build_key
        keys = {
            build("airport_hour", airport="JFK", hour="2013-03-08T08:00"),  # New York's, as declared
            build("airport_hour", airport="JFK", hour="2013-03-08T08:00-05:00"),
            build("airport_hour", airport="JFK", hour=datetime(2013, 3, 8, 13, tzinfo=UTC)),
        }
        self.assertEqual(keys, {"airport_hour/JFK/2013-03-08T13:00:00Z"})

    def test_what_is_no_key_is_refused_and_nothing_is_computed(self) -> None:
        for wrong in ("delay_board/BOS", "delay_board", "airline_day/UA", "airline_day/UA/yesterday",
                      "late_destinations/many", "delay_tally/JFK/2013"):  # fmt: skip
            with self.subTest(wrong), self.assertRaises(InvalidKey):
                self.cache.get(wrong)
        self.assertFalse(DataProduct.objects.exists())


class Saving(FlightsTestCase):
    """A flight is saved; nobody counts the airport's flights again."""

    def setUp(self) -> None:
        self.cache = Cache.get_instance()
        self.flight = Flight.objects.filter(origin="EWR", departure_delay=0)[0]

    def test_a_saved_delay_is_in_the_tally_at_once(self) -> None:
        before = self.cache.get("delay_tally/EWR")
        with count_computes("delay_tally") as computed:
            self.flight.departure_delay = 100
            self.flight.save()
            after = self.cache.get("delay_tally/EWR")
        self.assertEqual(after, {**before, "late": before["late"] + 1, "minutes": before["minutes"] + 100})
        self.assertEqual(computed.total, 0)

    def test_a_flight_moved_to_another_airport_leaves_one_tally_and_enters_the_other(self) -> None:
        before = {code: self.cache.get(f"delay_tally/{code}") for code in ORIGINS}
        with count_computes("delay_tally") as computed:
            self.flight.origin_id = "LGA"
            self.flight.save()
            after = {code: self.cache.get(f"delay_tally/{code}") for code in ORIGINS}
        moved = {code: after[code]["flights"] - before[code]["flights"] for code in ORIGINS}
        self.assertEqual(moved, {"EWR": -1, "JFK": 0, "LGA": 1})
        self.assertEqual(computed.total, 0)

    def test_after_any_history_the_tally_is_what_a_count_says(self) -> None:
        chance = random.Random(2013)
        for code in ORIGINS:
            self.cache.get(f"delay_tally/{code}")
        flights = list(Flight.objects.order_by("pk")[:200])
        with count_computes("delay_tally") as computed:
            for _ in range(150):
                flight = chance.choice(flights)
                action = chance.random()
                if action < 0.15 and flight.pk is not None:
                    flight.delete()
                    continue
                if action < 0.3:
                    flight.origin_id = chance.choice(ORIGINS)
                    flight.number = chance.randrange(10_000, 10_000_000)  # one number a day
                flight.departure_delay = chance.choice([None, -5, 0, 14, 15, 200])
                flight.save()
            kept = {code: self.cache.get(f"delay_tally/{code}") for code in ORIGINS}
        self.assertEqual(kept, {code: figures.delay_tally(code) for code in ORIGINS})
        self.assertEqual(computed.total, 0)
        for code in ORIGINS:
            assert_augment_equals_compute(f"delay_tally/{code}")

    def test_the_board_is_made_anew_for_whoever_saved_the_flight(self) -> None:
        # Others are served the old board meanwhile; a test, like any transaction, sees its own truth.
        self.cache.get("delay_board/EWR")
        self.flight.departure_delay = 100
        self.flight.save()
        with count_computes("delay_board") as computed:
            self.assertEqual(self.cache.get("delay_board/EWR"), figures.delay_board("EWR"))
            self.cache.get("delay_board/EWR")
        self.assertEqual(computed.counts, {"delay_board/EWR": 1})
        assert_state("delay_board/EWR", "fresh")

    def test_the_day_of_its_airline_is_computed_again_and_no_other(self) -> None:
        keys = ["airline_day/UA/2013-03-08", "airline_day/UA/2013-03-09", "airline_day/AA/2013-03-08"]
        self.cache.get_many(keys)
        flight = Flight.objects.filter(airline="UA", day=SNOW, departure_delay=None)[0]
        with count_computes("airline_day") as computed:
            flight.departure_delay = 20
            flight.save()
            after = self.cache.get_many(keys)
        self.assertEqual(computed.counts, {keys[0]: 1})
        self.assertEqual(after[keys[0]], figures.airline_day("UA", SNOW))

    def test_both_hours_of_a_flight_moved_to_a_later_one_are_computed_again(self) -> None:
        keys = [f"airport_hour/JFK/2013-03-08T{hour}:00:00Z" for hour in (13, 14, 15)]
        before = self.cache.get_many(keys)
        flight = Flight.objects.get(pk=before[keys[0]]["departures"][0]["id"])
        with count_computes("airport_hour") as computed:
            flight.scheduled_departure = datetime(2013, 3, 8, 15, 30, tzinfo=UTC)
            flight.save()
            after = self.cache.get_many(keys)
        self.assertEqual(computed.counts, {keys[0]: 1, keys[2]: 1})
        moved = [len(after[key]["departures"]) - len(before[key]["departures"]) for key in keys]
        self.assertEqual(moved, [-1, 0, 1])


class Ranking(FlightsTestCase):
    def setUp(self) -> None:
        self.cache = Cache.get_instance()

    def computed(self) -> int:
        return DataProduct.objects.filter(key_base="destination").count()

    def test_only_the_destinations_that_come_into_question_are_computed(self) -> None:
        three = self.cache.get("late_destinations/3")
        self.assertEqual(self.computed(), three["read"])
        self.assertLess(three["read"], three["of"] / 2)
        with count_computes("destination") as computed:
            ten = self.cache.get("late_destinations/10")
        self.assertEqual(computed.total, ten["read"] - three["read"])
        self.assertEqual(self.computed(), ten["read"])
        self.assertLess(ten["read"], ten["of"])

    def test_it_is_the_ranking_that_looking_at_all_of_them_gives(self) -> None:
        every = {code: figures.destination(code) for code, _ in figures.destinations()}
        for top in (1, 3, 10, 40, len(every)):
            best = sorted(every, key=lambda code: (-every[code]["late"], code))[:top]
            told = self.cache.get(self.cache.build_key("late_destinations", top=top))["ranking"]
            self.assertEqual([row["code"] for row in told], best)

    def test_ten_is_what_is_meant_without_a_number(self) -> None:
        self.assertEqual(self.cache.build_key("late_destinations"), "late_destinations/10")

    def test_a_flight_that_lands_late_changes_it(self) -> None:
        [first, second] = self.cache.get("late_destinations/2")["ranking"]
        needed = first["late"] - second["late"] + 1
        late = Flight.objects.filter(destination=second["code"], arrival_delay__lt=15)[:needed]
        self.assertEqual(len(late), needed)
        for flight in late:
            flight.arrival_delay = 15
            flight.save()
        again = [row["code"] for row in self.cache.get("late_destinations/2")["ranking"]]
        self.assertEqual(again, [second["code"], first["code"]])


class Morning(FlightsTestCase):
    def test_it_is_put_together_from_the_airlines_days(self) -> None:
        noon = datetime(2026, 3, 8, 16, tzinfo=UTC)
        with patch("django.utils.timezone.now", return_value=noon), count_computes("airline_day") as computed:
            told = Cache.get_instance().get("on_this_day")
        self.assertEqual(told["day"], SNOW)
        self.assertEqual(computed.total, 16)
        flown = Flight.objects.filter(day=SNOW)
        self.assertEqual(told["flights"], flown.count())
        self.assertEqual(told["late"], flown.filter(departure_delay__gte=15).count())

    def test_it_is_due_at_six_in_new_york_on_both_days_when_clocks_change(self) -> None:
        schedule = primers.OnThisDay().schedule
        assert schedule is not None
        for before, due in (
            (
                datetime(2026, 3, 7, 12, tzinfo=UTC),
                datetime(2026, 3, 8, 10, tzinfo=UTC),
            ),  # EDT from that night
            (datetime(2026, 10, 31, 12, tzinfo=UTC), datetime(2026, 11, 1, 11, tzinfo=UTC)),  # EST again
        ):
            self.assertEqual(schedule.next(before), due)
