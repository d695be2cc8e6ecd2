"""Metrics are collected within somebody's transaction, of whichever isolation: what is stored is stored with it, what
fails ends neither it nor the others, and a number that somebody else has stored meanwhile is told, not lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction

from kck_flow import Cache, Metric, clock
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, reset
from tests.counting.conftest import Session

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 3, 10, 15, 30, tzinfo=UTC)
DAY = timedelta(days=1)


class Told(Metric):
    """Numbers of days."""

    key_base, tz = "iso_told", "UTC"

    def compute(self, key: Any, span: Any) -> int:
        return int(span.start.day)


class Broken(Metric):
    """Asks for what is not there."""

    key_base, tz = "iso_broken", "UTC"

    def compute(self, key: Any, span: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM iso_nowhere")
        return 1


class Also(Told):
    """The same, after the broken one."""

    key_base = "iso_also"


NAMES = ("iso_told", "iso_broken", "iso_also")


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    reset()
    with ExitStack() as stack:
        stack.enter_context(registered(Told, Broken, Also))
        stack.enter_context(freeze_time(NOW))
        yield
    reset()


@contextmanager
def within(isolation: str) -> Iterator[None]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            cursor.execute("SELECT 1 FROM kck_record LIMIT 1")  # its snapshot is taken
        yield


def kept(name: str) -> list[tuple[int, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(day FROM start_at)::int, value FROM kck_record WHERE key = %s ORDER BY start_at, revision",
            [name],
        )
        return [
            (day, json.loads(value) if isinstance(value, str) else value) for day, value in cursor.fetchall()
        ]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_command_within_a_transaction_collects_what_it_can(isolation: str) -> None:
    with within(isolation):
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "collect", *NAMES, "--format", "json", stdout=out, stderr=StringIO())
        assert ended.value.code == 1
        told = {row["metric"]: row["outcome"] for row in json.loads(out.getvalue())}
        assert told == {"iso_told": "collected", "iso_broken": "failed", "iso_also": "collected"}
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # it is not aborted
    for name in ("iso_told", "iso_also"):
        assert Cache.get_instance().get(name) == 10
        assert (10, 10) in kept(name)


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_number_that_another_has_stored_meanwhile_keeps_no_other_from_being_collected(
    isolation: str,
) -> None:
    metric: Any = registry.primer("iso_told")
    key = metric.build_key()
    list(collecting.collect(["iso_told"]))
    other = Session()
    try:
        with within(isolation):
            before = clock.now() - DAY * 3

            def fill() -> Any:
                return collecting.fill(key, metric, before, clock.now())

            assert other.do(fill).filled == 2
            filled = fill()  # of RR: what the other has committed is not seen, and cannot be stored again
            assert filled.filled + filled.failed in (0, filled.missing)
            assert next(collecting.collect(["iso_also"])).outcome == "collected"
    finally:
        other.close()
    assert [day for day, _ in kept("iso_told")] == [8, 9, 10]
    assert Cache.get_instance().get("iso_also") == 10


def test_where_repeatable_read_is_the_default_two_collect_at_once() -> None:
    """Outside of a transaction each statement is one; what another took meanwhile is looked at again."""
    connection.close()
    options = connections.databases["default"].setdefault("OPTIONS", {})
    before = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {
        **options,
        "options": "-c default_transaction_isolation=repeatable\\ read",
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("repeatable read",)
        told = {one.key: one.outcome for one in collecting.collect(NAMES)}
        assert told == {"iso_told": "collected", "iso_broken": "failed", "iso_also": "collected"}
        assert (10, 10) in kept("iso_told")
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = before
