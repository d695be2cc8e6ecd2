"""Where stocks, flows, processes, trackers, events and records meet: what one of them leaves, the others know of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from kck_flow import Cache, Facet, Flow, IntegerParameter, ModelTracker, On, Primer, Process, Stock, every
from kck_flow.cache import counted as reading
from kck_flow.changes import telling, triggers
from kck_flow.store import levels
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account, Kettle
from tests.accounts.primers import Converting, Paying, SigningUp, Trial
from tests.counting.conftest import at_rest, equal, fold, primed, sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _captured_again() -> Iterator[None]:
    yield
    reading.forget()
    triggers.install("default")


def fold_and_work() -> None:
    session = caller("default")
    for generation, key_base in levels.foldable(session):
        telling.fold(session, generation, key_base, 1000)
    run_worker()


# -- what is read, and by way of what


class Trialling(Process):
    key_base = "trialling"
    stocks, flows = [Trial, Paying], [SigningUp, Converting]


class OfProcess(Primer):
    key_base = "of_a_process"

    def compute(self, key: Any) -> Any:
        return Cache.get_instance().get("trialling")["stocks"]["trial"]["count"]


class OfSeries(Primer):
    key_base = "of_a_series"

    def compute(self, key: Any) -> Any:
        now = datetime.now(UTC)
        hours = Cache.get_instance().series("signing_up", now - timedelta(days=1), now + timedelta(hours=1))
        return sum(point.value or 0 for point in hours)


class OfStock(Primer):
    key_base = "of_a_stock"

    def compute(self, key: Any) -> Any:
        return Cache.get_instance().get("trial")["value"]


def test_what_is_derived_from_a_process_or_a_series_is_told_as_what_is_from_their_parts(cache: Cache) -> None:
    with registered(Trialling, OfProcess, OfSeries):
        triggers.install("default")
        primed("trial", "paying")
        at_rest()
        run_worker()
        keys = ["of_a_process", "of_a_series"]
        before = [cache.get(key) for key in keys]
        at_rest()
        assert [cache.explain(key)["state"] for key in keys] == ["fresh", "fresh"]
        Account.objects.create(state="trial")
        fold_and_work()
        assert [cache.get(key) for key in keys] == [value + 1 for value in before]


def test_a_process_tells_of_no_change_of_its_own_and_keeps_no_records(db: None) -> None:
    class Waiting(Primer):
        key_base, depends_on = "waiting_for_a_process", [On("trialling")]

        def compute(self, key: Any) -> int:
            return 1

    class Timed(Process):
        key_base, schedule = "timed_process", every(hours=1)
        stocks, flows = [Trial, Paying], [SigningUp, Converting]

    with registered(Trialling, Waiting, Timed):
        said = "\n".join(f"{one.id} {one.msg}" for one in run_checks(tags=["kck"]))
    assert "kck_flow.E005" in said
    assert "waits for the process 'trialling', which is read from its stocks and flows" in said
    assert "kck_flow.E011" in said
    assert "it has a schedule" in said


@pytest.mark.parametrize("by", ["fold", "recount"])
def test_the_first_that_depends_on_a_family_is_told_though_it_came_in_the_midst(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    with registered(OfStock):
        primed("trial")
        Account.objects.create(state="trial")
        if by == "recount":  # which finds what no trigger told
            fold()
            sql("UPDATE kck_level SET n = n + 5 WHERE facet = 0 AND n > 0")

        def meanwhile() -> None:
            cache.get("of_a_stock")
            if by == "fold":
                Account.objects.create(state="trial")
            connection.close()

        real = telling.is_wanted if by == "fold" else levels.summary

        def computed_meanwhile(*arguments: Any) -> Any:
            monkeypatch.undo()
            found = real(*arguments)
            other = Thread(target=meanwhile)
            other.start()
            other.join(20.0)
            return found

        if by == "fold":
            monkeypatch.setattr(telling, "is_wanted", computed_meanwhile)
            fold_and_work()
        else:
            monkeypatch.setattr(levels, "summary", computed_meanwhile)
            cache.refresh("trial")
            run_worker()
        assert cache.get("of_a_stock") == cache.get("trial")["value"] == (2 if by == "fold" else 1)


# -- what is left over


class Hot(Stock):
    key_base, capture, model = "hot_kettles", "signals", Kettle
    facets = [Facet("colour")]


def hot(before: Any, after: Any) -> Any:
    return tuple(
        ("hot_kettles" if row is not None and row.degrees > 90 else None,) for row in (before, after)
    )


@pytest.fixture
def tracked() -> Iterator[None]:
    ModelTracker(Kettle, ["degrees"], hot, flows=[], stocks=[Hot])
    yield
    Hot.tracker = None


def test_deltas_of_a_definition_that_no_database_knows_hold_nobody_up(tracked: None, cache: Cache) -> None:
    primed("trial")
    with registered(Hot):  # the release is there, and nobody has migrated
        Kettle.objects.create(degrees=95)
    Account.objects.create(state="trial")
    orphans = "SELECT count(*) FROM kck_delta d LEFT JOIN kck_generation g USING (generation) WHERE g IS NULL"
    assert sql(orphans)[0][0] > 0
    assert {base for _, base in levels.foldable(caller("default"))} >= {"trial"}
    run_worker()
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    equal("trial")
    with registered(Hot):  # and then somebody has
        triggers.install("default")
        assert cache.get("hot_kettles")["value"] == 1


def test_a_flow_of_triggers_cannot_end_in_a_stock_that_only_python_can_tell(tracked: None) -> None:
    class GettingHot(Flow):
        key_base, sources, sinks = "getting_hot", [None], [Hot]

    with registered(Hot, GettingHot):
        said = [one.msg for one in run_checks(tags=["kck"]) if one.id == "kck_flow.E010"]
    assert len(said) == 1
    assert "only Python can tell the members of 'hot_kettles'" in said[0]


def test_what_has_come_about_and_holds_nothing_leaves_no_rows(cache: Cache) -> None:
    class Young(Stock):
        key_base = "young_by_points"
        parameters = [IntegerParameter("points")]
        model, members = Account, Q(joined_at__gt=Now() - timedelta(days=30))
        facets = [Facet("plan")]

    with registered(Young):
        triggers.install("default")
        primed("young_by_points/0")
        born = datetime.now(UTC) - timedelta(days=29)
        Account.objects.bulk_create([Account(plan="pro", points=n, joined_at=born) for n in range(20)])
        fold()
        rows = (
            "SELECT count(*) FROM kck_level JOIN kck_generation USING (generation) WHERE key_base ~ '^young'"
        )
        assert sql(rows)[0][0] >= 80
        with freeze_time() as clock:
            clock.move(days=3)
            run_worker()
            assert cache.get("young_by_points/7")["value"] == 0
        assert sql(rows) == [(0,)]


def test_events_of_a_flow_that_was_taken_out_are_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    class Arriving(Flow):
        key_base, sources, sinks, record_events = "arriving_once", [None], [Trial], True

    with registered(Arriving):
        triggers.install("default")
        Account.objects.create(state="trial")
    sql("UPDATE kck_event SET at = at - interval '10 years'")
    assert sql("SELECT count(*) FROM kck_event WHERE key_base = 'arriving_once'") == [(1,)]
    call_command("kck", "prune", "--events", "1d")
    assert "arriving_once" in capsys.readouterr().out
    assert sql("SELECT count(*) FROM kck_event") == [(0,)]


def test_the_last_record_of_a_key_that_went_is_not_kept_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    class Kept(Stock):
        key_base, schedule, retention = "kept_by_points", every(days=1), timedelta(days=1)
        parameters = [IntegerParameter("points")]
        model = Account

    with registered(Kept):
        triggers.install("default")
        primed("kept_by_points/0")
        with freeze_time() as clock:
            run_worker()
            for day in range(3):
                Account.objects.all().delete()
                Account.objects.create(points=day)
                clock.move(days=1)
                run_worker()
            assert sql("SELECT count(DISTINCT key) FROM kck_record WHERE key LIKE 'kept%%'") == [(3,)]
            clock.move(days=30)
            call_command("kck", "prune", "--product", "kept_by_points")
            assert sql("SELECT count(*) FROM kck_record WHERE key LIKE 'kept%%'") == [(0,)]
