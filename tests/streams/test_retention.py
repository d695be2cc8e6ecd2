"""What of a source may be deleted, and what was. Rows 152, 153."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q
from django.utils.timezone import make_aware

from kck_flow import (
    Cache,
    Flow,
    MessageStream,
    ModelParameter,
    ModelStream,
    Primer,
    Stock,
    Stream,
    TimeFrame,
    Topic,
    model_stream,
    testing,
)
from kck_flow.changes import triggers
from kck_flow.errors import DeclarationError
from kck_flow.event_stream import EventStream
from kck_flow.management.verbs import pruning
from kck_flow.models import Cursor, Event, Frame, Outbox
from kck_flow.registry import registry
from kck_flow.store import cursors
from kck_flow.store.session import caller
from kck_flow.streams import frames, retention, topics
from kck_flow.streams.log import send
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account
from tests.streams.meters.models import Complaint, Meter, Photo, Reading

committed = pytest.mark.django_db(transaction=True)
T = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
READINGS = ModelStream(Reading, "taken_at")


class _Needing(Primer):
    """Reads a stream, and says what it still needs of it."""

    stream: Any = READINGS
    since: Any = None

    def needs_from(self, now: datetime) -> datetime | None:
        return self.since(now) if callable(self.since) else self.since

    def compute(self, key: Any) -> Any:
        return self.stream.count(T, T + 99 * HOUR)


def needing(name: str, since: Any, stream: Any = READINGS) -> type[Primer]:
    since = staticmethod(since) if callable(since) else since
    stream = staticmethod(stream) if callable(stream) and not isinstance(stream, Stream) else stream
    return type(name, (_Needing,), {"key_base": f"rt_{name}", "since": since, "stream": stream})


@pytest.fixture
def readings() -> list[Reading]:
    return Reading.objects.bulk_create(
        [Reading(taken_at=T + number * HOUR, value=number) for number in range(10)]
    )


@pytest.fixture
def clock() -> Iterator[Any]:
    with freeze_time(T + 10 * HOUR) as frozen:
        yield frozen


def left() -> list[int]:
    return sorted(Reading.everything.values_list("value", flat=True))


def gone(name: str = "meters.reading") -> datetime | None:
    """Return before when items of a stream were deleted. Without USE_TZ the ORM would tell a naive instant."""
    return next((one.since for one in cursors.listed(caller("default"), f"stream:{name}")), None)


def aware(at: datetime) -> datetime:
    """Return an instant as the ORM tells it, aware in any case."""
    return at if at.tzinfo is not None else make_aware(at)


def kck(*args: str) -> tuple[int, str]:
    """Return a verb's exit code, and what it said."""
    out = StringIO()
    try:
        call_command("kck", *args, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, out.getvalue() + str(error)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


# -- what is needed ------------------------------------------------------------------------------------------


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_152_of_two_primers_on_one_source_the_slow_one_protects_its_data() -> None:
    with registered(needing("fast", T + 9 * HOUR), needing("slow", T + 4 * HOUR)):
        done = retention.prune_source("meters.reading")
        assert (done.found, done.deleted, done.verdict.cutoff) == (4, 4, T + 4 * HOUR)
        assert [(need.product, need.since) for need in done.verdict.needs] == [
            ("rt_slow", T + 4 * HOUR),
            ("rt_fast", T + 9 * HOUR),
        ]
        assert done.verdict.why == "from then on 'rt_slow' needs it"
        assert left() == [4, 5, 6, 7, 8, 9]
        assert gone() == T + 4 * HOUR
        again = retention.prune_source("meters.reading")
        assert (again.found, again.deleted) == (0, 0)


@committed
@pytest.mark.usefixtures("readings")
def test_152_an_override_of_24_hours_protects_24_hours(clock: Any) -> None:
    day = timedelta(hours=24)
    with registered(needing("fast", T + 99 * HOUR), needing("day", lambda now: now - day)):
        clock.set(T + 29 * HOUR + timedelta(microseconds=1))
        assert (
            retention.prune_source("meters.reading").deleted == 6
        )  # 0 to 5: it is a day and a microsecond old
        assert left() == [6, 7, 8, 9]
        clock.move(hours=1)
        assert retention.prune_source("meters.reading").deleted == 1


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_152_whatever_the_stream_is_called_its_data_is_protected() -> None:
    some = ModelStream(Reading, "taken_at", name="some", filter=Q(value__gt=5))
    photos = ModelStream(Photo, "taken_at", name="photos")
    with registered(
        needing("all", T + 9 * HOUR),
        needing("some", T + 3 * HOUR, some),
        needing("photos", T + 2 * HOUR, photos),
    ):
        for name in ("meters.reading", "photos"):
            assert retention.verdict_of(retention.named(name).origin, T + 9 * HOUR).cutoff == T + 2 * HOUR
        assert retention.prune_source("meters.reading").deleted == 2
        # Each that reads it knows what is gone.
        assert Cursor.objects.filter(reader__startswith="stream:").count() == 3
        assert [gone(name) for name in ("meters.reading", "some", "photos")] == [T + 2 * HOUR] * 3


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_a_stream_may_be_a_class_or_a_function() -> None:
    class Own(ModelStream):
        def __init__(self) -> None:
            super().__init__(Reading, "taken_at")

    with registered(
        needing("of_class", T + 6 * HOUR, Own), needing("of_function", T + 5 * HOUR, lambda: READINGS)
    ):
        assert retention.prune_source("meters.reading").deleted == 5


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_what_has_not_come_yet_is_not_deleted_in_advance() -> None:
    with registered(needing("ahead", T + 99 * HOUR)):
        Reading.objects.create(taken_at=T + 11 * HOUR, value=11)
        assert retention.prune_source("meters.reading").deleted == 10
        assert (left(), gone()) == ([11], T + 10 * HOUR)


# -- the unknown ---------------------------------------------------------------------------------------------


class _Watched(Stream):
    """Says what it was asked for."""

    name = "rt_watched"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def _note(self, what: str) -> None:
        self.asked.append(what)

    def earliest(self) -> datetime | None:
        self._note("earliest")
        return T

    def latest(self) -> datetime | None:
        self._note("latest")
        return T

    def read(self, start: datetime, end: datetime, **options: Any) -> Any:
        self._note("read")
        yield (T, 1), 1

    def delete_before(self, cutoff: datetime) -> int:
        self._note("delete_before")
        return 1


def _broken(now: datetime) -> datetime:
    raise ZeroDivisionError("no way to tell")


@committed
@pytest.mark.parametrize(
    ("since", "why"),
    [
        (None, "what 'rt_unknown' needs is unknown: it does not know what it needs"),
        (_broken, "its needs_from failed: ZeroDivisionError: no way to tell"),
        (datetime(2026, 1, 1), "returned the naive 2026-01-01"),  # noqa: DTZ001
    ],
)
def test_153_on_unknown_nothing_is_deleted_and_nothing_called(since: Any, why: str) -> None:
    stream = _Watched()
    with registered(needing("known", T + HOUR, stream), needing("unknown", since, stream)):
        for dry in (True, False):
            done = retention.prune_source("rt_watched", dry_run=dry)
            assert (done.found, done.deleted, done.verdict.cutoff) == (0, 0, None)
            assert why in done.verdict.why
        code, said = kck("prune", "--source", "rt_watched")
        assert code == 1
        assert "Nothing is deleted" in said
        assert why in said
        assert stream.asked == []
        assert not Cursor.objects.filter(reader__startswith="stream:").exists()


class _Unfinished(Primer):
    """A primer that cannot be set up: which stream it would read, nobody knows."""

    key_base = "rt_unfinished"

    def __init__(self) -> None:
        raise DeclarationError("it is not finished")


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_153_beside_a_primer_that_cannot_be_set_up_nothing_is_deleted() -> None:
    with registered(needing("fast", T + 9 * HOUR)):
        assert registry.register(_Unfinished) is None
        try:
            for more in ([], ["--dry-run"]):
                code, said = kck("prune", "--source", "meters.reading", *more)
                assert code == 2
                assert "cannot be set up, and may read any stream, so nothing may be deleted of any" in said
            assert left() == list(range(10))
        finally:
            registry.withdraw(_Unfinished)
        assert kck("prune", "--source", "meters.reading")[0] == 0
        assert left() == [9]


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_153_a_dry_run_prints_the_count_and_deletes_nothing() -> None:
    with registered(needing("fast", T + 9 * HOUR), needing("slow", T + 4 * HOUR)):
        code, said = kck("prune", "--source", "meters.reading", "--dry-run")
        assert code == 0
        assert (
            "4 items before 2026-03-01T04:00:00+00:00 would be deleted: from then on 'rt_slow' needs it."
            in said
        )
        assert (len(left()), gone()) == (10, None)
        code, said = kck("prune", "--source", "meters.reading", "--format", "json")
        assert code == 0
        assert json.loads(said[said.index("[") : said.rindex("]") + 1])[0] == {
            "source": "meters.reading", "product": "rt_slow", "needs_from": "2026-03-01T04:00:00+00:00", "why": "",
            "cutoff": "2026-03-01T04:00:00+00:00", "rows": 4, "deleted": 4,
        }  # fmt: skip
        assert left() == [4, 5, 6, 7, 8, 9]


@committed
@pytest.mark.usefixtures("readings", "clock")
def test_what_is_young_is_kept_if_asked_for() -> None:
    with registered(needing("fast", T + 9 * HOUR)):
        code, said = kck("prune", "--source", "meters.reading", "--keep", "7h")
        assert code == 0
        assert "3 items before 2026-03-01T03:00:00+00:00 deleted: it is kept for 7:00:00." in said
        assert (
            kck("prune", "--source", "meters.reading", "--keep", "1m")[0] == 0
        )  # what is needed stays all the same
        assert (left(), gone()) == ([9], T + 9 * HOUR)


@committed
@pytest.mark.usefixtures("readings")
def test_a_source_that_nobody_reads_is_refused() -> None:
    with registered(needing("other", T, ModelStream(Photo, "taken_at", name="photos"))):
        code, said = kck("prune", "--source", "meters.reading")
        assert code == 2
        assert "No primer reads a stream named 'meters.reading'" in said
        assert "Read are: photos." in said
        assert len(left()) == 10
    code, said = kck("prune", "--source", "meters.reading", "--events", "1d")
    assert (code, "leave out --events" in said) == (2, True)
    code, said = kck("prune", "--keep", "1d")
    assert (code, "with --source" in said) == (2, True)


@committed
@pytest.mark.usefixtures("readings")
def test_a_name_of_two_streams_is_refused() -> None:
    with registered(
        needing("one", T), needing("two", T, ModelStream(Account, "joined_at", name="meters.reading"))
    ):
        code, said = kck("prune", "--source", "meters.reading")
        assert (code, "Two streams are named 'meters.reading'" in said) == (2, True)


@committed
@pytest.mark.usefixtures("readings")
def test_a_primer_that_cannot_say_what_it_reads_may_read_anything() -> None:
    def none() -> Any:
        raise LookupError("nothing there")

    with registered(needing("one", T + HOUR), needing("lost", T, none)):
        with pytest.raises(
            DeclarationError, match=r"'rt_lost' cannot say which stream it reads.*nothing there"
        ):
            retention.prune_source("meters.reading")
        assert len(left()) == 10


@committed
def test_a_source_that_is_not_ours_is_refused() -> None:
    with registered(needing("reader", T + 9 * HOUR, MessageStream("rt.*"))):
        send("rt.x", {}, at=T)
        code, said = kck("prune", "--source", "messages:rt.*")
        assert code == 1
        assert "the log of messages, which topics read, too" in said
        assert Outbox.objects.count() == 1
        assert not Cursor.objects.exists()


# -- what was deleted ----------------------------------------------------------------------------------------


@committed
@pytest.mark.usefixtures("clock")
def test_what_is_deleted_and_that_it_is_commit_together(
    readings: list[Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 3)
    Complaint.objects.create(reading=readings[4])
    with registered(needing("one", T + 9 * HOUR)):
        code, said = kck("prune", "--source", "meters.reading")
        assert code == 1
        assert "The database refused" in said
        assert "Complaint.reading" in said
        # The first step is done, the second undone: what holds on to one of its rows is told.
        assert left() == [3, 4, 5, 6, 7, 8, 9]
        assert gone() == T + 2 * HOUR + timedelta(microseconds=1)
        Complaint.objects.all().delete()
        assert retention.prune_source("meters.reading").deleted == 6
        assert (left(), gone()) == ([9], T + 9 * HOUR)


@committed
@pytest.mark.usefixtures("clock", "readings")
def test_nobody_sees_rows_gone_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, datetime | None]] = []

    def look() -> None:
        try:
            seen.append((len(left()), gone()))
        finally:
            connection.close()

    real = ModelStream.delete_before

    def delete(stream: Any, cutoff: datetime) -> int:
        deleted = real(stream, cutoff)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(10)
        return deleted

    monkeypatch.setattr(ModelStream, "delete_before", delete)
    with registered(needing("one", T + 4 * HOUR)):
        assert retention.prune_source("meters.reading").deleted == 4
    assert seen == [(10, None)]  # while it was under way
    assert (len(left()), gone()) == (6, T + 4 * HOUR)


