"""Flows whose states Python computes: what this application saves, one object at a time. Rows 118, 124, 125, 131."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.signals import post_save, pre_delete, pre_save
from django.test import TestCase

from kck_flow import Cache, Facet, Flow, ModelParameter, ModelTracker, Stock
from kck_flow.changes import triggers
from kck_flow.errors import ComputeFailed, DeclarationError
from kck_flow.registry import registry
from kck_flow.testing import registered
from tests.accounts.models import Branch, Kettle, OldKettle, Probe, SmartKettle
from tests.counting.conftest import Session, counted, equal, fold, primed, rolled_back, sql
from tests.harness.locks import wait_until_queued

committed = pytest.mark.django_db(transaction=True)
COLD, WARM, HOT = 0, 1, 2


class Heat(models.TextChoices):
    COOL = "cool"
    BOILING = "boiling"


class Full(Stock):
    """Kettles that are shut; what Python calls so, no query counts."""

    key_base, capture, soft_expire = "kettles_shut", None, timedelta(hours=1)
    model, members = Kettle, Q(lid_open=False)


class Warming(Flow):
    """Kettles that get warm."""

    key_base, capture, window = "kettles_warming", "signals", "day"
    sources, sinks, facets = [COLD], [WARM, HOT], [Facet("colour")]


class Heating(Flow):
    """Kettles that get hot, however."""

    key_base, capture = "kettles_heating", "signals"
    sources, sinks = [COLD, WARM, None], [HOT]


class Leaving(Flow):
    """Kettles that go."""

    key_base, capture, at = "kettles_leaving", "signals", "heated_at"
    sources, sinks, facets = [COLD, WARM, HOT], [None], [Facet("colour")]


class Opening(Flow):
    """Kettles whose lid is lifted."""

    key_base, capture = "kettles_opening", "signals"
    sources, sinks = [Full], ["ajar"]


class BranchHeating(Flow):
    """Kettles that get hot in a branch, or come to it hot."""

    key_base, capture = "branch_heating", "signals"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    sources, sinks = [COLD, WARM, None], [HOT]


class Cooling(Flow):
    """Probes that cool down."""

    key_base, capture = "probes_cooling", "signals"
    sources, sinks = [Heat.BOILING, None], [Heat.COOL]


class Boiling(Stock):
    """Kettles that are hot, says Python."""

    key_base, capture, model = "kettles_boiling", "signals", Kettle
    facets = [Facet("colour"), Facet("colour") * Facet("branch"), Facet("heated", "heated_at__year")]


class BranchBoiling(Stock):
    """Hot kettles of one branch."""

    key_base, capture, model = "branch_boiling", "signals", Kettle
    parameters = [ModelParameter("branch", Branch, field="branch_id")]


ALL = (Warming, Heating, Leaving, Opening, BranchHeating, Cooling, Boiling, BranchBoiling)
asked: list[tuple[Any, Any]] = []


def _states(row: Any) -> tuple[Any, ...]:
    if row is None:
        return None, None, None, None
    if row.degrees == 451:
        raise ZeroDivisionError("paper burns")
    # The lid is no boiling kettle's affair: one state of two columns.
    heat = HOT if row.degrees >= 100 and not row.lid_open else WARM if row.degrees >= 40 else COLD
    stocks = (Boiling, BranchBoiling) if heat == HOT else (None, None)
    return heat, "ajar" if row.lid_open else Full, *stocks


def kettle_states(previous: Any, current: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    asked.append((previous, current))
    return _states(previous), _states(current)


def probe_states(previous: Any, current: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    def one(row: Any) -> tuple[Any, ...]:
        return (None if row is None else Heat.BOILING if row.degrees > 99 else Heat.COOL,)

    return one(previous), one(current)


ModelTracker(
    Kettle,
    ["degrees", "lid_open"],
    kettle_states,
    [Warming, Heating, Leaving, Opening, BranchHeating],
    stocks=[Boiling, BranchBoiling],
)
ModelTracker("accounts.Probe", ["degrees"], probe_states, [Cooling])


@pytest.fixture(autouse=True)
def _declared(db: None) -> Iterator[None]:
    with registered(Full, *ALL):
        triggers.install("default")
        asked.clear()
        yield
    triggers.install("default")


def value(key: str) -> int:
    found: int = Cache.get_instance().get(key)["value"]
    return found


def values(*names: str) -> list[int]:
    return [value(name) for name in names]


@committed
def test_each_save_that_moves_an_object_is_a_transition_and_the_others_are_none(cache: Cache) -> None:
    one = Kettle.objects.create(colour="red")
    for degrees in (20, 20, 50, 60, 50, 100, 120):
        one.degrees = degrees
        one.save()
    assert values("kettles_warming", "kettles_heating", "kettles_leaving") == [1, 1, 0]
    # Where nothing that is tracked has changed, the function is not asked; what is new comes from None.
    assert len(asked) == 6
    assert asked[0][0] is None
    assert (asked[0][1].degrees, asked[0][1].lid_open) == (20, False)
    one.degrees, one.colour = 0, "blue"
    one.save()
    one.degrees = 100
    one.save()
    assert cache.get("kettles_warming") == {
        "value": 2,
        "facets": {"colour": {"blue": 1, "red": 1}, "sink": {1: 1, 2: 1}},
    }
    assert cache.get("kettles_heating")["facets"]["source"] == {0: 1, 1: 1}
    one.delete()
    assert cache.get("kettles_leaving") == {"value": 1, "facets": {"colour": {"blue": 1}, "source": {2: 1}}}
    Kettle.objects.create(degrees=100)
    assert cache.get("kettles_heating")["facets"]["source"] == {0: 1, 1: 1, None: 1}
    before = cache.get_many(["kettles_warming", "kettles_heating", "kettles_leaving"])
    assert fold() > 0
    assert cache.get_many(["kettles_warming", "kettles_heating", "kettles_leaving"]) == before


@committed
def test_one_save_that_changes_two_states_is_two_transitions_rows_124_125() -> None:
    one = Kettle.objects.create()
    one.degrees, one.lid_open = 50, True
    one.save()
    assert values("kettles_warming", "kettles_opening", "kettles_heating") == [1, 1, 0]
    one.degrees = 100  # open: not hot, says the function of both columns
    one.save()
    assert values("kettles_heating") == [0]
    one.lid_open = False
    one.save()
    assert values("kettles_heating", "kettles_opening") == [1, 1]


@committed
def test_two_processes_that_loaded_one_row_save_a_chain_case_21(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    Kettle.objects.create(pk=1)
    first, second = sessions(), sessions()
    one, other = (session.do(lambda: Kettle.objects.get(pk=1)) for session in (first, second))
    one.degrees, other.degrees = 50, 100
    first.do(one.save)
    second.do(other.save)
    assert cache.get("kettles_heating")["facets"]["source"] == {1: 1}  # warm to hot, never cold to hot
    assert cache.get("kettles_warming")["facets"]["sink"] == {1: 1}


@committed
def test_a_save_that_waits_for_another_sees_what_that_left(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    Kettle.objects.create(pk=1)
    first, second = sessions(), sessions()
    one, other = (session.do(lambda: Kettle.objects.get(pk=1)) for session in (first, second))
    one.degrees, other.degrees = 50, 100
    first.do(lambda: transaction.set_autocommit(False))
    first.do(one.save)
    pid = second.sql("SELECT pg_backend_pid()")[0][0]
    second.tell(other.save)
    wait_until_queued(pids=[pid])
    assert values("kettles_warming", "kettles_heating") == [0, 0]
    first.do(transaction.commit)
    second.answer()
    first.do(lambda: transaction.set_autocommit(True))
    assert cache.get("kettles_heating")["facets"]["source"] == {1: 1}
    assert cache.get("kettles_warming")["facets"]["sink"] == {1: 1}


@committed
def test_a_save_that_waits_for_one_that_is_rolled_back_begins_where_that_began(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    Kettle.objects.create(pk=1)
    first, second = sessions(), sessions()
    one, other = (session.do(lambda: Kettle.objects.get(pk=1)) for session in (first, second))
    one.degrees, other.degrees = 50, 100
    first.do(lambda: transaction.set_autocommit(False))
    first.do(one.save)
    pid = second.sql("SELECT pg_backend_pid()")[0][0]
    second.tell(other.save)
    wait_until_queued(pids=[pid])
    first.do(transaction.rollback)
    second.answer()
    first.do(lambda: transaction.set_autocommit(True))
    assert cache.get("kettles_heating")["facets"]["source"] == {0: 1}
    assert cache.get("kettles_warming")["facets"]["sink"] == {2: 1}


@committed
def test_rows_that_nobody_has_saved_here_before_are_locked_too(sessions: Callable[[], Session]) -> None:
    """Two objects of one key that was not there: the later write finds a row that its look did not."""
    first, second = sessions(), sessions()
    first.do(lambda: transaction.set_autocommit(False))
    first.do(
        lambda: sql("INSERT INTO accounts_kettle (id, degrees, lid_open, note) VALUES (7, 50, false, '')")
    )
    pid = second.sql("SELECT pg_backend_pid()")[0][0]

    def write() -> None:
        with transaction.atomic():
            Kettle(pk=7, degrees=100).save()

    second.tell(write)
    wait_until_queued(pids=[pid])
    first.do(transaction.commit)
    first.do(lambda: transaction.set_autocommit(True))
    with pytest.raises(Exception, match="duplicate key"):
        second.answer()  # as Django says itself
    assert values("kettles_heating") == [0]
    second.do(write)
    assert Cache.get_instance().get("kettles_heating")["facets"]["source"] == {1: 1}


@committed
def test_a_row_that_appears_between_the_look_and_the_write_is_looked_at_again(
    sessions: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sessions()
    original: Any = Kettle._do_update  # type: ignore[attr-defined]
    came: list[int] = []

    def late(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not came:
            came.append(1)
            other.sql("INSERT INTO accounts_kettle (id, degrees, lid_open, note) VALUES (8, 50, false, '')")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Kettle, "_do_update", late)
    Kettle(pk=8, degrees=100).save()
    assert Kettle.objects.get(pk=8).degrees == 100
    assert Cache.get_instance().get("kettles_heating")["facets"]["source"] == {1: 1}


@committed
def test_of_savepoints_and_transactions_only_what_survives_counts_cases_2_3() -> None:
    one = Kettle.objects.create()
    one.degrees = 50
    with rolled_back():
        one.save()
        assert values("kettles_warming") == [1]
    assert values("kettles_warming") == [0]
    with transaction.atomic():
        with rolled_back():
            one.save()
        one.degrees = 100
        one.save()
        with rolled_back():
            one.delete()
            assert values("kettles_leaving") == [1]
    assert values("kettles_warming", "kettles_heating", "kettles_leaving") == [1, 1, 0]
    assert Cache.get_instance().get("kettles_heating")["facets"]["source"] == {0: 1}


@committed
def test_what_the_database_made_of_it_counts_not_what_the_instance_says(cache: Cache) -> None:
    one = Kettle.objects.create(degrees=30)
    one.degrees = F("degrees") + 30
    one.save()
    assert values("kettles_warming") == [1]
    one = Kettle.objects.get()
    one.degrees = 100
    one.save(update_fields=["note"])  # the degrees stay here
    one.save(update_fields=[])
    assert values("kettles_heating") == [0]
    one.save(update_fields=["degrees"])
    assert values("kettles_heating") == [1]
    part = Kettle.objects.only("note").get()
    part.note = "green"
    part.save()
    assert len(asked) == 3


@committed
def test_a_save_of_other_columns_alone_reads_nothing(django_assert_num_queries: Any) -> None:
    one = Kettle.objects.create()
    with transaction.atomic(), django_assert_num_queries(1):
        one.save(update_fields=["note"])
    with transaction.atomic(), django_assert_num_queries(3):
        one.save(update_fields=["degrees"])


@committed
def test_bulk_writes_are_not_seen_and_the_next_save_goes_from_what_is_there(cache: Cache) -> None:
    Kettle.objects.bulk_create([Kettle(degrees=100), Kettle(degrees=20)])
    Kettle.objects.update(degrees=50)
    assert values("kettles_warming", "kettles_heating") == [0, 0]
    for one in Kettle.objects.all():
        one.degrees = 100
        one.save()
    assert cache.get("kettles_heating")["facets"]["source"] == {1: 2}


@committed
def test_deletions_of_querysets_and_cascades_are_seen_row_121(cache: Cache) -> None:
    branch = Branch.objects.create(name="one")
    for degrees in (20, 50, 100):
        Kettle.objects.create(branch=branch, degrees=degrees, colour="red")
        Kettle.objects.create(degrees=degrees)
    Kettle.objects.filter(branch=None).delete()
    assert cache.get("kettles_leaving")["facets"]["source"] == {0: 1, 1: 1, 2: 1}
    branch.delete()
    assert cache.get("kettles_leaving") == {
        "value": 6,
        "facets": {"colour": {"red": 3, None: 3}, "source": {0: 2, 1: 2, 2: 2}},
    }


@committed
def test_heirs_and_proxies_are_seen_in_the_table_that_they_share(cache: Cache) -> None:
    heir = SmartKettle.objects.create(degrees=100)
    heir.degrees = 20
    heir.save()
    heir.degrees = 100
    heir.save(update_fields=["firmware", "degrees"])
    heir.save(update_fields=["firmware"])
    assert values("kettles_heating") == [2]
    OldKettle(degrees=100).save()
    assert values("kettles_heating") == [3]
    heir.delete()
    OldKettle.objects.all().delete()
    assert values("kettles_leaving") == [2]
    kept = SmartKettle.objects.create(degrees=100)
    kept.delete(keep_parents=True)
    assert values("kettles_leaving") == [2]


@committed
def test_keys_that_are_made_before_the_save(cache: Cache) -> None:
    key = uuid.uuid4()
    Probe.objects.create(id=key, degrees=100)
    Probe(id=key, degrees=20).save(force_update=True)
    Probe.objects.update_or_create(id=key, defaults={"degrees": 120})
    Probe.objects.update_or_create(id=key, defaults={"degrees": 10})
    Probe.objects.create()
    assert cache.get("probes_cooling") == {
        "value": 3,
        "facets": {"source": {"boiling": 2, None: 1}},
    }


@committed
def test_a_save_inside_of_a_save_is_a_link_of_the_chain(cache: Cache) -> None:
    def before(sender: Any, instance: Any, **_: Any) -> None:
        if instance.degrees == 100:  # somebody looks at it first
            Kettle(pk=instance.pk, degrees=50).save()

    def after(sender: Any, instance: Any, created: bool, **_: Any) -> None:
        if instance.degrees == 100:
            Kettle(pk=instance.pk, degrees=0).save()

    one = Kettle.objects.create()
    pre_save.connect(before, sender=Kettle)
    post_save.connect(after, sender=Kettle)
    try:
        one.degrees = 100
        one.save()
    finally:
        pre_save.disconnect(before, sender=Kettle)
        post_save.disconnect(after, sender=Kettle)
    assert [(old and old.degrees, new.degrees) for old, new in asked] == [
        (None, 20),
        (20, 50),
        (50, 100),
        (100, 0),
    ]
    assert cache.get("kettles_heating")["facets"]["source"] == {1: 1}


@committed
def test_a_row_that_is_saved_or_deleted_while_it_is_deleted_goes_once_from_where_it_was(
    cache: Cache,
) -> None:
    def warmed(sender: Any, instance: Any, **_: Any) -> None:
        Kettle(pk=instance.pk, degrees=100).save()

    def deleted(sender: Any, instance: Any, **_: Any) -> None:
        pre_delete.disconnect(deleted, sender=Kettle)
        Kettle.objects.get(pk=instance.pk).delete()

    one = Kettle.objects.create()
    pre_delete.connect(warmed, sender=Kettle)
    try:
        one.delete()
    finally:
        pre_delete.disconnect(warmed, sender=Kettle)
    assert cache.get("kettles_leaving")["facets"]["source"] == {2: 1}
    one = Kettle.objects.create()
    pre_delete.connect(deleted, sender=Kettle)
    one.delete()
    assert cache.get("kettles_leaving")["facets"]["source"] == {0: 1, 2: 1}


@committed
def test_a_move_between_keys_counts_for_both_row_118(cache: Cache) -> None:
    for pk in (1, 2):
        Branch.objects.create(pk=pk, name=str(pk))
    one = Kettle.objects.create(branch_id=1)
    one.degrees = 100
    one.save()
    assert values("branch_heating/1", "branch_heating/2") == [1, 0]
    one.branch_id = 2
    one.save()
    assert values("branch_heating/1", "branch_heating/2", "kettles_heating") == [1, 1, 1]
    assert cache.get("branch_heating/2")["facets"]["source"] == {None: 1}


@committed
def test_windows_series_and_instants_of_a_column_row_130(cache: Cache) -> None:
    at = datetime(2026, 3, 28, 22, 50, tzinfo=UTC)

    class Reheating(Flow):
        key_base, capture, at, window = "kettles_reheating", "signals", "heated_at", "hour"
        sources, sinks, facets = [COLD], [WARM], [Facet("colour")]

    ModelTracker(Kettle, ["degrees", "lid_open"], kettle_states, [Reheating])
    with registered(Reheating):
        triggers.install("default")
        sql("UPDATE kck_generation SET made_at = '2025-01-01Z' WHERE key_base = 'kettles_reheating'")
        for hours in (0, 1, 1, 26):
            one = Kettle.objects.create(colour="red")
            one.degrees, one.heated_at = 50, at + timedelta(hours=hours)
            one.save()
        odd = Kettle.objects.create()
        odd.degrees, odd.heated_at = 50, datetime(1500, 1, 1, tzinfo=UTC)  # counts as of now
        odd.save()
        for _ in range(2):
            assert value("kettles_reheating") == 5
            assert value("kettles_reheating/2026-03-28T23") == 2
            points = cache.series("kettles_reheating", at, at + timedelta(days=1), by="day")
            assert [point.value for point in points] == [3, 0] if len(points) == 2 else [3]
            hours_of = cache.series("kettles_reheating", at, at + timedelta(hours=2), facet="colour")
            assert [point.value for point in hours_of] == [{"red": 1}, {"red": 2}, {}]
            assert all(point.complete for point in hours_of)
            fold()
    triggers.install("default")


@committed
def test_a_function_that_raises_breaks_no_save_and_what_it_loses_is_told(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    one = Kettle.objects.create()
    one.degrees = 451
    one.save()
    assert Kettle.objects.get().degrees == 451
    assert "tracker.failed" in caplog.text
    one.delete()
    now = datetime.now(UTC)
    for _ in range(2):
        told = cache.explain("kettles_heating")
        assert told["counted"]["untold"] == 2
        assert "of 2 changes the states could not be told" in told["cause"]
        assert cache.get("kettles_heating") == {"value": 0, "facets": {"source": {}}}
        assert not any(point.complete for point in cache.series("kettles_heating", now, now + timedelta(1)))
        fold()


STOCKS = ("kettles_boiling", "branch_boiling/1", "branch_boiling/2")


@committed
def test_a_stock_whose_members_python_tells_is_what_a_walk_over_its_rows_counts(cache: Cache) -> None:
    for pk in (1, 2):
        Branch.objects.create(pk=pk, name=str(pk))
    Kettle.objects.bulk_create([Kettle(degrees=100, branch_id=1, colour="x"), Kettle(degrees=100), Kettle()])
    equal(*STOCKS)
    assert values(*STOCKS) == [2, 1, 0]
    primed("kettles_boiling", "branch_boiling/1")
    one = Kettle.objects.create(degrees=100, branch_id=1, colour="red")
    assert values(*STOCKS) == [3, 2, 0]
    assert cache.get("kettles_boiling")["facets"] == {
        "colour": {"red": 1, "x": 1, None: 1},
        "colour*branch": {("red", 1): 1, ("x", 1): 1, (None, None): 1},
        "heated": {None: 3},
    }
    for change in (
        {"colour": "blue"},
        {"branch_id": 2},
        {"branch_id": None, "heated_at": datetime(2026, 2, 3, tzinfo=UTC)},
        {"degrees": 120},
        {"lid_open": True},
        {"lid_open": False, "colour": None, "branch_id": 1},
    ):
        Kettle(pk=one.pk, **{"degrees": 100, "branch_id": 1, "colour": "red", **change}).save()
        equal(*STOCKS)
        fold()
        equal(*STOCKS)
    with rolled_back():
        Kettle.objects.all().delete()
        assert values(*STOCKS) == [0, 0, 0]
        equal(*STOCKS)
    assert values(*STOCKS) == [3, 2, 0]
    Branch.objects.all().delete()
    assert values(*STOCKS) == [1, 0, 0]
    fold()
    equal(*STOCKS)


@committed
def test_what_a_stock_has_not_seen_is_told_by_the_balance_and_repaired_by_a_count(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    primed("kettles_boiling")
    Kettle.objects.bulk_create([Kettle(degrees=100), Kettle(degrees=50)])
    assert value("kettles_boiling") == 0
    assert counted("kettles_boiling")["value"] == 1
    with pytest.raises(SystemExit):
        call_command("kck", "check", "--balance", "--format", "json")
    rows = [row for row in json.loads(capsys.readouterr().out) if row["stock"] == "kettles_boiling"]
    assert {(row["held"], row["counted"]) for row in rows if row["state"] == "different"} == {(0, 1)}
    assert "one row at a time" in cache.explain("kettles_boiling")["cause"]
    assert cache.refresh("kettles_boiling").value["value"] == 1
    equal("kettles_boiling")
    with pytest.raises(ValueError, match="Only Python can tell the members of 'kettles_boiling'"):
        cache.members("kettles_boiling")


@committed
def test_a_writer_that_is_open_across_a_count_is_counted_once_case_16(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    writer = sessions()
    writer.do(lambda: transaction.set_autocommit(False))
    writer.do(lambda: Kettle.objects.create(degrees=100))
    assert cache.refresh("kettles_boiling").value["value"] == 0
    writer.do(transaction.commit)
    writer.do(lambda: transaction.set_autocommit(True))
    assert value("kettles_boiling") == 1
    assert cache.refresh("kettles_boiling").value["value"] == 1
    assert sql(
        "SELECT count(*) FROM kck_delta d JOIN kck_generation USING (generation) "
        "WHERE key_base = 'kettles_boiling'"
    ) == [(0,)]


@committed
def test_a_writer_that_was_open_before_the_stock_was_in_force_is_counted_hole_6(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    sql("DELETE FROM kck_generation WHERE key_base = 'kettles_boiling'")
    writer = sessions()
    writer.do(lambda: transaction.set_autocommit(False))
    writer.do(lambda: Kettle.objects.create(degrees=100))
    triggers.install("default")
    assert cache.refresh("kettles_boiling").value["value"] == 0
    writer.do(transaction.commit)
    writer.do(lambda: transaction.set_autocommit(True))
    equal("kettles_boiling")
    assert value("kettles_boiling") == 1


@committed
def test_a_stock_whose_function_has_raised_is_counted_anew(cache: Cache) -> None:
    primed("kettles_boiling")
    one = Kettle.objects.create(degrees=100)
    one.degrees = 451
    one.save()
    assert "no trigger can tell" in cache.explain("kettles_boiling")["cause"]
    with pytest.raises(ComputeFailed, match=f"of the row {one.pk} of accounts.Kettle: ZeroDivisionError"):
        cache.get("kettles_boiling")  # which looks at each row, that one too
    one.degrees = 120
    one.save()
    assert cache.refresh("kettles_boiling").value["value"] == 1
    equal("kettles_boiling")


@committed
def test_it_is_told_that_only_this_application_is_seen(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    told = cache.explain("kettles_opening")
    assert "it sees what this application saves, one row at a time" in told["cause"]
    assert told["counted"]["sources"] == ["kettles_shut"]
    assert told["counted"]["sinks"] == ["ajar"]
    assert cache.explain("kettles_shut")["flows"] == [
        {"flow": "kettles_opening", "direction": "out", "count": 0}
    ]
    call_command("kck", "explain", "kettles_heating")
    assert "one row at a time" in capsys.readouterr().out
    call_command("kck", "flows", "kettles_heating", "--format", "json")
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["sources"], row["sinks"], row["value"]) == ([0, 1, None], [2], 0)
    call_command("kck", "flows", "kettles_heating")
    assert "0, 1, outside" in capsys.readouterr().out


def test_the_checks_say_what_is_declared_wrongly() -> None:
    class Unfed(Flow):
        key_base, capture, sources, sinks = "unfed", "signals", [1], [2]

    class Captured(Flow):
        key_base, sources, sinks = "captured_and_fed", [1], [2]

    class Elsewhere(Flow):
        key_base, capture, sources, sinks = "elsewhere", "signals", [1], [2]

    class Vague(Flow):
        key_base, capture, sources, sinks = "vague", "signals", [1.5], [2]

    class Twice(Flow):
        key_base, capture, sources, sinks = "twice", "signals", [1, 1], [2]

    class Shaded(Flow):
        key_base, capture, sources, sinks, facets = "shaded", "signals", [1], [2], [Facet("branch__name")]

    class Watched(Stock):
        key_base, capture, model = "watched_stock", "signals", Kettle

    class Measured(Stock):
        key_base, capture, model, members = "measured_stock", "signals", Kettle, Q(degrees=1)

    class Misplaced(Stock):
        key_base, capture, model = "misplaced_stock", "signals", Probe

    ModelTracker(
        Kettle,
        ["degrees"],
        kettle_states,
        [Captured, Vague, Twice, Shaded],
        stocks=[Measured, Misplaced],
    )
    ModelTracker(SmartKettle, ["degrees"], kettle_states, [Elsewhere])
    with registered(Unfed, Captured, Elsewhere, Vague, Twice, Shaded, Watched, Measured, Misplaced):
        found = [one for one in run_checks(tags=["kck"]) if one.obj.startswith(__name__)]
    told = {one.obj.rpartition(".")[2]: f"{one.id} {one.msg} {one.hint}" for one in found}
    assert "E010" in told["Unfed"]
    assert "no ModelTracker has it among its flows" in told["Unfed"]
    assert "its capture is 'triggers': say 'signals'" in told["Captured"]
    assert "names 'degrees', which stands in another table" in told["Elsewhere"]
    assert "not 1.5" in told["Vague"]
    assert "names a state twice" in told["Twice"]
    assert "facet 'branch__name' reaches into another table" in told["Shaded"]
    assert "no ModelTracker has it among its stocks" in told["Watched"]
    assert "leave out members, queryset and measure" in told["Measured"]
    assert "its rows are those of accounts.Probe" in told["Misplaced"]
    assert "W003" in told["Warming"]
    assert "W003" in told["Boiling"]
    with pytest.raises(DeclarationError, match="fed by a ModelTracker already"):
        ModelTracker(Kettle, ["degrees"], kettle_states, [Warming])
    with pytest.raises(DeclarationError, match="is none"):
        ModelTracker(Kettle, ["degrees"], kettle_states, ["warming"])  # type: ignore[list-item]
    with pytest.raises(DeclarationError, match="two tuples of states"):
        ModelTracker(Kettle, ["degrees"], None, [Warming])  # type: ignore[arg-type]
    tracker = ModelTracker(
        Kettle, ["degrees"], lambda previous, current: ((1,), (1, 2)), [type("F", (Flow,), {})]
    )
    with pytest.raises(DeclarationError, match="two tuples of equal length"):
        tracker.transitions(None, None)


def test_nothing_is_watched_that_no_flow_asks_for() -> None:
    assert pre_delete.has_listeners(Kettle)
    assert pre_delete.has_listeners(OldKettle)
    assert not pre_delete.has_listeners(Branch)
    for flow in ALL:
        registry.withdraw(flow)
    try:
        assert not pre_delete.has_listeners(Kettle)
    finally:
        for flow in ALL:
            registry.register(flow)
    assert pre_delete.has_listeners(Kettle)


class InATestCase(TestCase):
    def test_it_is_seen_in_the_transaction_of_the_test(self) -> None:
        triggers.install("default")
        one = Kettle.objects.create(degrees=30)
        one.degrees = 100
        one.save()
        assert values("kettles_warming", "kettles_heating", "kettles_boiling") == [1, 1, 1]
        one.delete()
        assert values("kettles_boiling") == [0]
