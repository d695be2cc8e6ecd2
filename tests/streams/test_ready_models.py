"""Tables as streams. Rows 137, 138, 159."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, models, transaction
from django.db.models import ProtectedError, Q
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext

from kck_flow import ModelStream, Row, model_stream
from kck_flow.errors import DeclarationError
from kck_flow.testing import freeze_time
from kck_flow.testing.streams import StreamConformance
from tests.harness.wait import until
from tests.streams.meters.models import Complaint, Day, Meter, Photo, Reading, Remark, Sample

committed = pytest.mark.django_db(transaction=True)
T = datetime(2026, 3, 1, tzinfo=UTC)
ALL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(params=[3, 2000], ids=["pages of 3", "pages of 2000"])
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", request.param)


# -- the laws of all streams ---------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.usefixtures("page")
class TestInstances(StreamConformance):
    def empty(self) -> ModelStream:
        return ModelStream(Reading, "taken_at")

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Reading.objects.create(taken_at=at, note=mark)

    def mark_of(self, item: Any) -> str:
        return item.note

    def remove(self, stream: Any, mark: str) -> None:
        Reading.objects.filter(note=mark).delete()


class TestRows(TestInstances):
    """Light ones, some of the table, in an order of their own."""

    def empty(self) -> ModelStream:
        return ModelStream(
            "meters.Reading",
            "taken_at",
            filter=Q(value__gte=0),
            fields=["note", "meter__name"],
            order=["at", "value", "pk"],
            watermark="latest",
        )

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Reading.objects.create(taken_at=at, note=mark, value=int(mark[-1]) if mark[-1].isdigit() else 0)
        Reading.objects.create(taken_at=at, note="another", value=-1)
        Reading.objects.create(taken_at=None, note="never")


class TestOneMeter(TestInstances):
    def empty(self) -> ModelStream:
        self.meter = Meter.objects.create(name="ours")
        return ModelStream(Reading, "taken_at").narrowed({"meter": self.meter.pk})

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Reading.objects.create(taken_at=at, note=mark, meter=self.meter)
        Reading.objects.create(taken_at=at, note="of none")


class TestSeveralTables(TestInstances):
    """The column is the parent's."""

    def empty(self) -> ModelStream:
        return ModelStream(Photo, "taken_at")

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Photo.objects.create(taken_at=at, note=mark, place="cellar")


class TestSeveralColumns(TestInstances):
    """Whose key is made of two."""

    def empty(self) -> ModelStream:
        return ModelStream(Sample, "taken_at")

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        number = Sample.objects.count()
        Sample.objects.create(site=f"s{number % 3}", number=number, taken_at=at, note=mark)

    def remove(self, stream: Any, mark: str) -> None:
        Sample.objects.filter(note=mark).delete()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Beirut"])
class TestDays(TestInstances):
    """A row of a day is an item at its first instant; in Beirut, a day of spring begins at one o'clock."""

    resolution = timedelta(days=1)

    @pytest.fixture(autouse=True)
    def _in(self, zone: str) -> None:
        self.zone = zone
        self.begun = date(2026, 2, 20)

    def at(self, number: int) -> datetime:
        day = self.begun + timedelta(days=number)
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(self.zone))
        return self._first(noon)

    @staticmethod
    def _first(noon: datetime) -> datetime:
        """The first instant of a day, found by looking at each quarter of an hour before its noon."""
        at = noon.astimezone(UTC)
        while (at - timedelta(minutes=15)).astimezone(noon.tzinfo).date() == noon.date():
            at -= timedelta(minutes=15)
        return at

    def empty(self) -> ModelStream:
        return ModelStream(Day, "on", tz=self.zone)

    def put(self, stream: Any, at: datetime, mark: str) -> None:
        Day.objects.create(on=(at + timedelta(hours=3)).astimezone(ZoneInfo(self.zone)).date(), note=mark)

    def remove(self, stream: Any, mark: str) -> None:
        Day.objects.filter(note=mark).delete()


# -- stories -------------------------------------------------------------------------------------------------


def taken(*offsets: float, **columns: Any) -> list[Reading]:
    return Reading.objects.bulk_create(
        [Reading(taken_at=T + timedelta(seconds=offset), value=number, **columns)
         for number, offset in enumerate(offsets)]
    )  # fmt: skip