@committed
@pytest.mark.usefixtures("clock", "readings")
def test_what_is_asked_for_while_it_is_deleted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 3)
    needs = iter(
        [T + 9 * HOUR, T + 9 * HOUR, T + 4 * HOUR]
    )  # an older frame is planned behind the first step
    with registered(needing("one", lambda now: next(needs))):
        done = retention.prune_source("meters.reading")
        assert (done.found, done.deleted) == (9, 3)
        assert left() == [3, 4, 5, 6, 7, 8, 9]


@committed
@pytest.mark.usefixtures("clock")
def test_what_was_gone_before_stays_so() -> None:
    Cursor.objects.create(reader="stream:meters.reading", since=T + 50 * HOUR, begun_at=T)
    Reading.objects.create(taken_at=T, value=0)
    with registered(needing("one", T + HOUR)):
        assert retention.prune_source("meters.reading").deleted == 1
    assert gone() == T + 50 * HOUR


@committed
def test_a_foreign_source_is_remembered_first() -> None:
    known: list[datetime | None] = []

    class Foreign(_Watched):
        def delete_before(self, cutoff: datetime) -> int:
            known.append(gone("rt_watched"))
            raise OSError("lost")

    with registered(needing("one", T + HOUR, Foreign())), pytest.raises(OSError, match="lost"):
        retention.prune_source("rt_watched")
    assert known == [T + HOUR]
    assert gone("rt_watched") == T + HOUR


