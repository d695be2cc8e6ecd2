"""Time frames: which there are, when they close, what they hold, and what is done when more comes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction

from kck_flow import Cache, TimeFrame
from kck_flow.errors import NotPrimed, UnstorableValue, WaitTimeout
from kck_flow.models import Frame, Record, Refresh
from kck_flow.registry import registry
from kck_flow.store import cursors, refreshes
from kck_flow.store.session import caller
from kck_flow.streams import frames
from kck_flow.testing import freeze_time, run_worker
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure
from tests.streams.weather.models import HourOfStation, Measured, Wrote

pytestmark = pytest.mark.django_db(transaction=True)

cache = Cache.get_instance()
Declare = Callable[..., Any]
HOUR = timedelta(hours=1)


def closed(name: str) -> list[str]:
    return list(
        Frame.objects.filter(key_base=name, state="closed").order_by("start_at").values_list("key", flat=True)
    )


def test_each_window_that_is_complete_becomes_a_record(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 30, 59.999, 60, 150, value=3)
    run_worker(["fc_hourly"])
    assert closed("fc_hourly") == ["fc_hourly/2026-01-31T10", "fc_hourly/2026-01-31T11"]
    assert cache.get("fc_hourly/2026-01-31T10") == {"n": 3, "sum": 9}
    # The item at the boundary is in the window that begins there.
    assert cache.get("fc_hourly/2026-01-31T11") == {"n": 1, "sum": 3}
    with pytest.raises(
        NotPrimed, match="still open: it closes once its stream is complete up to 2026-01-31T13:00"
    ):
        cache.get("fc_hourly/2026-01-31T12")
    assert cache.get("fc_hourly/2026-01-31T12", None) is None
    assert Record.objects.filter(key_base="fc_hourly").count() == 2
    assert not Refresh.objects.filter(key_base="fc_hourly").exists()


@pytest.mark.parametrize(
    ("primer", "minutes", "expected"),
    [
        (primers.Quarter, [0, 0.2, 0.25, 0.6], ["2026-01-31T10", "2026-01-31T10:00:15Z"]),
        (primers.Daily, [0, 24 * 60, 50 * 60], ["2026-01-31", "2026-02-01"]),
    ],
)
def test_frames_of_any_duration(declare: Declare, primer: Any, minutes: Any, expected: Any) -> None:
    declare(primer)
    measure(*minutes)
    run_worker([primer.key_base])
    assert [key.partition("/")[2] for key in closed(primer.key_base)] == expected


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-05-01", 24)])
def test_a_day_in_berlin_has_as_many_hours_as_it_has(declare: Declare, day: str, hours: int) -> None:
    declare(primers.Berlin)
    start = (
        datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=primers.Berlin().sizes[""].zone).astimezone(UTC)
    )
    measure(*[60 * hour for hour in range(-24, 50)], start=start)
    run_worker(["fc_berlin"])
    frame = Frame.objects.get(key=f"fc_berlin/{day}")
    assert frame.end_at - frame.start_at == timedelta(hours=hours)
    assert cache.get(f"fc_berlin/{day}")["n"] == hours
    assert sum(cache.get(key)["n"] for key in closed("fc_berlin")) == len(
        Measured.objects.filter(at__lt=Frame.objects.latest("end_at").end_at)
    )


def test_three_series_from_one_pass(declare: Declare) -> None:
    declare(primers.Three)
    evening = datetime(2026, 1, 31, 22, tzinfo=UTC)
    measure(*[minute + 0.5 for minute in range(125)], start=evening)
    run_worker(["fc_three"])
    assert cache.get("fc_three/1d/2026-01-31") == {"n": 120, "sum": 120}
    assert cache.get("fc_three/1h/2026-01-31T22") == {"n": 60, "sum": 60}
    assert sum(primers.computed.values()) == 124  # each minute once; nothing else has read the items
    assert sum(primers.merged.values()) == 2 + 1
    points = cache.series("fc_three", evening, evening + 2 * HOUR, by="1h")
    assert [point.value["n"] for point in points] == [60, 60]
    assert all(point.complete for point in points)
    assert len(cache.series("fc_three/1m", evening, evening + HOUR)) == 60


def test_a_product_of_each_key(declare: Declare) -> None:
    declare(primers.Stations)
    measure(0, 1, 70, station="JFK")
    measure(5, 75, 80, station="LAX", value=10)
    run_worker(["fc_stations"])
    assert cache.get("fc_stations/JFK/2026-01-31T10") == {"n": 2, "sum": 2}
    assert cache.get_many(["fc_stations/LAX/2026-01-31T10", "fc_stations/JFK/2026-01-31T10"]) == {
        "fc_stations/LAX/2026-01-31T10": {"n": 1, "sum": 10},
        "fc_stations/JFK/2026-01-31T10": {"n": 2, "sum": 2},
    }
    points = cache.series("fc_stations/LAX", START, START + 3 * HOUR)
    assert [point.value for point in points] == [{"n": 1, "sum": 10}, None, None]
    assert [point.complete for point in points] == [True, False, False]


def test_what_is_within_the_lateness_is_in_its_frame_and_later_makes_a_revision(declare: Declare) -> None:
    declare(primers.Patient)
    measure(0, 65)
    run_worker(["fc_patient"])
    assert closed("fc_patient") == []  # it waits for ten minutes more
    measure(30)
    measure(71)
    run_worker(["fc_patient"])
    assert cache.get("fc_patient/2026-01-31T10")["n"] == 2
    measure(40, value=5)
    frames.wake("fc_patient")
    run_worker(["fc_patient"])
    entry = cache.get_entry("fc_patient/2026-01-31T10")
    assert (entry.value, entry.version) == ({"n": 3, "sum": 7}, 2)
    frame = Frame.objects.get(key="fc_patient/2026-01-31T10")
    assert (frame.late, frame.items, frame.revision) == (1, 3, 2)
    held = Record.objects.filter(key="fc_patient/2026-01-31T10").order_by("revision")
    assert [record.value["n"] for record in held] == [2, 3]  # what it was stays to be seen


def test_late_items_that_are_only_counted(declare: Declare) -> None:
    declare(primers.Counting)
    measure(0, 75)
    run_worker(["fc_counting"])
    measure(40, 41)
    frames.wake("fc_counting")
    run_worker(["fc_counting"])
    frame = Frame.objects.get(key="fc_counting/2026-01-31T10")
    assert (frame.late, frame.revision, cache.get(frame.key)["n"]) == (2, 1, 1)
    frames.tell("fc_counting", START, START + HOUR, late=3)  # changed, which the stream does not count
    frames.plan("fc_counting")
    frame.refresh_from_db()
    assert frame.late == 5


def test_an_equal_value_is_no_revision(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    assert frames.recompute("fc_hourly", START, START + HOUR) == ["fc_hourly/2026-01-31T10"]
    run_worker(["fc_hourly"])
    assert primers.computed["fc_hourly/2026-01-31T10"] == 2
    assert Record.objects.get(key="fc_hourly/2026-01-31T10").revision == 1
    measure(3)
    assert cache.refresh("fc_hourly/2026-01-31T10").version == 2
    assert cache.invalidate("fc_hourly/2026-01-31T10") == 1
    assert cache.get_entry("fc_hourly/2026-01-31T10").state == "stale"
    run_worker(["fc_hourly"])
    assert cache.get_entry("fc_hourly/2026-01-31T10").state == "fresh"


def test_a_told_item_reaches_the_coarser_frames_and_what_is_made_of_them(declare: Declare) -> None:
    coarse = {"key_base": "fc_coarse", "windows": ["15m", "1h", "1d"]}
    declare(type("Coarse", (primers.Three,), coarse), primers.Hourly, primers.Below)
    day = datetime(2026, 1, 31, tzinfo=UTC)
    measure(0, 61, 24 * 60 + 1, start=day)
    measure(0, start=START)
    run_worker(["fc_coarse", "fc_hourly"])
    assert cache.get("fc_below") == 2
    measure(5, value=7)
    told = frames.tell("fc_coarse", START, START + timedelta(minutes=20))
    assert len(told) == 2
    frames.tell("fc_hourly", START, START + HOUR)
    run_worker()
    assert cache.get_entry("fc_coarse/1h/2026-01-31T10").value == {"n": 2, "sum": 8}
    assert cache.get_entry("fc_coarse/1d/2026-01-31").value == {"n": 4, "sum": 10}
    assert cache.get("fc_below") == 16


def test_a_quiet_stream_closes_its_frames(declare: Declare) -> None:
    declare(primers.Quiet)
    with freeze_time(START + timedelta(minutes=10)) as clock:
        measure(0)
        run_worker(["fc_quiet"])
        assert closed("fc_quiet") == []
        clock.set(START + 3 * HOUR + timedelta(minutes=5))
        run_worker(["fc_quiet"])
        assert closed("fc_quiet") == ["fc_quiet/2026-01-31T10", "fc_quiet/2026-01-31T11"]
        clock.move(minutes=6)
        run_worker(["fc_quiet"])
        assert cache.get("fc_quiet/2026-01-31T12") == {"n": 0, "sum": 0}
        assert Frame.objects.get(key="fc_quiet/2026-01-31T12").items == 0


@pytest.mark.parametrize("what", ["frames", "records", "both"])
def test_what_somebody_deletes_in_the_middle_is_made_again(declare: Declare, what: str) -> None:
    declare(primers.Hourly)
    measure(*range(0, 600, 20))
    run_worker(["fc_hourly"])
    before = {key: cache.get(key) for key in closed("fc_hourly")}
    middle = list(before)[3:6]
    if what != "records":
        Frame.objects.filter(key__in=middle).delete()
    if what != "frames":
        Record.objects.filter(key__in=middle).delete()
    frames.plan("fc_hourly")
    run_worker(["fc_hourly"])
    assert {key: cache.get(key) for key in closed("fc_hourly")} == before
    assert Record.objects.filter(key_base="fc_hourly").count() == len(before)


def test_a_failing_frame_is_retried_parked_skipped_and_taken_up_again(declare: Declare) -> None:
    primer = declare(primers.Hourly)
    measure(0, 70, 130)
    key = "fc_hourly/2026-01-31T10"
    primers.failing.add(key)
    with freeze_time(START + timedelta(days=1)) as clock:
        for _ in range(6):
            run_worker(["fc_hourly"])
            clock.move(minutes=10)
        assert primers.computed[key] == primer.retries + 1
        (row,) = frames.listed("fc_hourly", state="failed")
        assert (row["key"], row["state"], row["attempts"]) == (key, "parked", 4)
        assert "no sum of" in row["last_error"]
        assert Wrote.objects.filter(key=key).count() == 0  # what it wrote went with it
        assert cache.get("fc_hourly/2026-01-31T11")["n"] == 1
        assert primer.needs_from(clock()) == START
        assert frames.skip(key, "the thermometer was broken")
        assert primer.needs_from(clock()) == START + 2 * HOUR
        with pytest.raises(NotPrimed, match="skipped: the thermometer was broken"):
            cache.get(key)
        primers.failing.clear()
        assert frames.unskip(key)
        run_worker(["fc_hourly"])
        assert cache.get(key)["n"] == 1
        assert frames.lag("fc_hourly").pending == 0


def test_what_cleans_up_runs_after_the_commit_and_undoes_nothing(declare: Declare) -> None:
    declare(primers.Tidy)
    measure(0, 70)
    key = "fc_tidy/2026-01-31T10"
    primers.failing_cleanup.add(key)
    with freeze_time(START + timedelta(days=1)) as clock:
        run_worker(["fc_tidy"])
        assert cache.get(key)["n"] == 1
        frame = Frame.objects.get(key=key)
        assert (frame.state, frame.cleaned_at) == ("closed", None)
        assert "nowhere to clean up" in frame.cleanup_error
        primers.failing_cleanup.clear()
        clock.move(minutes=10)
        run_worker(["fc_tidy"])
    assert list(Wrote.objects.order_by("id").values_list("what", flat=True)) == ["compute", "cleanup 1"]
    assert primers.computed[key] == 1
    frame.refresh_from_db()
    assert frame.cleaned_at is not None
    assert frame.cleanup_ms is not None
    assert not frame.cleanup_error


def test_seven_days_are_merged_each_day_and_nobody_reads_the_items(declare: Declare) -> None:
    declare(primers.Daily, primers.Weekly)
    day = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(12):
        measure(24 * 60 * number, station=f"S{number:02}", start=day)
    run_worker(["fc_daily"])
    Measured.objects.filter(at__lt=day + timedelta(days=11)).delete()
    run_worker(["fc_weekly"])
    assert cache.get("fc_weekly/2026-01-01") == [f"S{number:02}" for number in range(7)]
    assert cache.get("fc_weekly/2026-01-05") == [f"S{number:02}" for number in range(4, 11)]
    assert len(closed("fc_weekly")) == 5
    last = Frame.objects.get(key="fc_weekly/2026-01-05")
    assert last.end_at - last.start_at == timedelta(days=7)


def test_columns_of_its_own(declare: Declare) -> None:
    declare(primers.Columns)
    measure(0, 1, value=3)
    measure(130, value=4)
    run_worker(["fc_columns"])
    held = HourOfStation.objects.get(key="fc_columns/2026-01-31T10")
    assert (held.total, held.current, held.revision) == (6, True, 1)
    assert cache.get("fc_columns/2026-01-31T10") == {"total": 6, "mean": held.mean}
    assert cache.get("fc_columns/2026-01-31T11") == {"total": 0, "mean": None}
    frames.recompute("fc_columns", START, START + HOUR)
    run_worker(["fc_columns"])
    assert HourOfStation.objects.filter(key=held.key).count() == 1
    measure(2, value=9)
    frames.tell("fc_columns", START, START + HOUR)
    run_worker(["fc_columns"])
    assert [
        (row.total, row.current) for row in HourOfStation.objects.filter(key=held.key).order_by("revision")
    ] == [
        (6, False),
        (15, True),
    ]
    assert [point.value["total"] for point in cache.series("fc_columns", START, START + 2 * HOUR)] == [15, 0]
    HourOfStation.objects.filter(key=held.key).delete()
    frames.plan("fc_columns")
    run_worker(["fc_columns"])
    assert HourOfStation.objects.get(key=held.key).total == 15


def test_what_was_deleted_at_the_source_is_no_zero(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70, 130)
    with freeze_time(START + timedelta(days=1)):
        run_worker(["fc_hourly"])
        measure(190, 250)
        Measured.objects.filter(at__lt=START + 3 * HOUR).delete()
        cursors.begin(caller("default"), "stream:measured", [0], None, START + 3 * HOUR)
        frames.tell("fc_hourly", START, START + HOUR)
        frames.plan("fc_hourly")
        run_worker(["fc_hourly"])
    assert cache.get("fc_hourly/2026-01-31T10") == {"n": 1, "sum": 1}  # refused: it keeps what it had
    assert Frame.objects.get(key="fc_hourly/2026-01-31T12").state == "skipped"
    assert cache.get("fc_hourly/2026-01-31T13") == {"n": 1, "sum": 1}
    with pytest.raises(NotPrimed, match="was deleted"):
        cache.get("fc_hourly/2026-01-31T12")


def test_what_cannot_be_made_again_is_not_tried_for_ever(declare: Declare) -> None:
    declare(type("Narrow", (primers.Hourly,), {"key_base": "fc_narrow", "max_pending": 2}))
    measure(*range(30, 8 * 60, 60))
    run_worker(["fc_narrow"])
    Measured.objects.filter(at__lt=START + 5 * HOUR).delete()
    cursors.begin(caller("default"), "stream:measured", [0], None, START + 5 * HOUR)
    keys = closed("fc_narrow")
    Record.objects.filter(key__in=[*keys[:4], keys[5]]).delete()
    for _ in range(3):
        frames.plan("fc_narrow")
        run_worker(["fc_narrow"])
    states = Frame.objects.order_by("start_at").values_list("state", flat=True)
    assert list(states) == ["skipped"] * 4 + ["closed"] * 3
    assert [cache.get(key)["n"] for key in keys[4:]] == [1, 1, 1]
    assert frames.plan("fc_narrow").again == 0
    with pytest.raises(NotPrimed, match="what 'measured' had before 2026-01-31 15:00:00 UTC was deleted"):
        cache.get(keys[0])


def test_a_frame_without_its_record_that_is_given_up_is_skipped(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    (key,) = closed("fc_hourly")
    Record.objects.filter(key=key).delete()
    primers.failing.add(key)
    frames.plan("fc_hourly")
    run_worker(["fc_hourly"], most=1)
    assert frames.skip(key, "never mind")
    assert Frame.objects.get(key=key).state == "skipped"
    assert frames.plan("fc_hourly").again == 0


def test_a_frame_is_taken_up_again_whole_or_not_at_all(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    key = registry.key("fc_hourly/2026-01-31T10")
    frames.plan("fc_hourly")
    frames.skip(str(key), "never mind")
    refreshes.request(caller("default"), key, {}, lane=5, reason="manual")
    with transaction.atomic():
        Refresh.objects.select_for_update().get(key=key)
        with pytest.raises(OperationalError):
            frames.unskip(str(key))
    assert Frame.objects.get(key=key).state == "skipped"
    assert frames.unskip(str(key))
    run_worker(["fc_hourly"])
    assert closed("fc_hourly") == [str(key)]


def test_a_miss_of_a_closed_window_computes_it_and_its_parts(declare: Declare) -> None:
    declare(primers.Three)
    measure(0, 61, 130)
    # Its sixty parts are computed within the wait: on a busy machine that takes longer than a reader's patience.
    assert cache.get("fc_three/1h/2026-01-31T10", wait=120) == {"n": 1, "sum": 1}
    assert cache.is_set("fc_three/1m/2026-01-31T10")
    assert cache.get("fc_three/1h/2026-01-31T11", prime_on_cache_miss=False, default="none") == "none"
    with pytest.raises(NotPrimed, match="lies before its frames begin"):
        cache.get("fc_three/1h/2026-01-30T11")
    with pytest.raises(UnstorableValue, match="is what its stream holds"):
        cache.set("fc_three/1h/2026-01-31T10", 1)


def test_a_backfill_goes_on_where_it_was_and_takes_what_is_older_than_the_epoch(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    measure(-170, -20)
    run_worker(["fc_hourly"])
    assert closed("fc_hourly") == ["fc_hourly/2026-01-31T10"]  # they began with the first item that was there
    work = frames.backfill("fc_hourly", START - 3 * HOUR, START + HOUR)
    assert next(work).outcome == "done"
    work.close()
    outcomes = [one.outcome for one in frames.backfill("fc_hourly", START - 3 * HOUR, START + HOUR)]
    assert outcomes == ["there", "done", "done", "there"]
    assert [cache.get(key)["n"] for key in closed("fc_hourly")] == [1, 0, 1, 1]
    again = [one.outcome for one in frames.backfill("fc_hourly", START - 3 * HOUR, START, again=True)]
    assert again == ["unchanged"] * 3
    assert max(primers.computed.values()) == 2


def test_pause_holds_planning_and_computing(declare: Declare) -> None:
    declare(type("Sleeping", (primers.Hourly,), {"key_base": "fc_sleeping", "autostart": False}))
    measure(0, 70)
    run_worker(["fc_sleeping"])
    assert not Frame.objects.filter(key_base="fc_sleeping").exists()
    assert cache.resume("fc_sleeping")
    run_worker(["fc_sleeping"])
    assert closed("fc_sleeping") == ["fc_sleeping/2026-01-31T10"]


def test_a_newer_version_marks_new_frames_and_an_older_process_leaves_them(declare: Declare) -> None:
    declare(primers.Hourly)
    measure(0, 70)
    run_worker(["fc_hourly"])
    newer = type("Newer", (primers.Hourly,), {"version": 2})
    registry.withdraw(primers.Hourly)
    declare(newer)
    measure(130)
    frames.wake("fc_hourly")
    run_worker(["fc_hourly"])
    assert list(Frame.objects.order_by("start_at").values_list("primer_version", flat=True)) == [1, 2]
    registry.withdraw(newer)
    registry.register(primers.Hourly)
    measure(190)
    frames.wake("fc_hourly")
    run_worker(["fc_hourly"], most=5)
    assert len(closed("fc_hourly")) == 2
    # Whoever reads there waits for the newer ones; what is asked for by hand is refused.
    key = "fc_hourly/2026-01-31T12"
    with pytest.raises(WaitTimeout):
        cache.get(key, wait=0.1)
    with pytest.raises(NotPrimed, match="a newer release: 'fc_hourly' has version 2 there, and 1 here"):
        cache.refresh(key)
    (filled,) = frames.backfill("fc_hourly", START + 2 * HOUR, START + 3 * HOUR)
    assert (filled.outcome, "a newer release" in str(filled.error)) == ("failed", True)
    registry.withdraw(primers.Hourly)
    registry.register(newer)
    assert cache.refresh(key).value["n"] == 1


def test_years_of_hours_are_not_walked_one_by_one(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor those of Berlin, where an hour is an hour, whatever its clock does."""
    years = datetime(2017, 1, 1, tzinfo=UTC)
    walked = {"key_base": "fc_years", "epoch": years, "tz": "Europe/Berlin", "max_pending": 3}
    declare(type("Years", (primers.Hourly,), walked))
    measure(0)
    monkeypatch.setattr(TimeFrame, "walk", lambda *_: pytest.fail("walked"))
    assert frames.plan("fc_years").planned == 3
    assert list(Frame.objects.order_by("start_at").values_list("key", flat=True)) == [
        "fc_years/2017-01-01", "fc_years/2017-01-01T01", "fc_years/2017-01-01T02",
    ]  # fmt: skip
    assert frames.lag("fc_years").pending == (START - years) // HOUR


