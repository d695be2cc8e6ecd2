"""A family is counted under one slot, whoever asks: in a reader's process, by a worker, inside a compute; and a count
that dies holds nobody up.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, Primer
from kck_flow.cache import counted as reading
from kck_flow.cache import recount
from kck_flow.management.verbs.checking import setup
from kck_flow.store import levels, refreshes
from kck_flow.store.session import caller
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import Session, at_rest, equal, fold, primed, sql
from tests.harness.processes import Crew
from tests.harness.wait import until

committed = pytest.mark.django_db(transaction=True)


BLOCKED = "SELECT pid FROM pg_locks WHERE relation = 'accounts_account'::regclass AND NOT granted"


def count_active() -> None:
    """Count a family, in a process of its own."""
    Cache.get_instance().refresh("active")


@pytest.fixture
def kill_a_count(crew: Crew, sessions: Callable[[], Session], cache: Cache) -> Callable[[], None]:
    """Kill a process that counts ``active``, in the midst of its count, and let its lease come to its end."""

    def kill() -> None:
        holder = sessions()
        holder.sql("BEGIN")
        holder.sql("LOCK TABLE accounts_account IN ACCESS EXCLUSIVE MODE")
        child = crew.spawn(count_active)
        until(lambda: sql(BLOCKED) != [], "the count to wait")
        assert sql("SELECT token IS NOT NULL FROM kck_generation WHERE key_base = 'active'") == [(True,)]
        assert cache.is_refreshing("active")
        assert cache.explain("active")["cause"] == "being counted"
        os.kill(child.pid, signal.SIGKILL)
        sql(f"SELECT pg_terminate_backend(pid) FROM ({BLOCKED}) AS blocked")
        until(lambda: sql(BLOCKED) == [], "its session to end")
        holder.sql("ROLLBACK")
        sql(
            "UPDATE kck_refresh SET lease_until = clock_timestamp() - interval '2 s' WHERE lease_until IS NOT NULL"
        )

    return kill


def waiting() -> Any:
    """How many deltas wait to be folded, and whether their family is fenced."""
    return sql(
        "SELECT count(d.*), bool_or(g.token IS NOT NULL) FROM kck_generation g LEFT JOIN kck_delta d"
        " ON d.generation = g.generation AND d.kind = 'add'"
        " WHERE g.key_base = 'active' AND g.live"
    )[0]


@committed
def test_where_no_worker_lives_a_read_ends_the_fence_of_a_count_that_was_killed(
    kill_a_count: Callable[[], None], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    primed("active")
    kill_a_count()
    Account.objects.create(state="active", plan="pro")
    deltas, fenced = waiting()
    assert (deltas > 0, fenced) == (True, True)
    monkeypatch.setattr(reading, "FOLD_FROM", 0)
    assert cache.get("active")["value"] == 1
    at_rest()
    assert waiting() == (0, False)
    equal("active")


@committed
def test_a_worker_takes_up_a_count_that_was_killed_and_nothing_is_due_that_nobody_serves(
    kill_a_count: Callable[[], None], cache: Cache
) -> None:
    primed("active")
    kill_a_count()
    Account.objects.create(state="active")
    cache.request_refresh("active")
    assert "Everything that is due is declared" in [finding.text for finding in setup(["default"])]
    assert run_worker().keys == ["active"]
    assert waiting() == (0, False)
    assert not cache.is_refreshing("active")
    equal("active")


@committed
def test_of_a_family_whose_keys_are_wanted_all_at_once_one_count_is_made(cache: Cache) -> None:
    Branch.objects.bulk_create([Branch(pk=pk, name="x") for pk in (7, 8)])
    Account.objects.create(state="active", branch_id=7)
    primed("branch_accounts/7")
    sql("UPDATE kck_level SET n = n + 3")
    assert cache.request_refresh("branch_accounts/7")
    assert cache.request_refresh("branch_accounts/8")
    with transaction.atomic():  # with the transaction, and beside the slot
        cache.request_refresh("branch_accounts/9")
    ran = run_worker()
    assert ran.keys == ["branch_accounts"]
    assert ran.outcomes == ["done"]
    equal("branch_accounts/7", "branch_accounts/8")
    with transaction.atomic():
        cache.request_refresh("money")
    assert run_worker().keys == ["money"]
    last = cache.explain("branch_accounts/7")["last_run"]
    assert (last["outcome"], last["worker"]) == ("done", "run_worker")


@committed
def test_a_paused_family_is_not_counted_by_workers(cache: Cache) -> None:
    primed("active")
    cache.pause("active")
    cache.request_refresh("active")
    assert run_worker().keys == []
    cache.resume("active")
    assert run_worker().keys == ["active"]


class Recounting(Primer):
    """A product that has a stock counted anew."""

    key_base = "recounting"

    def compute(self, key: str) -> int:
        return int(Cache.get_instance().refresh("active").value["value"])


@committed
def test_a_stock_is_counted_anew_inside_a_compute_though_no_other_thread_is_free(
    cache: Cache, settings: Any
) -> None:
    settings.KCK_FLOW = {"POOL_THREADS": 1}
    Account.objects.create(state="active")
    with registered(Recounting):
        assert cache.get("recounting") == 1


@committed
def test_within_a_transaction_a_read_of_a_stock_is_one_statement(cache: Cache) -> None:
    primed("active")
    with transaction.atomic():
        Account.objects.create(state="active")
        with CaptureQueriesContext(connection) as queries:
            assert [cache.get("active")["value"] for _ in range(3)] == [1, 1, 1]
    assert len(queries) == 3, [query["sql"][:100] for query in queries]


class Midway:
    """A recount that stands between its cut and its count, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
        self._cut, self._go = threading.Event(), threading.Event()
        stage = levels.stage

        def held(*arguments: Any) -> Any:
            self._cut.set()
            assert self._go.wait(20.0)
            return stage(*arguments)

        monkeypatch.setattr(levels, "stage", held)
        monkeypatch.setattr(recount, "_takes_long", lambda *_: True)
        self._session = session
        self._session.tell(lambda: Cache.get_instance().refresh("active").value)
        assert self._cut.wait(20.0)

    def goes_on(self) -> Any:
        self._go.set()
        return self._session.answer()