# -- events and messages, which are pruned by their age ------------------------------------------------------


class RtTrial(Stock):
    key_base, model, members = "rt_trial", Account, Q(state="trial")


class RtPaying(Stock):
    key_base, model, members = "rt_paying", Account, Q(state="paying")


class RtConverting(Flow):
    key_base, sources, sinks, at, record_events = (
        "rt_converting",
        [None, RtTrial],
        [RtPaying],
        "joined_at",
        True,
    )


@committed
@pytest.mark.parametrize(
    ("since", "expected"), [(T + 4 * HOUR, [4, 5, 6, 7, 8, 9]), (None, list(range(10))), (T + 99 * HOUR, [])]
)
def test_events_that_somebody_reads_as_a_stream_are_not_pruned_by_their_age(
    since: Any, expected: list[int]
) -> None:
    with registered(RtTrial, RtPaying, RtConverting, needing("events", since, EventStream(RtConverting))):
        triggers.install("default")
        testing.reset()
        for number in range(10):
            Account.objects.create(state="paying", joined_at=T + number * HOUR)
        code, _ = kck("prune", "--events", "0s", "--dry-run", "--format", "json")
        assert (code, Event.objects.count()) == (0, 10)
        assert kck("prune", "--events", "0s")[0] == 0
        assert [
            int((aware(at) - T) / HOUR) for at in Event.objects.order_by("at").values_list("at", flat=True)
        ] == expected
        deleted = 10 - len(expected)
        behind = T + (deleted - 1) * HOUR + timedelta(microseconds=1)
        assert gone("events:rt_converting") == (behind if deleted else None)
    triggers.install("default")


