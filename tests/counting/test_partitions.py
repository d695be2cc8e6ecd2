"""Partitions that come and go while they are written to: case 13, hole 5."""

from __future__ import annotations

import pytest
from django.db.models import F

from kck_flow import Cache
from kck_flow.cache import counted as reading
from kck_flow.changes import triggers
from tests.counting.conftest import at_rest, equal, fold, primed, sql
from tests.counting.test_more import TABLE, Reading, partitioned

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["partitioned"]
KEYS = ("readings/1", "readings/11")


def as_a_second_later() -> None:
    at_rest()
    reading._captured.clear()


def test_13_what_is_written_to_a_detached_partition_is_none_of_the_stocks(
    partitioned: None, cache: Cache
) -> None:
    Reading.objects.bulk_create([Reading(place=11), Reading(place=1)])
    sql(f"ALTER TABLE {TABLE} DETACH PARTITION far")
    for _ in range(2):
        as_a_second_later()
        equal(*KEYS)
        sql("INSERT INTO far (id, place) SELECT 1000 + count(*), 11 FROM far")
        as_a_second_later()
        equal(*KEYS)
        fold()
    triggers.install("default")  # which takes its triggers from it
    as_a_second_later()
    equal(*KEYS)
    primed(*KEYS)
    sql("INSERT INTO far (id, place) SELECT 1000 + count(*), 11 FROM far")
    Reading.objects.create(place=1)
    equal(*KEYS)
    assert sql("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'far'::regclass AND tgname LIKE 'kck%%'") == [
        (0,)
    ]
    sql(f"ALTER TABLE {TABLE} ATTACH PARTITION far FOR VALUES FROM (10) TO (20)")
    as_a_second_later()
    equal(*KEYS)
    triggers.install("default")
    primed(*KEYS)
    Reading.objects.filter(place=11).update(place=F("place") - 10)
    equal(*KEYS)
    assert cache.get("readings/1")["value"] == 6


def test_a_partition_that_is_new_is_counted_and_captured_once_it_is_migrated(
    partitioned: None, cache: Cache
) -> None:
    primed(*KEYS)
    sql(f"CREATE TABLE further PARTITION OF {TABLE} FOR VALUES FROM (20) TO (30)")
    try:
        sql("INSERT INTO further (id, place) SELECT 2000 + count(*), 21 FROM further")
        Reading.objects.create(place=22)
        as_a_second_later()
        equal(*KEYS, "readings/21", "readings/22")
        assert "not captured in this database, or not whole" in cache.explain("readings/21")["cause"]
        triggers.install("default")
        primed(*KEYS)
        sql("INSERT INTO further (id, place) SELECT 2000 + count(*), 21 FROM further")
        equal(*KEYS, "readings/21", "readings/22")
        assert cache.get("readings/21")["value"] == 2
    finally:
        sql("DROP TABLE further")
