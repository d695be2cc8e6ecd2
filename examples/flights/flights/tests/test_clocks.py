"""From clock times to instants: two nights a year are not 24 hours long."""

from datetime import UTC, datetime
from unittest import TestCase
from zoneinfo import ZoneInfo

from flights import source
from flights.clocks import MINUTE, NEW_YORK, minute_of_day, next_showing

HONOLULU = ZoneInfo("Pacific/Honolulu")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


class Clocks(TestCase):
    def test_a_clock_time_is_a_number_of_hours_and_minutes(self) -> None:
        self.assertEqual([minute_of_day(clock) for clock in (0, 1, 59, 100, 517, 2359, 2400)],
                         [0, 1, 59, 60, 317, 1439, 0])  # fmt: skip
        for wrong in (-1, 60, 2401, 2460, 999):
            with self.assertRaises(ValueError):
                minute_of_day(wrong)

    def test_an_arrival_is_the_next_time_a_clock_over_there_shows_it(self) -> None:
        # 517 from Newark, five and a half hours west: 10:17 UTC, and 8:30 in Houston is 14:30 UTC.
        self.assertEqual(
            next_showing(830, ZoneInfo("America/Chicago"), utc(2013, 1, 1, 10, 17)), utc(2013, 1, 1, 14, 30)
        )
        self.assertEqual(next_showing(1516, HONOLULU, utc(2013, 1, 1, 14, 0)), utc(2013, 1, 2, 1, 16))

    def test_midnight_is_written_2400_and_belongs_to_the_next_day(self) -> None:
        self.assertEqual(next_showing(2400, NEW_YORK, utc(2013, 1, 2, 2, 0)), utc(2013, 1, 2, 5, 0))
        self.assertEqual(next_showing(0, NEW_YORK, utc(2013, 1, 2, 2, 0)), utc(2013, 1, 2, 5, 0))

    def test_the_instant_itself_is_not_a_day_away(self) -> None:
        self.assertEqual(next_showing(2100, NEW_YORK, utc(2013, 1, 2, 2, 0)), utc(2013, 1, 2, 2, 0))

    def test_in_the_night_when_clocks_spring_forward_an_hour_is_missing(self) -> None:
        late = utc(2013, 3, 10, 4, 6)  # 23:06 on the 9th
        self.assertEqual(
            next_showing(300, NEW_YORK, late), utc(2013, 3, 10, 7, 0)
        )  # 2 h 54 later, not 3 h 54
        # No clock showed 2:03 that night: the instant at which it would have.
        self.assertEqual(next_showing(203, NEW_YORK, late), utc(2013, 3, 10, 7, 3))

    def test_in_the_night_when_clocks_fall_back_the_first_of_two_is_meant(self) -> None:
        self.assertEqual(next_showing(130, NEW_YORK, utc(2013, 11, 3, 4, 30)), utc(2013, 11, 3, 5, 30))
        self.assertEqual(next_showing(300, NEW_YORK, utc(2013, 11, 3, 4, 30)), utc(2013, 11, 3, 8, 0))
        # At 1:45 for the first time, 1:30 is the second one, three quarters of an hour away.
        self.assertEqual(next_showing(130, NEW_YORK, utc(2013, 11, 3, 5, 45)), utc(2013, 11, 3, 6, 30))

    def test_every_departure_and_arrival_of_the_source_is_the_clock_time_it_came_from(self) -> None:
        """The whole year, turned into instants and back, is what the file says, with one exception."""
        zones = {airport[0]: ZoneInfo(airport[5]) for airport in source.airports() if airport[5]}
        stated = source.read("flights.csv.zip", "sched_dep_time dep_time sched_arr_time arr_time origin dest")
        wrong = []
        for said, row in zip(stated, source.flights(), strict=True):
            departure, arrival, late, arrived = row[7], row[8], row[9], row[11]
            left = None if late is None else departure + late * MINUTE
            told = [
                (departure, NEW_YORK),
                (left, NEW_YORK),
                (arrival, zones[said[5]]),
                (arrived, zones[said[5]]),
            ]
            for clock, (at, zone) in zip(said, told, strict=False):
                shown = None if at is None else at.astimezone(zone)
                if shown is None:
                    if clock != "NA":
                        wrong.append((row[0], row[1], row[6].isoformat(), clock, None))
                elif minute_of_day(int(clock)) != shown.hour * 60 + shown.minute:
                    wrong.append((row[0], row[1], row[6].isoformat(), clock, f"{shown:%H:%M}"))
        # JetBlue 35 landed at Palm Beach at 3:03, having left before clocks changed; its airline wrote 2:03.
        self.assertEqual(wrong, [("B6", 35, "2013-03-09", "203", "03:03")])