@committed
def test_events_that_nobody_reads_go_by_their_age_and_that_is_known() -> None:
    with registered(RtTrial, RtPaying, RtConverting):
        triggers.install("default")
        testing.reset()
        Account.objects.create(state="paying", joined_at=T)
        assert sum(count for _, _, count in pruning.prune("default", "rt_converting", older_events=0)) == 1
        stream = EventStream(RtConverting)
        [(start, end)] = stream.gaps(T - HOUR, T + HOUR)
        assert (start, end) == (T - HOUR, T + HOUR)  # before it was declared nothing was kept, anyway
        assert stream._deleted(caller("default")) == [T + timedelta(microseconds=1)]
    triggers.install("default")


class RtLog(Topic):
    key_base, topics = "rt_log", ["rt.*"]

    def process(self, state: Any, message: Any) -> Any:
        return (state or 0) + 1


@committed
@pytest.mark.parametrize(("since", "expected"), [(T + 4 * HOUR, 6), (None, 10), (T + 99 * HOUR, 0)])
def test_messages_that_a_frame_needs_stay_in_the_log(since: Any, expected: int, settings: Any) -> None:
    settings.KCK_FLOW = {**getattr(settings, "KCK_FLOW", {}), "MESSAGE_RETENTION_DAYS": 0}
    with registered(RtLog, needing("messages", since, MessageStream("rt.*"))):
        for number in range(10):
            send("rt.x", {}, at=T + number * HOUR)
        topics.drain(["rt_log"])
        assert kck("prune")[0] == 0
        assert Outbox.objects.count() == expected


# -- time frames ---------------------------------------------------------------------------------------------

LATEST = ModelStream(Reading, "taken_at", watermark="latest")
STATION = ModelStream(Reading, "taken_at", name="by-meter", watermark="latest")


