"""What a trigger tells of a row is what Python would have read, column by column."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.postgres.fields import ArrayField, DateRangeField, IntegerRangeField
from django.db import connection, models
from django.db.models import F

from kck_flow import Cache, IntegerParameter, On, Primer
from kck_flow.changes import rows
from kck_flow.models import Pending
from kck_flow.store.session import caller
from kck_flow.testing import registered, run_worker
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)
cache = Cache.get_instance()


class Piece(models.Model):
    """A row of columns of many kinds; its table is made in the test."""

    owner = models.IntegerField(default=1)
    author = models.ForeignKey(Author, models.DO_NOTHING, null=True, db_constraint=False, related_name="+")
    flag = models.BooleanField(null=True)
    text = models.TextField(null=True)
    price = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    double = models.GeneratedField(
        expression=F("price") + F("price"),
        output_field=models.DecimalField(max_digits=12, decimal_places=3),
        db_persist=True,
    )
    ratio = models.FloatField(null=True)
    code = models.UUIDField(null=True)
    day = models.DateField(null=True)
    hour = models.TimeField(null=True)
    at = models.DateTimeField(null=True)
    took = models.DurationField(null=True)
    raw = models.BinaryField(null=True)
    place = models.GenericIPAddressField(null=True)
    more = models.JSONField(null=True)
    tags = ArrayField(models.TextField(), null=True)
    days = ArrayField(models.DateField(), null=True)
    prices = ArrayField(models.DecimalField(max_digits=5, decimal_places=2), null=True)
    numbers = IntegerRangeField(null=True)
    season = DateRangeField(null=True)

    class Meta:
        app_label, managed, db_table = "shop", False, "kck_test_piece"


class Whole(Primer):
    """The last row of one owner, as its changes tell it."""

    key_base = "values_whole"
    parameters = [IntegerParameter("owner")]
    depends_on = [On(Piece, key="owner", then="augment")]
    seen: list[Any] = []

    def compute(self, key: Any) -> Any:
        return 0

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        self.seen.extend(change.new for change in changes)
        return value + len(changes)


@pytest.fixture
def pieces(transactional_db: None) -> Iterator[None]:
    with connection.schema_editor() as editor:
        editor.create_model(Piece)
    try:
        with registered(Whole):
            rows.install("default")
            yield
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Piece)
        rows.install("default")


FULL = {
    "author_id": 7,
    "flag": False,
    "text": 'a "b"\n%',
    "price": Decimal("12.340"),
    "ratio": 0.1,
    "code": UUID(int=5),
    "day": date(2024, 2, 29),
    "hour": time(1, 2, 3, 4),
    "at": datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC),
    "took": timedelta(days=400, microseconds=7),
    "raw": b"\x00\xff",
    "place": "::1",
    "more": {"a": [1, None, "x"]},
    "tags": ["a", None],
    "days": [date(2024, 2, 29)],
    "prices": [Decimal("1.50")],
    "numbers": (1, 5),
    "season": (date(2024, 2, 29), None),
}


def plainly(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.mark.parametrize("writer", ["triggers", "signals"])
@pytest.mark.parametrize("full", [True, False])
def test_a_change_has_the_values_of_the_row(
    pieces: None, full: bool, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Whole, "seen", [])
    if writer == "signals":
        rows._drop(caller("default"), "kck_test_piece")
        rows.forget()
    assert cache.get("values_whole/1") == 0
    piece = Piece(**(FULL if full else {}))
    if writer == "signals":
        piece.save()
    else:
        Piece.objects.bulk_create([piece])
    assert Pending.objects.filter(kind="change").count() == 1
    assert cache.get("values_whole/1") == 1
    run_worker()
    assert not Pending.objects.filter(kind="change").exists()
    assert cache.get("values_whole/1") == 1
    names = [field.attname for field in Piece._meta.concrete_fields]
    read = dict(zip(names, Piece.objects.values_list(*names).get(), strict=True))
    assert Whole.seen
    for told in Whole.seen:
        assert {key: plainly(value) for key, value in told.items()} == {
            key: plainly(value) for key, value in read.items()
        }
        for key, value in told.items():
            assert type(plainly(value)) is type(plainly(read[key])), key


def test_what_is_no_value_of_its_field_any_more_is_computed_afresh(pieces: None) -> None:
    assert cache.get("values_whole/1") == 0
    Piece.objects.bulk_create([Piece(day=date(2024, 2, 29))])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kck_pending SET change = jsonb_set(change, '{new,day}', '\"some day\"')")
    run_worker()
    assert not Pending.objects.filter(kind="change").exists()
    assert cache.get("values_whole/1") == 0
