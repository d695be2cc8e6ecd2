"""Events of flows: each transition kept, and told to callables after its commit. Rows 118 to 128, 133."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Q

from kck_flow import Cache, Facet, Flow, ModelParameter, Stock
from kck_flow.changes import triggers
from kck_flow.management.verbs import pruning
from kck_flow.models import Event, Generation, Refresh, Run
from kck_flow.registry import registry
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import Session, fold, rolled_back, sql
from tests.harness.points import stop_at
from tests.harness.processes import Crew, Ended

committed = pytest.mark.django_db(transaction=True)
CALLED: list[Any] = []


class First(Stock):
    key_base, model, members = "ev_first", Account, Q(state="a")


class Second(Stock):
    key_base, model, members = "ev_second", Account, Q(state="b")


class Third(Stock):
    key_base, model, members = "ev_third", Account, Q(state="c")


class Moving(Flow):
    """Accounts that come, move and go."""

    key_base = "ev_moving"
    sources, sinks = [None, First, Second, Third], [First, Second, Third, None]
    facets = [Facet("plan")]
    record_events = True


class Telling(Flow):
    """Accounts that become the second, told to somebody."""

    key_base = "ev_telling"
    sources, sinks = [First], [Second]
    backoff = backoff_cap = timedelta(0)
    retries = 2


STOCKS = (First, Second, Third)


@contextmanager
def declared(*flows: type[Flow]) -> Iterator[None]:
    """Have flows captured for the length of a block."""
    with registered(*STOCKS, *flows):
        triggers.install("default")
        yield
    triggers.install("default")


@pytest.fixture
def telling() -> Iterator[type[Flow]]:
    """Return a flow whose callables a test gives."""
    CALLED.clear()
    yield Telling
    Telling.event_callables, Telling.record_events = (), False


def events(**more: Any) -> list[tuple[str | None, str | None]]:
    """Return what happened to whom, in order."""
    return list(Event.objects.filter(**more).order_by("id").values_list("source", "sink"))


def drained() -> list[str]:
    """Do what a worker would, until nothing is due; returns what failed."""
    return run_worker(["ev_telling"]).failed


@committed
def test_each_transition_is_kept_with_all_that_is_known_of_it_rows_118_119_121_126_127() -> None:
    with declared(Moving):
        with transaction.atomic():
            one = Account.objects.create(state="a", plan="x")
            now, xact = sql("SELECT transaction_timestamp(), pg_current_xact_id()::text::bigint")[0]
        for _ in range(3):
            one.save()  # nothing moves
        Account.objects.update(plan="y", state="b")
        Account.objects.update(plan="z")
        Account.objects.all().delete()
        first, second, third = Event.objects.order_by("id")
        assert (first.at, first.xact, first.subject_type) == (now, xact, "accounts.Account")
        assert {event.subject_id for event in (first, second, third)} == {str(one.pk)}
        assert events() == [(None, "ev_first"), ("ev_first", "ev_second"), ("ev_second", None)]
        assert [event.facets for event in (first, second, third)] == [{"plan": p} for p in "xyz"]
        assert {event.callback_state for event in (first, second, third)} == {""}
        assert Cache.get_instance().get("ev_moving")["value"] == 3
        assert not sql("SELECT 1 FROM kck_pending WHERE key_base ~ 'ev_'")


@committed
def test_whoever_writes_and_what_is_rolled_back_is_kept_by_nobody_row_120() -> None:
    with declared(Moving):
        branch = Branch.objects.create(name="one")
        Account.objects.bulk_create([Account(state="a", branch=branch) for _ in range(20)])
        sql("UPDATE accounts_account SET state = 'b' WHERE id % 2 = 0")
        with rolled_back():
            Account.objects.update(state="c")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO accounts_account (state, vip, balance, points, note) "
                           "SELECT 'c', false, 0, 0, '' FROM generate_series(1, 3)")  # fmt: skip
        Branch.objects.all().delete()  # and its accounts with it
        counted = {
            (None, "ev_first"): 20, ("ev_first", "ev_second"): 10, (None, "ev_third"): 3,
            ("ev_first", None): 10, ("ev_second", None): 10,
        }  # fmt: skip
        found = events()
        assert {pair: found.count(pair) for pair in set(found)} == counted
        assert Cache.get_instance().get("ev_moving")["value"] == len(found)


@committed
def test_two_sessions_that_move_one_row_are_a_chain_row_122(sessions: Callable[[], Session]) -> None:
    with declared(Moving):
        one = Account.objects.create(state="a")
        first, second = sessions(), sessions()
        second.sql("BEGIN")
        second.sql("SELECT pg_current_xact_id()")  # began before the other, and writes after it
        first.sql("BEGIN")
        first.sql("UPDATE accounts_account SET state = 'b'")
        second.tell(lambda: sql("UPDATE accounts_account SET state = 'c'"))
        first.sql("COMMIT")
        second.answer()
        second.sql("COMMIT")
        of_one = events(subject_type="accounts.Account", subject_id=str(one.pk))
        assert of_one == [(None, "ev_first"), ("ev_first", "ev_second"), ("ev_second", "ev_third")]


@committed
def test_event_time_and_keys_are_those_that_were_counted(cache: Cache) -> None:
    class Joining(Flow):
        key_base, sources, sinks, at = "ev_joining", [None], [First], "joined_at"
        parameters = [ModelParameter("branch", Branch, field="branch_id")]
        record_events = True

    with declared(Joining):
        Branch.objects.create(pk=1, name="one")
        Branch.objects.create(pk=2, name="two")
        then = datetime(2025, 5, 1, 12, 30, tzinfo=UTC)
        Account.objects.create(state="a", branch_id=1, joined_at=then)
        Account.objects.update(branch_id=2)
        assert list(Event.objects.order_by("id").values_list("args", "at", "sink")) == [
            ({"branch": 1}, then, "ev_first"),
            ({"branch": 2}, then, "ev_first"),
        ]
        assert cache.get("ev_joining/1/2025-05-01T12")["value"] == 1


@committed
def test_switched_on_or_off_a_flow_counts_on_and_a_new_definition_tells_each_once(cache: Cache) -> None:
    try:
        with declared(Moving):
            Account.objects.create(state="a")
            generation = Generation.objects.get(key_base="ev_moving", live=True)
            assert generation.events
            Moving.record_events = False
        with registered(*STOCKS, Moving):
            assert triggers.missing("default") == ['"accounts_account"']
            triggers.install("default")
            assert triggers.missing("default") == []
            Account.objects.create(state="a")
            assert (cache.get("ev_moving")["value"], Event.objects.count()) == (2, 1)
            assert Generation.objects.get(key_base="ev_moving", live=True).generation == generation.generation
            assert (
                "kck_event"
                not in sql("SELECT string_agg(prosrc, '') FROM pg_proc WHERE proname ~ '^kck_insert'")[0][0]
            )
            Moving.record_events, Moving.version = True, 2
        with registered(*STOCKS, Moving):
            triggers.install("default")  # yesterday's definition counts on beside it
            assert Generation.objects.filter(key_base="ev_moving", live=True).count() == 2
            Account.objects.create(state="a")
            assert Event.objects.count() == 2
    finally:
        Moving.record_events, Moving.version = True, 1
        triggers.install("default")


@committed
def test_old_events_go_and_the_series_stays_row_133(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    with declared(Moving):
        Account.objects.bulk_create([Account(state="a") for _ in range(5)])
        Event.objects.filter(pk__in=Event.objects.order_by("id")[:3].values("pk")).update(
            at=datetime.now(UTC) - timedelta(days=91)
        )
        now = datetime.now(UTC)
        before = cache.get("ev_moving"), cache.series("ev_moving", now - timedelta(hours=1), now)
        call_command("kck", "prune", "--events", "90d", "--dry-run", "--format", "json")
        rows = {(row["what"], row["product"]): row for row in json.loads(capsys.readouterr().out)}
        assert (rows["events", "ev_moving"]["rows"], Event.objects.count()) == (3, 5)
        assert not [one for one, _, _ in pruning.prune("default") if one.what == "events"]
        fold()
        call_command("kck", "prune", "--events", "90d", "--product", "ev_moving")
        assert Event.objects.count() == 2
        assert before[0] == cache.get("ev_moving")
        assert before[1] == cache.series("ev_moving", now - timedelta(hours=1), now)


@committed
def test_the_last_events_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with declared(Moving):
        one = Account.objects.create(state="a", plan="x")
        Account.objects.update(state="b")
        call_command("kck", "flows", "ev_moving", "--events", "--format", "json")
        latest, earliest = json.loads(capsys.readouterr().out)
        assert (latest["source"], latest["sink"], latest["subject"]) == ("ev_first", "ev_second", str(one.pk))
        assert (earliest["source"], earliest["facets"]) == (None, {"plan": "x"})
        call_command("kck", "flows", "--events", "--limit", "1")
        shown = capsys.readouterr().out
        assert "ev_second" in shown
        assert "outside" not in shown


def test_what_is_declared_wrongly_is_told_by_the_checks(db: None) -> None:
    class Odd(Flow):
        key_base, sources, sinks, record_events = "ev_odd", [None], [First], "yes"

    class Odder(Flow):
        key_base, sources, sinks, event_callables = "ev_odder", [None], [First], "fn"

    with registered(First, Odd, Odder):
        told = {found.obj.rpartition(".")[2]: found.msg for found in run_checks(tags=["kck"])}
    assert (
        "record_events is True, False or a model of events (a subclass of FlowEvent), not 'yes'"
        in told["Odd"]
    )
    assert "event_callables is a list of functions, not 'fn'" in told["Odder"]


@committed
def test_before_the_table_of_events_is_there_and_after_it_was_writes_go_on() -> None:
    with declared(Moving):
        try:
            call_command("migrate", "kck_flow", "0003_recounts", verbosity=0)
            Account.objects.create(state="a")
        finally:
            call_command("migrate", "kck_flow", verbosity=0)
        Account.objects.update(state="b")
        assert events() == [("ev_first", "ev_second")]


# -- callables


@committed
def test_callables_are_called_after_the_commit_for_each_event_in_order_row_128(telling: type[Flow]) -> None:
    def call(account: Account | None, source: str | None, sink: str | None) -> None:
        CALLED.append((account and account.pk, account and account.note, source, sink))

    telling.event_callables = [call]
    with declared(telling):
        one, two = Account.objects.create(state="a"), Account.objects.create(state="a")
        with rolled_back():
            Account.objects.update(state="b")
        assert drained() == []
        assert CALLED == []
        Account.objects.filter(pk=one.pk).update(state="b")
        Account.objects.filter(pk=two.pk).update(state="b")
        Account.objects.filter(pk=one.pk).update(note="later")
        two.delete()
        assert CALLED == []
        assert drained() == []
        assert [(one.pk, "later", "ev_first", "ev_second"), (None, None, "ev_first", "ev_second")] == CALLED
        assert not Event.objects.exists()  # kept for nothing else
        drained()
        assert len(CALLED) == 2


@committed
def test_a_callable_that_fails_is_tried_again_alone_and_neither_the_write_nor_the_others_notice(
    telling: type[Flow],
) -> None:
    def other(account: Any, source: Any, sink: Any) -> None:
        CALLED.append(("other", account.plan))

    def fails(account: Any, source: Any, sink: Any) -> None:
        Account.objects.filter(pk=account.pk).update(note="half done")
        if account.plan == "bad":
            raise ValueError("no such plan")
        CALLED.append(("fails", account.plan))

    telling.event_callables, telling.record_events = [other, fails], True
    with declared(telling):
        Account.objects.bulk_create([Account(state="a", plan=plan) for plan in ("bad", "good")])
        Account.objects.update(state="b")
        assert Account.objects.filter(state="b").count() == 2
        drained()
        # Each that was called is not called again; of the one that failed nothing is left.
        assert sorted(CALLED) == [("fails", "good"), ("other", "bad"), ("other", "good")]
        assert Account.objects.get(plan="bad").note == ""
        assert set(Event.objects.values_list("callback_state", flat=True)) == {"done", "failed"}
        slot = Refresh.objects.get(key__startswith="!events:ev_telling/")
        assert slot.parked_why == "failed"
        assert slot.last_error.startswith("ValueError: no such plan")
        assert Run.objects.filter(key=slot.key, outcome="failed").count() == 3
        old = pruning.prune("default", "ev_telling", older_events=0)
        assert [(found, gone) for _, found, gone in old] == [(1, 1)]  # what is waited for stays

        Account.objects.filter(plan="bad").update(plan="mended")
        call_command("kck", "retry", slot.key)
        assert drained() == []
        assert ("fails", "mended") in CALLED
        assert not Refresh.objects.filter(pk=slot.pk).exists()
        assert list(Event.objects.values_list("callback_state", "called")) == [("done", None)]


@committed
def test_where_all_fail_the_rest_waits_and_nothing_is_lost(telling: type[Flow]) -> None:
    up = []

    def call(account: Any, source: Any, sink: Any) -> None:
        if not up:
            raise ConnectionError("the mail server is away")
        CALLED.append(account.pk)

    telling.event_callables = [call]
    telling.backoff = telling.backoff_cap = timedelta(hours=1)
    try:
        with declared(telling):
            Account.objects.bulk_create([Account(state="a") for _ in range(30)])
            Account.objects.update(state="b")
            assert drained() == ["ev_telling"]
            assert Event.objects.filter(callback_state="failed").count() == 10
            assert Refresh.objects.get(key="!events:ev_telling").attempts == 1
            up.append(True)
            sql("UPDATE kck_refresh SET due_at = now(), retry_at = NULL WHERE key LIKE '!events:%'")
            assert drained() == []
            assert sorted(CALLED) == sorted(Account.objects.values_list("pk", flat=True))
    finally:
        telling.backoff = telling.backoff_cap = timedelta(0)


@pytest.mark.django_db
def test_in_a_test_case_they_are_called_by_run_worker(telling: type[Flow]) -> None:
    telling.event_callables = [lambda account, source, sink: CALLED.append(account.pk)]
    with declared(telling):
        one = Account.objects.create(state="a")
        Account.objects.update(state="b")
        assert drained() == []
        assert [*CALLED] == [one.pk]
        sql("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks to come cannot be altered


def dies(account: Any, source: Any, sink: Any) -> None:
    """Written down in the caller's transaction; the second account takes its process along."""
    Account.objects.filter(pk=account.pk).update(note=account.note + "called ")
    if account.plan == "deadly" and os.environ.get("KCK_DEADLY"):
        stop_at("called")
        os.kill(os.getpid(), signal.SIGKILL)


def work() -> list[str]:
    Telling.event_callables = [dies]
    with registered(*STOCKS, Telling):
        return drained()


@committed
def test_a_worker_that_is_killed_leaves_its_events_to_another_who_begins_with_the_deadly_one_apart(
    telling: type[Flow], crew: Crew
) -> None:
    telling.event_callables = [dies]
    with declared(telling):
        Account.objects.bulk_create([Account(state="a", plan=plan) for plan in ("x", "deadly", "y")])
        for one in Account.objects.order_by("pk"):
            Account.objects.filter(pk=one.pk).update(state="b")
        child = crew.spawn(work, env={"KCK_DEADLY": "1"})
        child.wait_for("called")
        child.go("called")
        with pytest.raises(Ended):
            child.result()
        notes = dict(Account.objects.values_list("plan", "note"))
        assert notes == {"x": "called ", "deadly": "", "y": ""}
        sql("UPDATE kck_refresh SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL")
        assert drained() == []
        # What was committed with its note was not called again.
        assert set(Account.objects.values_list("note", flat=True)) == {"called "}
        assert not Event.objects.exists()
        assert registry.primers["ev_telling"]