class _Hours(TimeFrame):
    stream, duration, quiet, corrections = LATEST, "hour", None, timedelta(0)
    retries, park_after, backoff = 0, 1, timedelta(0)
    failing: Any = ()

    def compute(self, key: Any, items: Any) -> Any:
        if self.bounds(key)[0] in self.failing:
            raise ValueError("no way")
        return sorted(item.value for item in items)


class RtHours(_Hours):
    """Each hour."""

    key_base = "rt_hours"


class RtDays(_Hours):
    """Of a whole day, an hour late."""

    key_base, duration, tz, lateness = "rt_days", "day", "UTC", HOUR


class RtBreaking(_Hours):
    """Fails at five."""

    key_base, failing = "rt_breaking", [T + 5 * HOUR]


class RtMerged(_Hours):
    """Made of frames, and reads nothing."""

    key_base, duration, tz, merges = "rt_merged", "day", "UTC", "rt_hours"

    def merge(self, key: Any, parts: Any) -> Any:
        return [value for part in parts for value in part.value]


class RtOfMeter(_Hours):
    """Of one meter."""

    key_base, stream = "rt_of_meter", STATION
    parameters = [ModelParameter("which", Meter, field="meter")]

    def domain(self) -> Any:
        return Meter.objects.values_list("pk", flat=True)


@committed
@pytest.mark.usefixtures("readings")
def test_152_frames_protect_what_they_have_not_read_yet(clock: Any) -> None:
    with registered(RtHours, RtDays, RtMerged):
        clock.set(T + 10 * HOUR)
        run_worker(["rt_hours", "rt_days", "rt_merged"])
        assert Cache.get_instance().get("rt_hours/2026-03-01T08") == [8]
        done = retention.prune_source("meters.reading")
        assert {need.product: need.since for need in done.verdict.needs} == {
            "rt_hours": T + 9 * HOUR,  # whose window the stream has not left yet
            "rt_days": T - HOUR,
        }
        assert done.deleted == 0
        Reading.objects.create(taken_at=T + 26 * HOUR, value=26)
        clock.set(T + 30 * HOUR)
        run_worker(["rt_hours", "rt_days", "rt_merged"])
        assert Cache.get_instance().get("rt_days/2026-03-01") == list(range(10))
        done = retention.prune_source("meters.reading")
        assert (done.verdict.cutoff, done.deleted) == (T + 23 * HOUR, 10)
        # What is gone stays what it was, and is planned no more.
        Reading.objects.create(taken_at=T + 28 * HOUR, value=28)
        run_worker(["rt_hours", "rt_days", "rt_merged"])
        assert Cache.get_instance().get("rt_hours/2026-03-01T08") == [8]
        assert Cache.get_instance().get("rt_merged/2026-03-01") == list(range(10))
        assert Frame.objects.filter(end_at__lte=T + 23 * HOUR, state="skipped").count() == 0


@committed
@pytest.mark.usefixtures("readings")
def test_149_a_parked_frame_protects_its_data_until_it_is_skipped(clock: Any) -> None:
    clock.set(T + 10 * HOUR)
    with registered(RtHours, RtBreaking):
        run_worker(["rt_hours", "rt_breaking"])
        assert kck("prune", "--source", "meters.reading")[0] == 0
        assert (left(), gone()) == ([5, 6, 7, 8, 9], T + 5 * HOUR)
        assert retention.prune_source("meters.reading").verdict.why == "from then on 'rt_breaking' needs it"
        frames.skip("rt_breaking/2026-03-01T05", "never mind")
        assert retention.prune_source("meters.reading").deleted == 4
        assert left() == [9]


@committed
def test_152_before_anything_has_come_what_is_needed_is_unknown(clock: Any) -> None:
    with registered(RtHours):
        code, said = kck("prune", "--source", "meters.reading")
        assert code == 1
        assert "what 'rt_hours' needs is unknown" in said


@committed
@pytest.mark.usefixtures("readings")
def test_a_frame_of_a_parameter_reads_the_column_that_it_names(clock: Any) -> None:
    north, south = (Meter.objects.create(name=name) for name in ("north", "south"))
    Reading.objects.filter(value__lt=4).update(meter=north)
    Reading.objects.filter(value__gte=4).update(meter=south)
    clock.set(T + 10 * HOUR)
    with registered(RtOfMeter):
        run_worker(["rt_of_meter"])
        assert Cache.get_instance().get(f"rt_of_meter/{north.pk}/2026-03-01T02") == [2]
        assert Cache.get_instance().get(f"rt_of_meter/{south.pk}/2026-03-01T07") == [7]
        # The meter that says nothing any more has not left its last window: it holds the others back.
        assert retention.prune_source("by-meter").verdict.cutoff == T + 3 * HOUR
