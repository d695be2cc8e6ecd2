"""Delays handed on, on a plane with a day small enough to reckon by hand."""

from datetime import UTC, datetime, timedelta
from unittest import TestCase

from flights.knock_on import Leg, inherited, knock_on


def leg(pk: int, hour: float, *, late: int, arrives: int | None, plane: str = "N1", day: int = 1) -> Leg:
    """A flight of one hour, departing at ``hour`` UTC."""
    departure = datetime(2013, 7, day, tzinfo=UTC) + timedelta(hours=hour)
    return Leg(plane, pk, departure, departure + timedelta(hours=1), late, arrives, "JFK", "BOS")


class KnockOn(TestCase):
    def test_lateness_beyond_the_slack_is_inherited(self) -> None:
        # Lands at 13, back an hour's flight and two turns of 40 min later: 15:20. Due at 16: 40 min of slack.
        first, second = leg(1, 12, late=90, arrives=100), leg(2, 16, late=75, arrives=80)
        self.assertEqual(inherited(first, second), 60)

    def test_no_more_is_inherited_than_the_flight_was_late(self) -> None:
        self.assertEqual(inherited(leg(1, 12, late=90, arrives=100), leg(2, 16, late=20, arrives=0)), 20)

    def test_nothing_is_inherited_from_a_flight_in_time_or_by_one_or_overnight(self) -> None:
        self.assertEqual(inherited(leg(1, 12, late=30, arrives=-2), leg(2, 16, late=75, arrives=80)), 0)
        self.assertEqual(inherited(leg(1, 12, late=90, arrives=100), leg(2, 16, late=-3, arrives=0)), 0)
        self.assertEqual(
            inherited(leg(1, 12, late=900, arrives=900), leg(2, 12, late=75, arrives=80, day=2)), 0
        )

    def test_a_diverted_flight_hands_on_what_it_left_with(self) -> None:
        self.assertEqual(inherited(leg(1, 12, late=90, arrives=None), leg(2, 16, late=75, arrives=80)), 50)

    def test_a_day_adds_up(self) -> None:
        told = knock_on([
            leg(1, 12, late=90, arrives=100), leg(2, 16, late=75, arrives=80),
            leg(3, 20, late=50, arrives=40),
            leg(4, 12, late=-5, arrives=-9, plane="N2"), leg(5, 16, late=30, arrives=12, plane="N2"),
        ])  # fmt: skip
        self.assertEqual((told["planes"], told["flights"], told["minutes"]), (2, 5, 90 + 75 + 50 + 30))
        self.assertEqual(told["inherited"], 60 + 40)
        self.assertEqual(told["chains"], 1)
        self.assertEqual([one["pk"] for one in told["longest"][0]], [1, 2, 3])
        self.assertEqual([one["inherited"] for one in told["longest"][0]], [0, 60, 40])
        self.assertEqual(sum(row[1] for row in told["hours"]), told["minutes"])
        self.assertEqual(sum(row[2] for row in told["hours"]), told["inherited"])
        self.assertEqual(told["hours"][0], [8, 90, 0])  # noon in UTC is 8 in a New York summer

    def test_nothing_flown_is_nothing_late(self) -> None:
        told = knock_on([])
        self.assertEqual((told["planes"], told["minutes"], told["chains"], told["longest"]), (0, 0, 0, []))