def test_stats_and_lag(declare: Declare) -> None:
    declare(primers.Tidy)
    measure(0, 70, 130)
    assert frames.lag("fc_tidy").pending == 2
    assert frames.lag("fc_tidy").seconds == 130 * 60
    run_worker(["fc_tidy"])
    (of,) = frames.stats("fc_tidy")
    assert (of.frames, of.items) == (2, 2)
    assert of.compute_ms is not None
    assert of.cleanup_ms is not None
    assert frames.lag("fc_tidy") == frames.Lag("fc_tidy", 0, 0.0, START + timedelta(minutes=130))


def test_gaps_of_the_source_are_told(declare: Declare) -> None:
    class Gappy(type(primers.MEASURED)):  # type: ignore[misc]
        def gaps(self, start: datetime, end: datetime) -> Any:
            return [(START, START + timedelta(minutes=1))] if start <= START < end else []

    stream = Gappy("weather.Measured", at="at", name="measured", watermark="latest")
    declare(type("Holey", (primers.Three,), {"key_base": "fc_holey", "stream": stream}))
    measure(0, 1, 61, 130)
    run_worker(["fc_holey"])
    assert not Frame.objects.get(key="fc_holey/1m/2026-01-31T10").complete
    assert Frame.objects.get(key="fc_holey/1m/2026-01-31T10:01").complete
    assert not Frame.objects.get(key="fc_holey/1h/2026-01-31T10").complete
    assert cache.get_entry("fc_holey/1h/2026-01-31T10").gaps == ((START, START + HOUR),)
    assert Frame.objects.get(key="fc_holey/1h/2026-01-31T11").complete