@pytest.fixture
def midway(monkeypatch: pytest.MonkeyPatch, sessions: Callable[[], Session]) -> Callable[[], Midway]:
    return lambda: Midway(monkeypatch, sessions())


@committed
@pytest.mark.parametrize("before", ["counted", "never counted"])
def test_folds_go_on_while_a_long_recount_counts_and_nothing_is_lost_or_told_twice(
    cache: Cache, midway: Callable[[], Midway], before: str
) -> None:
    if before == "counted":
        primed("active")
    else:
        sql("UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'active'")
    Account.objects.bulk_create([Account(state="active", plan="pro") for _ in range(3)])
    count = midway()
    assert waiting() == (0, True)  # what its snapshot sees is taken
    Account.objects.filter(pk__in=Account.objects.values("pk")[:1]).update(plan="free")
    Account.objects.create(state="active", plan="new")
    assert waiting()[0] > 0
    assert fold() > 0
    assert waiting() == (0, True)
    if before == "counted":
        equal("active")
    Account.objects.filter(plan="free").delete()  # this one waits over the publish
    assert count.goes_on()["value"] == 3
    equal("active")
    fold()
    equal("active")
    assert cache.get("active")["facets"]["plan"] == {"new": 1, "pro": 2}
    assert sql("SELECT count(*) FROM kck_recounted") == [(0,)]
    assert sql("SELECT count(*) FROM kck_level WHERE since_n IS NOT NULL") == [(0,)]


@committed
def test_a_table_that_is_emptied_during_a_long_recount_is_counted_once_more(
    cache: Cache, midway: Callable[[], Midway]
) -> None:
    Account.objects.bulk_create([Account(state="active") for _ in range(3)])
    primed("active")
    cache.invalidate("active")  # this one the count makes up for
    count = midway()
    cache.invalidate("active")  # and this one it does not
    count.goes_on()  # what is read of it then has it counted again
    at_rest()
    assert [row[0] for row in sql("SELECT outcome FROM kck_run ORDER BY id")] == ["done"] * 3
    assert cache.explain("active")["state"] == "fresh"
    equal("active")


@committed
def test_a_long_recount_whose_lease_was_ended_publishes_nothing(
    cache: Cache, midway: Callable[[], Midway]
) -> None:
    primed("active")
    Account.objects.bulk_create([Account(state="active") for _ in range(3)])
    count = midway()
    sql(
        "UPDATE kck_refresh SET lease_until = clock_timestamp() - interval '2 s' WHERE lease_until IS NOT NULL"
    )
    refreshes.end_overdue(caller("default"))
    recount.end_leaseless(caller("default"))
    Account.objects.create(state="active")
    fold()
    equal("active")
    assert count.goes_on()["value"] == 4  # fenced, and asked again: then it is ours
    equal("active")
    outcomes = [row[0] for row in sql("SELECT outcome FROM kck_run WHERE key = '!count:active' ORDER BY id")]
    assert outcomes == ["done", "fenced", "done"]


@committed
def test_a_count_that_took_long_or_has_a_large_table_lets_folds_go_on(cache: Cache) -> None:
    primed("active")
    Account.objects.create(state="active")
    sql("UPDATE kck_refresh SET cost_ms = 1500 WHERE key = '!count:active'")
    with CaptureQueriesContext(connection) as queries:
        recount.patiently(*_counted("active"), reason="manual", apart=False)
    assert any("pg_export_snapshot" in query["sql"] for query in queries)
    equal("active")
    sql("UPDATE kck_refresh SET cost_ms = 5 WHERE key = '!count:active'")
    with CaptureQueriesContext(connection) as queries:
        recount.patiently(*_counted("active"), reason="manual", apart=False)
    assert not any("pg_export_snapshot" in query["sql"] for query in queries)


def _counted(key: str) -> Any:
    return reading.counted(Cache.get_instance().build_key(key))


@committed
def test_a_long_recount_whose_publish_met_a_deadlock_is_made_once_more_and_counts_once(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "_takes_long", lambda *_: True)
    publish, tries = levels.publish_staged, []

    def met(session: Any, *arguments: Any) -> bool:
        tries.append(sql("SELECT count(*) FROM kck_recounted")[0][0])
        if len(tries) == 1:
            session.run("DO $$ BEGIN RAISE EXCEPTION 'met' USING ERRCODE = '40P01'; END $$")
        return publish(session, *arguments)

    monkeypatch.setattr(levels, "publish_staged", met)
    Account.objects.bulk_create([Account(state="active", plan="pro") for _ in range(3)])
    assert cache.refresh("active").value["value"] == 3
    assert tries[0] == tries[1] > 0
    equal("active")