def values(stream: ModelStream, **options: Any) -> list[int]:
    return [item.value for _, item in stream.read(*ALL, **options)]


@pytest.mark.django_db
def test_an_item_is_an_instance_or_a_light_row() -> None:
    meter = Meter.objects.create(name="north")
    [reading] = taken(0, meter=meter)
    [(place, item)] = ModelStream(Reading, "taken_at").read(*ALL)
    assert item == reading
    assert place == (T, reading.pk)
    assert not [name for name in vars(item) if name.startswith("_kck")]
    item.save()  # an instance like any other
    [(_, row)] = ModelStream(Reading, "taken_at", fields=["value", "meter__name"]).read(*ALL)
    assert isinstance(row, Row)
    assert dict(row) == {"value": 0, "meter__name": "north"}
    with pytest.raises(AttributeError, match="fields"):
        row.note  # noqa: B018


@pytest.mark.django_db
def test_what_managers_leave_out_is_in_the_stream_and_rows_without_an_instant_are_not() -> None:
    taken(0, note="hidden")
    Reading.objects.create(taken_at=None)
    stream = ModelStream(Reading, "taken_at")
    assert Reading.objects.count() == 1
    assert values(stream) == [0]
    assert stream.delete_before(ALL[1]) == 1
    assert Reading.everything.get().taken_at is None
    assert stream.is_empty()


@pytest.mark.django_db
def test_each_page_is_read_by_what_is_behind_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 10)
    taken(*[0] * 15, *range(1, 16))
    with CaptureQueriesContext(connection) as said:
        assert values(ModelStream(Reading, "taken_at")) == list(range(30))
    assert len(said) == 4
    assert all("OFFSET" not in query["sql"] and "LIMIT 10" in query["sql"] for query in said)


