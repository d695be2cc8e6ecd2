"""The replay: each door by itself, all of them in turn, and what was counted beside what plain SQL says."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from django.core.management import CommandError, call_command
from kck_flow import Cache

from flights import auditing, board, replaying
from flights.clocks import NEW_YORK
from flights.models import Flight, Trip
from flights.primers import ARCHIVED_AFTER, archive_trips
from flights.tests.base import FlightsTestCase

NOON = datetime(2013, 3, 8, 12, tzinfo=NEW_YORK)


def replay(until: datetime | None = None) -> list[replaying.Step]:
    return list(replaying.replay(until=until))


class Replay(FlightsTestCase):
    def assert_counted(self) -> None:
        """What is counted is what SQL says, by facet and by hour."""
        clock, bounds = replaying.position(), replaying.bounds()
        assert clock is not None
        assert bounds is not None
        source = auditing.states_in_source(clock) | auditing.moves_in_source(clock)
        stocks, _ = auditing.states_counted()
        counted = stocks | auditing.moves_counted(bounds[0], clock)
        self.assertEqual(list(auditing.differences(counted, source)), [])
        self.assertEqual(list(auditing.unbalanced()), [])

    def test_the_week_through_all_doors_in_turn_is_what_the_source_says(self) -> None:
        steps = replay()
        self.assertEqual({step.door for step in steps}, {"saves", "bulk", "sql"})
        self.assert_counted()
        said = board.states()
        self.assertEqual(said["cancelled"]["value"], sum(row["dep_delay"] is None for row in self.rows))
        self.assertEqual(said["landed"]["value"], sum(row["arr_delay"] is not None for row in self.rows))
        united = [row for row in self.rows if row["carrier"] == "UA"]
        self.assertEqual(Cache.get_instance().get("airline_trips/UA")["value"], len(united))
        self.assertEqual(
            said["landed"]["facets"]["carrier"]["UA"], sum(row["arr_delay"] is not None for row in united)
        )

    def test_any_door_leads_to_the_same_rows(self) -> None:
        first, _ = replaying.bounds() or (NOON, NOON)
        until = first + timedelta(hours=36)  # some are on the board, some in the air, some down
        rows = []
        for door in replaying.DOORS:
            with self.subTest(door.name), patch.object(replaying, "DOORS", [door]):
                Trip.objects.all().delete()
                replay(until)
                rows.append(
                    set(Trip.objects.values_list("flight", "airline", "origin", "state", "changed_at"))
                )
        self.assertGreater(len({state for _, _, _, state, _ in rows[0]}), 2)
        self.assertEqual(rows[0], rows[1])
        self.assertEqual(rows[0], rows[2])

    def test_it_stops_where_it_is_told_and_goes_on_from_there(self) -> None:
        replay(NOON)
        self.assert_counted()
        self.assertGreater(board.states()["departed"]["value"], 0)
        self.assertLessEqual(replaying.position(), NOON)
        before = board.states()["landed"]["value"]
        self.assertEqual(sum(step.moved for step in replay(NOON)), 0)
        replay()
        self.assertGreater(board.states()["landed"]["value"], before)
        self.assert_counted()

    def test_what_was_left_half_done_is_done_first(self) -> None:
        replay(NOON)
        behind = Trip.objects.filter(state=Trip.LANDED).order_by("pk")[:50]
        Trip.objects.filter(pk__in=list(behind.values_list("pk", flat=True))).delete()
        caught_up = next(replaying.replay())
        self.assertEqual(caught_up.moved, 150)  # announced, departed, landed
        self.assertEqual(board.states()["landed"]["value"], Trip.objects.filter(state=Trip.LANDED).count())

    def test_the_check_names_what_differs(self) -> None:
        call_command("replay_flights", until=NOON, stderr=_Nowhere())
        call_command("check_trips", stdout=_Nowhere())
        Flight.objects.filter(trip__state=Trip.LANDED, airline="UA").order_by("pk")[0].trip.delete()
        with self.assertRaisesRegex(CommandError, r"landed carrier UA: counted ([\d,]+), source ([\d,]+)"):
            call_command("check_trips", stdout=_Nowhere())


class Decay(FlightsTestCase):
    def test_what_landed_long_ago_is_put_away_and_the_flow_counts_it(self) -> None:
        replay()
        landed = Trip.objects.filter(state=Trip.LANDED)
        youngest = landed.order_by("-changed_at")[0]
        # A week is all there is here: the last to land is moved far enough ahead for the first days to be old.
        snow = datetime(2013, 3, 8, 5, tzinfo=UTC)  # a day is 24 hours there, also when clocks change
        Trip.objects.filter(pk=youngest.pk).update(changed_at=snow + ARCHIVED_AFTER)
        old = landed.filter(changed_at__lte=snow).count()
        all_landed = landed.count()
        self.assertEqual(archive_trips(), old)
        self.assertEqual(archive_trips(), 0)
        said = board.states()
        self.assertEqual((said["landed"]["value"], said["archived"]["value"]), (all_landed - old, old))
        self.assertEqual(Cache.get_instance().get("trips_archiving")["value"], old)
        self.assertEqual(list(auditing.unbalanced()), [])

    def test_without_a_replay_there_is_nothing_to_put_away(self) -> None:
        self.assertEqual(archive_trips(), 0)


class _Nowhere:
    def write(self, text: str) -> None:
        pass
