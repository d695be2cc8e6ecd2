"""Records of stocks on a schedule: each period once, every key in one snapshot, read as a series or at an instant.
Rows 102, 111, 115.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q

from kck_flow import Cache, Facet, ModelParameter, Stock, every
from kck_flow.cache.compute import private_sessions
from kck_flow.changes import triggers
from kck_flow.entry import Point
from kck_flow.errors import NotPrimed
from kck_flow.refresh.passes import Passes
from kck_flow.refresh.run import run
from kck_flow.registry import registry
from kck_flow.store import leftovers
from kck_flow.store.session import caller
from kck_flow.testing import Clock, freeze_time, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import Session, sql

committed = pytest.mark.django_db(transaction=True)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


class Kept(Stock):
    """Accounts that pay, a record each day."""

    key_base = "kept"
    model, members = Account, Q(state="active")
    facets = [Facet("plan"), Facet("joined_at")]
    schedule = every(days=1)
    retention = timedelta(days=3)


class KeptOf(Stock):
    """Those of one branch."""

    key_base = "kept_of"
    parameters = [ModelParameter("branch", Branch, field="branch_id")]
    model, members = Account, Q(state="active")
    facets = [Facet("plan")]
    schedule = every(days=1)
    retention = timedelta(days=3)


@pytest.fixture
def clock(db: None) -> Iterator[Clock]:
    with registered(Kept, KeptOf):
        triggers.install("default")
        with freeze_time(MONDAY - 2 * HOUR) as stopped:
            run_worker(["kept", "kept_of"])  # puts the schedules in force
            yield stopped
    if not connection.in_atomic_block:  # a test's own transaction takes it back
        triggers.install("default")


def work() -> None:
    run_worker(["kept", "kept_of"])


def stamps(key: str) -> list[tuple[datetime, datetime]]:
    return sql("SELECT start_at, end_at FROM kck_record WHERE key = %s ORDER BY id", key)  # type: ignore[return-value]


@committed
def test_a_record_a_period_with_the_exact_stamp_row_102(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    Account.objects.create(state="active", plan="pro")
    work()
    assert stamps("kept") == []  # before its first instant
    clock.set(MONDAY + timedelta(minutes=7))
    work()
    work()
    Account.objects.create(state="active", plan=None)
    clock.move(hours=5)
    work()
    assert stamps("kept") == [(MONDAY, MONDAY + DAY)]
    assert cache.get("kept")["value"] == 2
    assert cache.value_at("kept", MONDAY) == {
        "value": 1,
        "facets": {"plan": {"pro": 1}, "joined_at": {None: 1}},
    }
    clock.set(MONDAY + DAY)
    work()
    assert stamps("kept") == [(MONDAY, MONDAY + DAY), (MONDAY + DAY, MONDAY + 2 * DAY)]
    assert cache.value_at("kept", MONDAY + DAY + HOUR)["facets"]["plan"] == {"pro": 1, None: 1}
    assert sql("SELECT count(*) FROM kck_run WHERE key = 'kept' AND outcome = 'done'") == [(2,)]
    with pytest.raises(NotPrimed, match="Nothing of 'kept' was recorded for 2026-03-01"):
        cache.value_at("kept", MONDAY - HOUR)


@committed
def test_nothing_is_recounted_for_a_record(transactional_db: None, clock: Clock, cache: Cache) -> None:
    cache.refresh("kept")
    before = sql("SELECT count(*) FROM kck_run WHERE key LIKE '!count:kept%%'")
    Account.objects.create(state="active")
    clock.set(MONDAY)
    work()
    assert cache.value_at("kept", MONDAY)["value"] == 1
    assert sql("SELECT count(*) FROM kck_run WHERE key = '!count:kept'") == before


@committed
def test_a_record_is_written_of_each_key_that_holds_anything(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    one, two = Branch.objects.create(name="1"), Branch.objects.create(name="2")
    Account.objects.bulk_create([Account(state="active", plan="a", branch=one) for _ in range(3)])
    Account.objects.create(state="active")  # of no branch: no key leads to it
    clock.set(MONDAY)
    work()
    Account.objects.filter(branch=one).update(branch=two)
    clock.set(MONDAY + DAY)
    work()
    assert len(stamps(f"kept_of/{one.pk}")) == len(stamps(f"kept_of/{two.pk}")) == 1
    key = f"kept_of/{one.pk}"
    assert cache.value_at(key, MONDAY) == {"value": 3, "facets": {"plan": {"a": 3}}}
    # What it held then is known, since its family was recorded: nothing.
    assert cache.value_at(key, MONDAY + DAY) == {"value": 0, "facets": {"plan": {}}}
    assert [point.value for point in cache.series(key, MONDAY - DAY, MONDAY + 2 * DAY, by=DAY)] == [
        None,
        3,
        0,
    ]
    points = cache.series(f"kept_of/{two.pk}", MONDAY, MONDAY + 2 * DAY, facet="plan")
    assert [point.value for point in points] == [{}, {"a": 3}]
    with pytest.raises(NotPrimed, match="Nothing of 'kept_of/"):
        cache.value_at(key, MONDAY + 2 * DAY)


@committed
def test_a_missed_period_is_a_gap_and_no_zero_row_111(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    Account.objects.create(state="active")
    clock.set(MONDAY)
    work()
    Account.objects.create(state="active")
    clock.set(MONDAY + 3 * DAY + HOUR)  # nobody came for two days
    work()
    assert [at for at, _ in stamps("kept")] == [MONDAY, MONDAY + 3 * DAY]
    points = cache.series("kept", MONDAY, MONDAY + 4 * DAY)
    assert [(point.start, point.end, point.value, point.complete) for point in points] == [
        (MONDAY, MONDAY + DAY, 1, True),
        (MONDAY + 3 * DAY, MONDAY + 4 * DAY, 2, True),
    ]
    points = cache.series("kept", MONDAY, MONDAY + 4 * DAY, by=DAY)
    assert [point.value for point in points] == [1, None, None, 2]
    points = cache.series("kept", MONDAY + 23 * HOUR, MONDAY + 25 * HOUR, by="hour", facet="plan")
    assert [point.value for point in points] == [{None: 1}, None]
    with pytest.raises(NotPrimed, match="The last record before is of 2026-03-02T00:00:00"):
        cache.value_at("kept", MONDAY + DAY)
    with pytest.raises(ValueError, match=r"has no facet 'colour'. Its facets are: plan, joined_at"):
        cache.series("kept", MONDAY, MONDAY + DAY, facet="colour")


@committed
def test_a_changed_definition_breaks_the_series_row_115(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    Account.objects.bulk_create([Account(state="active"), Account(state="trial")])
    clock.set(MONDAY)
    work()

    class Wider(Stock):
        key_base = "kept"
        model, members = Account, Q(state__in=["active", "trial"])
        facets = [Facet("vip")]
        schedule = every(days=1)

    registry.withdraw(Kept)
    with registered(Wider):
        triggers.install("default")
        clock.set(MONDAY + DAY)
        work()
        clock.set(MONDAY + 2 * DAY)
        work()
        first, second, third = cache.series("kept", MONDAY, MONDAY + 3 * DAY, by=DAY)
        assert (first.value, second.value, third.value) == (1, 2, 2)
        assert first.generation != second.generation == third.generation
        assert None not in (first.generation, second.generation)
        facets = [point.value for point in cache.series("kept", MONDAY, MONDAY + 3 * DAY, facet="vip")]
        assert facets == [None, {False: 2}, {False: 2}]  # there was no such facet


@committed
def test_a_late_worker_whose_lease_is_lost_records_nothing(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    Account.objects.create(state="active")
    clock.set(MONDAY)
    passes = Passes("default", private_sessions("default"), products=["kept"], owner="late", lease=60.0)
    claim = next(one for one in passes.claim(5) if str(one.key) == "kept")
    sql("UPDATE kck_refresh SET token = token + 1, lease_until = NULL WHERE key = 'kept'")
    assert run(claim, "default", private_sessions("default"), watched=False) == "fenced"
    assert stamps("kept") == []
    sql("UPDATE kck_refresh SET lease_until = NULL, due_at = nominal WHERE key = 'kept'")
    work()
    assert stamps("kept") == [(MONDAY, MONDAY + DAY)]


@committed
def test_a_family_is_recorded_in_one_snapshot(
    transactional_db: None, clock: Clock, cache: Cache, sessions: object
) -> None:
    branches = [Branch.objects.create(name=str(n)) for n in range(4)]
    Account.objects.bulk_create([Account(state="active", branch=branches[0]) for _ in range(20)])
    cache.refresh(f"kept_of/{branches[0].pk}")
    mover: Session = sessions()  # type: ignore[operator]

    def about() -> None:
        for n in range(60):
            Account.objects.update(branch=branches[n % 4])

    mover.tell(about)
    for day in range(5):
        clock.set(MONDAY + day * DAY)
        work()
    mover.answer()
    for day in range(5):
        at = MONDAY + day * DAY
        assert sum(cache.value_at(f"kept_of/{one.pk}", at)["value"] for one in branches) == 20


@committed
def test_old_records_go_with_the_retention(transactional_db: None, clock: Clock, cache: Cache) -> None:
    one, two = Branch.objects.create(name="1"), Branch.objects.create(name="2")
    Account.objects.create(state="active", branch=one)
    for day in range(8):
        clock.set(MONDAY + day * DAY)
        work()
        if day == 1:
            Account.objects.update(branch=two)
    for base in ("kept", "kept_of"):
        assert sum(leftovers.prune_records(caller("default"), base, Kept.retention.total_seconds())) > 0
    assert [at for at, _ in stamps("kept")] == [MONDAY + day * DAY for day in range(4, 8)]
    # The periods that are gone are not taken for such in which a key held nothing.
    with pytest.raises(NotPrimed):
        cache.value_at(f"kept_of/{two.pk}", MONDAY + 3 * DAY)
    assert cache.value_at(f"kept_of/{two.pk}", MONDAY + 4 * DAY)["value"] == 1
    assert cache.value_at(f"kept_of/{one.pk}", MONDAY + 4 * DAY)["value"] == 0


@committed
def test_the_commands_show_records(transactional_db: None, clock: Clock, cache: Cache) -> None:
    Account.objects.create(state="active", plan="a")
    clock.set(MONDAY)
    work()
    Account.objects.all().delete()

    def told(*arguments: str) -> str:
        out = StringIO()
        call_command("kck", *arguments, stdout=out)
        return out.getvalue()

    found = json.loads(told("get", "kept", "--at", "2026-03-02T01:00:00+00:00", "--format", "json"))
    assert found["value"]["value"] == 1
    assert "2026-03-02T01:00:00+00:00" in told(
        "get", "kept", "--at", "2026-03-02T01:00:00+00:00", "--format", "table"
    )
    with pytest.raises(CommandError, match="Nothing of 'kept' was recorded for 2026-02-01"):
        told("get", "kept", "--at", "2026-02-01T00:00:00+00:00")
    (row,) = json.loads(told("stocks", "kept", "--format", "json"))
    assert datetime.fromisoformat(row["recorded_at"]) == MONDAY


@committed
def test_a_recorded_stock_is_listed_with_its_count(
    transactional_db: None, clock: Clock, cache: Cache
) -> None:
    Account.objects.bulk_create([Account(state="active") for _ in range(3)])
    cache.refresh("kept")
    clock.move(hours=3)
    work()
    out = StringIO()
    call_command("kck", "keys", "--format", "json", stdout=out)
    (row,) = [one for one in json.loads(out.getvalue()) if one["key"] == "kept"]
    assert (row["state"], row["value"]["value"]) == ("fresh", 3)
    out = StringIO()
    call_command("kck", "keys", "--state", "empty", "--format", "json", stdout=out)
    assert "kept" not in [one["key"] for one in json.loads(out.getvalue())]


def test_records_in_a_testcase(clock: Clock, cache: Cache) -> None:
    branch = Branch.objects.create(name="1")
    Account.objects.create(state="active", branch=branch)
    clock.set(MONDAY)
    work()
    generation = sql("SELECT generation FROM kck_generation WHERE key_base = 'kept' AND live")[0][0]
    assert cache.series("kept", MONDAY, MONDAY + HOUR) == [Point(MONDAY, MONDAY + HOUR, 1, False, generation)]
    assert cache.value_at(f"kept_of/{branch.pk}", MONDAY + HOUR)["value"] == 1