@pytest.mark.django_db
def test_a_page_in_the_middle_is_found_by_the_index() -> None:
    Reading.objects.bulk_create(
        [Reading(taken_at=T + timedelta(seconds=number // 1000), value=number) for number in range(20_000)]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE meters_reading")
    stream = ModelStream(Reading, "taken_at", fields=["value"])
    middle = Reading.objects.get(value=9_500)
    instant = T + timedelta(seconds=9)
    with CaptureQueriesContext(connection) as said:
        [(_, row)] = stream.read(*ALL, after=(instant, middle.pk), limit=1)
    assert row.value == 9_501
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) {said[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Cond" in plan, plan
    assert "reading_by_time" in plan, plan
    assert "Rows Removed" not in plan, plan  # not even those of the same instant


@pytest.mark.once("oldest")
@pytest.mark.django_db
@pytest.mark.slow
def test_much_is_read_in_little_memory() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO meters_reading (taken_at, value, note) "
            "SELECT %s + n * interval '1 millisecond', n, repeat('x', 200) FROM generate_series(1, 100000) n",
            [T],
        )
    stream = ModelStream(Reading, "taken_at")
    tracemalloc.start()
    try:
        number = total = 0
        for _, item in stream.read(*ALL):
            number, total = number + 1, total + item.value
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (number, total) == (100_000, 5_000_050_000)
    assert peak < 20_000_000, peak


@pytest.mark.django_db
def test_a_stream_is_split_by_columns() -> None:
    north, south = (Meter.objects.create(name=name) for name in ("north", "south"))
    taken(0, 1, meter=north)
    taken(5, meter=south)
    stream = ModelStream(Reading, "taken_at")
    for params in ({"meter": north.pk}, {"meter_id": north.pk}, {"meter": north}, {"meter__name": "north"}):
        narrowed = stream.narrowed(params)
        assert (narrowed.count(*ALL), narrowed.latest()) == (2, T + timedelta(seconds=1))
        assert narrowed.name == stream.name
    assert stream.narrowed({"meter": None}).is_empty()
    assert stream.narrowed({"meter": south.pk, "value": 0}).count(*ALL) == 1
    assert stream.count(*ALL) == 3
    with pytest.raises(DeclarationError, match=r"meters\.reading.*'shop'.*meter"):
        stream.narrowed({"shop": 7})


# -- deleting ------------------------------------------------------------------------------------------------


@pytest.fixture
def deleted() -> Iterator[list[str]]:
    found: list[str] = []

    def note(sender: Any, instance: Any, **_: Any) -> None:
        found.append(sender.__name__)

    post_delete.connect(note, sender=Remark)
    yield found
    post_delete.disconnect(note, sender=Remark)


@committed
@pytest.mark.usefixtures("page")
def test_what_hangs_on_a_row_goes_with_it(deleted: list[str]) -> None:
    for reading in taken(*range(7)):
        Remark.objects.bulk_create([Remark(reading=reading), Remark(reading=reading)])
    assert ModelStream(Reading, "taken_at").delete_before(T + timedelta(seconds=5)) == 5
    assert sorted(Remark.objects.values_list("reading__value", flat=True)) == [5, 5, 6, 6]
    assert deleted == ["Remark"] * 10


@committed
def test_a_row_that_another_holds_on_to_stays_and_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 2)
    readings = taken(*range(5))
    Complaint.objects.create(reading=readings[3])
    with pytest.raises(ProtectedError):
        ModelStream(Reading, "taken_at").delete_before(ALL[1])
    assert sorted(Reading.objects.values_list("value", flat=True)) == [2, 3, 4]  # what was deleted before is


@committed
def test_a_table_that_nothing_hangs_on_is_deleted_from_in_one_statement_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 4)
    Sample.objects.bulk_create(
        [Sample(site="a", number=number, taken_at=T + timedelta(seconds=number)) for number in range(10)]
    )
    with CaptureQueriesContext(connection) as said:
        assert ModelStream(Sample, "taken_at").delete_before(T + timedelta(seconds=9)) == 9
    verbs = [query["sql"].split()[0] for query in said if query["sql"].split()[0] in ("SELECT", "DELETE")]
    assert verbs == ["SELECT", "DELETE"] * 3 + ["SELECT"]
    assert Sample.objects.get().number == 9


@committed
def test_a_row_that_moves_ahead_while_it_is_to_be_deleted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    taken(*range(3))
    moved = threading.Event()

    def move() -> None:
        try:
            Reading.objects.filter(value=1).update(taken_at=ALL[1] - timedelta(days=1))
        finally:
            connection.close()
            moved.set()

    real = models.QuerySet.delete

    def delete(query: Any) -> Any:
        if query.model is Reading and not moved.is_set():
            threading.Thread(target=move).start()
            assert moved.wait(10)
        return real(query)

    monkeypatch.setattr(models.QuerySet, "delete", delete)
    assert ModelStream(Reading, "taken_at").delete_before(T + timedelta(hours=1)) == 2
    assert Reading.objects.get().value == 1


@pytest.mark.django_db
def test_the_steps_in_which_it_is_deleted_are_a_page_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_stream, "PAGE", 3)
    taken(0, 1, 1, 1, 1, 2, 3, 4, 9)
    stream = ModelStream(Reading, "taken_at")
    cutoff = T + timedelta(seconds=5)
    gone = [(cut, stream.delete_before(cut)) for cut in stream.cuts_before(cutoff)]
    behind = timedelta(microseconds=1)
    assert gone == [
        (T + timedelta(seconds=1) + behind, 5),
        (T + timedelta(seconds=4) + behind, 3),
        (cutoff, 0),
    ]
    assert list(stream.cuts_before(cutoff)) == [cutoff]


# -- up to when it is complete -------------------------------------------------------------------------------


@committed
def test_what_a_running_transaction_may_still_write_is_not_complete() -> None:
    stream = ModelStream(Reading, "taken_at")
    before = stream.watermark()
    begun, write, wrote = threading.Event(), threading.Event(), threading.Event()
    at: list[datetime] = []

    def writer() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT (extract(epoch FROM now()) * 1000000)::bigint")
                    at.append(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=cursor.fetchone()[0]))
                begun.set()
                assert write.wait(10)
                with connection.cursor() as cursor:  # Django's Now() is that of the statement
                    cursor.execute("INSERT INTO meters_reading (taken_at, value, note) VALUES (now(), 1, '')")
        finally:
            connection.close()
            wrote.set()

    thread = threading.Thread(target=writer)
    thread.start()
    assert begun.wait(10)
    held = stream.watermark()
    assert before is not None
    assert held is not None
    assert before < held == at[0]
    assert stream.watermark() == held  # it stands still
    write.set()
    assert wrote.wait(10)
    thread.join()
    after = until(lambda: (now := stream.watermark()) and now > at[0] and now, "it to go on")
    assert stream.latest() == at[0]  # complete, and it is there
    assert stream.count(held, after) == 1


@pytest.mark.django_db
def test_a_test_that_stops_the_clock_has_its_instant() -> None:
    with freeze_time("2031-05-05T10:30:00+00:00") as clock:
        assert ModelStream(Reading, "taken_at").watermark() == clock()
        # The rows of a day may come until it is over.
        days = ModelStream(Day, "on", tz="Asia/Tokyo")
        assert days.watermark() == datetime(2031, 5, 4, 15, tzinfo=UTC)


@pytest.mark.django_db
def test_other_watermarks() -> None:
    taken(0, 7)
    assert ModelStream(Reading, "taken_at", watermark="latest").watermark() == T + timedelta(seconds=7)
    assert ModelStream(Reading, "taken_at", watermark=lambda: T).watermark() == T
    assert ModelStream(Reading, "taken_at", watermark=lambda: None).watermark() is None


# -- days ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_day_is_an_item_of_the_window_that_has_its_first_instant() -> None:
    Day.objects.create(id=UUID(int=1), on=date(2026, 3, 29))
    paris = ZoneInfo("Europe/Paris")
    stream = ModelStream(Day, "on", tz="Europe/Paris")
    start, end = datetime(2026, 3, 29, tzinfo=paris), datetime(2026, 3, 30, tzinfo=paris)
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=23)
    [(place, _)] = stream.read(start, end)
    assert place == (start, UUID(int=1))
    later = start + timedelta(microseconds=1)
    assert stream.count(start, later) == 1
    assert stream.count(later, end) == 0
    assert stream.count(end, end + timedelta(days=3)) == 0
    assert stream.earliest() == start


# -- what is declared wrongly --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        (Reading, {"at": "note"}, "'note' is a TextField, which says no instant"),
        (Reading, {"at": "when"}, "meters.Reading has no column 'when'"),
        (Reading, {"at": "taken_at", "tz": "UTC"}, "leave out tz"),
        (Day, {"at": "on"}, "say in which zone they begin"),
        (Day, {"at": "on", "tz": "Mars/Base"}, "Mars/Base"),
        ("meters.Nothing", {}, "there is no model 'meters.Nothing'"),
        ("reading", {}, "a class or 'app_label.ModelName', not 'reading'"),
        (int, {}, "not <class 'int'>"),
        (Reading, {"at": "taken_at", "fields": "note"}, "fields is a list of names, not 'note'"),
        (Reading, {"at": "taken_at", "fields": ["nothing"]}, "Cannot resolve keyword 'nothing'"),
        (Reading, {"at": "taken_at", "filter": Q(nothing=1)}, "Cannot resolve keyword 'nothing'"),
        (Reading, {"at": "taken_at", "filter": {"value": 1}}, "filter is a Q"),
        (Reading, {"at": "taken_at", "watermark": "later"}, "watermark is 'now', 'latest' or a function"),
        (Reading, {"at": "taken_at", "order": ["pk"]}, "order begins with 'at' and ends with 'pk'"),
        (Reading, {"at": "taken_at", "order": ["at", "meter", "pk"]}, "'meter', which may be NULL"),
        (Reading, {"at": "taken_at", "order": ["at", "odd", "pk"]}, "no column 'odd' to order by"),
    ],
)  # fmt: skip
def test_what_is_declared_wrongly_is_told(given: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=r"\A(A ModelStream|The stream)") as raised:
        ModelStream(given, **options)
    assert told in str(raised.value)


@pytest.mark.django_db
def test_naive_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"aware instants, and 2026-03-01 00:00:00 is naive"):
        list(ModelStream(Reading, "taken_at").read(datetime(2026, 3, 1), ALL[1]))  # noqa: DTZ001
