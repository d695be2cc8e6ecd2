"""Processes, and books that balance. Rows 109, 110, 116, 123, 132, 136."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.template import Context, Template
from django.utils import timezone

from kck_flow import Cache, Facet, Flow, ModelParameter, Process, Stock
from kck_flow.cache import counted
from kck_flow.cache import counted as reading
from kck_flow.changes import books, triggers
from kck_flow.changes.tables import OPERATIONS
from kck_flow.registry import registry
from kck_flow.store import generations
from kck_flow.store.session import caller
from kck_flow.testing import registered
from tests.accounts.models import Account, Branch
from tests.accounts.primers import Closed, Converting, Paying, SigningUp, Trial
from tests.counting.conftest import Session, equal, fold, primed, rolled_back, sql
from tests.harness.wait import until

committed = pytest.mark.django_db(transaction=True)


class BackAgain(Flow):
    """Closed accounts that open again, as whatever."""

    key_base, sources, sinks = "back_again", [Closed], [Trial, Paying]
    facets = [Facet("plan")]


class GivingUp(Flow):
    key_base, sources, sinks = "giving_up", [Trial], [Closed]
    facets = [Facet("plan")]


class Stopping(Flow):
    key_base, sources, sinks = "stopping", [Paying], [Closed, Trial]
    facets = [Facet("plan")]


class Vanishing(Flow):
    key_base, sources, sinks = "vanishing", [Trial, Paying, Closed], [None]


class Appearing(Flow):
    key_base, sources, sinks = "appearing", [None], [Closed]


class Subscriptions(Process):
    """Accounts, from the first day to the last."""

    key_base = "subscriptions"
    stocks = [Trial, Paying, Closed]
    flows = [SigningUp, Converting, GivingUp, Stopping, BackAgain, Vanishing, Appearing]
    complete = True


class Funnel(Process):
    """Trials that become paying: not all that moves them."""

    key_base = "funnel"
    stocks, flows = [Trial, "paying"], [SigningUp, "converting"]


ALL = [BackAgain, GivingUp, Stopping, Vanishing, Appearing, Subscriptions, Funnel]


@pytest.fixture
def processes(transactional_db: None) -> Iterator[None]:
    with registered(*ALL):
        triggers.install("default")
        yield
    triggers.install("default")


def check(capsys: pytest.CaptureFixture[str], *names: str) -> tuple[int, str]:
    try:
        call_command("kck", "check", "--balance", *names)
    except SystemExit as ended:
        return int(str(ended.code)), capsys.readouterr().out
    return 0, capsys.readouterr().out


def rows(capsys: pytest.CaptureFixture[str], *names: str) -> dict[tuple[str | None, str | None], Any]:
    with suppress(SystemExit):
        call_command("kck", "check", "--balance", *names, "--format", "json")
    return {(row["process"], row["stock"]): row for row in json.loads(capsys.readouterr().out)}


@contextmanager
def unseen() -> Iterator[None]:
    """Triggers off, and the capture as it was before, as far as anybody can tell."""
    sql("ALTER TABLE accounts_account DISABLE TRIGGER USER")
    yield
    for operation in OPERATIONS:
        sql(f"ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_{operation}")
    for generation, _, relation, found, *_ in generations.in_force(caller("default")):
        flow = found["kind"] == "flow"
        captured = generations.captured_by(caller("default"), relation, generation, flow=flow)
        sql("UPDATE kck_generation SET captured = %s WHERE generation = %s", captured, generation)
    counted.forget()


def test_an_existing_table_begins_with_its_opening_balance_row_136(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.bulk_create([Account(state=state, plan="pro") for state in ("trial", "trial", "active")])
    code, said = check(capsys, "subscriptions")
    assert code == 0
    assert "! subscriptions, trial: its book is not open yet" in said
    cache.refresh("subscriptions")
    told = cache.get("subscriptions")
    assert {name: (one["opening"], one["in"], one["out"], one["count"]) for name, one in told["stocks"].items()} == {
        "trial": (2, 0, 0, 2), "paying": (1, 0, 0, 1), "closed": (0, 0, 0, 0),
    }  # fmt: skip
    Account.objects.filter(state="trial").update(state="active")
    Account.objects.create(state="trial")
    Account.objects.filter(pk=Account.objects.filter(state="active").first().pk).delete()  # type: ignore[union-attr]
    for _ in range(2):  # folded or not
        told = cache.get("subscriptions")
        assert {
            name: (one["opening"], one["in"], one["out"], one["count"])
            for name, one in told["stocks"].items()
        } == {"trial": (2, 1, 2, 1), "paying": (1, 2, 1, 2), "closed": (0, 0, 0, 0)}
        assert told["balanced"] is True
        code, said = check(capsys, "subscriptions")
        assert code == 0, said
        assert "✓ subscriptions, trial: 2 + 1 in − 2 out = 1 (since" in said
        assert "1 process: 1 balanced, 0 with a rest or skipped, 0 not balanced." in said
        fold()
    assert cache.get_many(["subscriptions"])["subscriptions"]["stocks"] == told["stocks"]
    assert cache.get_entry("subscriptions").state == "fresh"
    assert cache.is_set("subscriptions")
    assert cache.explain("subscriptions")["state"] == "fresh"


def test_a_row_changed_around_the_triggers_is_named_and_a_count_corrects_the_book_row_110(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.bulk_create([Account(state="trial", plan="pro") for _ in range(4)])
    cache.refresh("subscriptions")
    one = Account.objects.create(state="trial", plan="free")
    assert check(capsys)[0] == 0
    with unseen():
        Account.objects.filter(pk=one.pk).update(state="closed", plan="gone")
    code, said = check(capsys)
    assert code == 1
    assert "✗ trial: holds 5, its rows say 4" in said
    assert "✗ trial of plan 'free': holds 1, its rows say 0" in said
    assert f"✗ closed of plan 'gone': holds 0, its rows say 1\n    these rows: {one.pk}\n" in said
    # The flows and what the stock holds agree, and neither has seen it.
    assert "✓ subscriptions, trial: 4 + 1 in − 0 out = 5" in said
    told = rows(capsys, "closed")
    assert (told[None, "closed"]["rows"], told[None, "closed"]["state"]) == ([one.pk], "different")
    for name in ("trial", "closed"):
        call_command("kck", "refresh", name)
    capsys.readouterr()
    code, said = check(capsys, "subscriptions")
    assert code == 0, said
    assert "✓ subscriptions, trial: 4 + 1 in − 0 out − 1 corrected = 4" in said
    assert "✓ subscriptions, closed: 0 + 0 in − 0 out + 1 corrected = 1" in said
    assert "corrected by a count" in said
    told = cache.get("subscriptions")["stocks"]["closed"]
    assert (told["corrected"], told["uncounted"], told["count"]) == (1, 0, 1)
    # A count that finds nothing new corrects nothing.
    cache.refresh("subscriptions")
    assert cache.get("subscriptions")["stocks"]["closed"] == told
    Account.objects.filter(pk=one.pk).update(state="active", plan="pro")
    assert check(capsys)[0] == 0


def test_a_truncate_is_corrected_by_the_next_count(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.bulk_create([Account(state="trial") for _ in range(4)])
    cache.refresh("subscriptions")
    sql("TRUNCATE accounts_account CASCADE")
    code, said = check(capsys, "subscriptions")
    assert code == 1
    assert "✗ trial: something happened that no trigger can tell" in said
    cache.refresh("subscriptions")
    code, said = check(capsys, "subscriptions")
    assert code == 0, said
    call_command("kck", "refresh", "subscriptions")
    call_command("kck", "get", "subscriptions")
    assert '"corrected":-4' in capsys.readouterr().out
    assert "4 + 0 in − 0 out − 4 corrected = 0" in said


def test_a_transition_that_no_flow_of_it_counts_is_uncounted_or_wrong_where_it_says_complete(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.refresh("subscriptions")
    Account.objects.bulk_create([Account(state="trial") for _ in range(3)])
    Account.objects.filter(pk=Account.objects.first().pk).update(state="closed")  # type: ignore[union-attr]
    code, said = check(capsys, "funnel", "subscriptions")
    assert code == 0, said
    assert "! funnel, trial: 0 + 3 in − 0 out − 1 uncounted = 2" in said
    assert "✓ subscriptions, trial: 0 + 3 in − 1 out = 2" in said
    told = cache.get("funnel")
    assert (told["stocks"]["trial"]["uncounted"], told["balanced"]) == (-1, False)
    Funnel.complete = True
    try:
        code, said = check(capsys, "funnel")
    finally:
        Funnel.complete = False
    assert code == 1
    assert "✗ funnel, trial: 0 + 3 in − 0 out − 1 uncounted = 2, off by -1" in said


def test_a_flow_that_is_new_opens_the_book_anew_and_one_that_is_less_leaves_it(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wandering(Flow):
        key_base, sources, sinks = "wandering", [Paying], [None]

    cache.refresh("subscriptions")
    opened = dict(sql("SELECT key_base, opened_at FROM kck_book"))
    Account.objects.create(state="active")
    with registered(Wandering):
        triggers.install("default")
        again = dict(sql("SELECT key_base, opened_at FROM kck_book"))
        assert again["paying"] > opened["paying"]
        assert again["closed"] == opened["closed"]
        assert check(capsys, "subscriptions")[0] == 0
        assert cache.get("subscriptions")["stocks"]["paying"]["opening"] == 1
    # Old code, whose flows are fewer, reads the same book.
    triggers.install("default")
    cache.refresh("paying")
    assert dict(sql("SELECT key_base, opened_at FROM kck_book"))["paying"] == again["paying"]
    assert check(capsys, "subscriptions")[0] == 0


@pytest.mark.once("newest")
@pytest.mark.parametrize(("seed", "cut"), [(1, False), (2, False), (3, True), (4, True)])
def test_books_balance_in_every_snapshot_while_writers_folds_and_counts_run_row_109(
    processes: None,
    cache: Cache,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    cut: bool,
) -> None:
    if cut:
        monkeypatch.setattr("kck_flow.cache.recount.CUT_ROWS", -2)
        monkeypatch.setattr("kck_flow.cache.recount.CUT_SECONDS", -1)
    Account.objects.bulk_create([Account(state="trial", plan="abc"[n % 3]) for n in range(60)])
    cache.refresh("subscriptions")
    stop, errors = threading.Event(), []

    def running(work: Callable[[random.Random], None], seed: int) -> threading.Thread:
        def loop() -> None:
            pick = random.Random(seed)
            try:
                while not stop.is_set():
                    work(pick)
            except BaseException as error:
                errors.append(error)
            finally:
                connection.close()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        return thread

    def write(pick: random.Random) -> None:
        keys = list(Account.objects.values_list("pk", flat=True))
        some = sorted(pick.sample(keys, min(len(keys), pick.randint(0, 5))))
        state, plan = pick.choice(["trial", "active", "closed", "odd"]), pick.choice(["a", "b", None])
        with transaction.atomic():
            list(Account.objects.filter(pk__in=some).order_by("pk").select_for_update())
            match pick.randint(0, 5):
                case 0:
                    Account.objects.bulk_create([Account(state=state, plan=plan) for _ in range(3)])
                case 1:
                    Account.objects.filter(pk__in=some[:2]).delete()
                case 2:
                    Account.objects.filter(pk__in=some).update(plan=plan)
                case 3:
                    with rolled_back():
                        Account.objects.filter(pk__in=some).update(state=state)
                case _:
                    Account.objects.filter(pk__in=some).update(state=state, plan=plan)

    def tend(pick: random.Random) -> None:
        fold()
        if not pick.randint(0, 3):
            cache.refresh(pick.choice(["trial", "paying", "closed"]))

    threads = [running(write, seed * 10 + n) for n in range(3)] + [running(tend, seed)]
    try:
        for number in range(12):
            if number % 3 == 2:  # opened in the midst of it
                sql("DELETE FROM kck_book WHERE key_base = 'trial'")
                until(lambda: _open("trial"), "the book to be opened")
            told = cache.get("subscriptions")
            assert told["balanced"], told
            assert all(not one["corrected"] for one in told["stocks"].values()), told
            code, said = check(capsys, "subscriptions")
            assert code == 0, said
            by_plan = cache.picture("subscriptions", facet="plan")
            for one in by_plan["stocks"].values():
                for name in ("opening", "count"):
                    assert sum(row[name] for row in one["facets"].values()) == one[name]
    finally:
        stop.set()
        for thread in threads:
            thread.join(30.0)
    assert not errors
    equal("trial", "paying", "closed")
    assert check(capsys)[0] == 0


def test_a_book_is_opened_between_what_an_open_transaction_did_and_its_commit(
    processes: None, cache: Cache, sessions: Callable[[], Session], capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.bulk_create([Account(state="trial") for _ in range(3)])
    writer = sessions()
    writer.sql("BEGIN")
    writer.sql("UPDATE accounts_account SET state = 'active'")
    cache.refresh("subscriptions")
    assert cache.get("subscriptions")["stocks"]["trial"]["opening"] == 3
    writer.sql("COMMIT")
    told = cache.get("subscriptions")["stocks"]
    assert [(one["opening"], one["in"], one["out"], one["count"]) for one in told.values()] == [
        (3, 0, 3, 0), (0, 3, 0, 3), (0, 0, 0, 0),
    ]  # fmt: skip
    assert check(capsys, "subscriptions")[0] == 0


def test_what_moves_between_facet_values_is_told_and_comes_to_nothing(processes: None, cache: Cache) -> None:
    class Free(Flow):
        key_base, sources, sinks, facets = "freeing", [None], [Trial], [Facet("plan")]

    class Small(Process):
        key_base, stocks, flows = "small_process", [Trial], [Free, GivingUp]

    with registered(Free, Small):
        triggers.install("default")
        Account.objects.bulk_create([Account(state="trial", plan="a") for _ in range(3)])
        cache.refresh("small_process")
        Account.objects.bulk_create([Account(state="trial", plan=plan) for plan in ("a", "b", None)])
        first = Account.objects.order_by("pk")[0]
        Account.objects.filter(pk=first.pk).update(plan="b")  # moved
        Account.objects.filter(plan="b").exclude(pk=first.pk).update(state="closed")
        told = cache.picture("small_process", facet="plan")
        names = ("opening", "in", "out", "moved", "count")
        assert {
            value: tuple(row[name] for name in names)
            for value, row in told["stocks"]["trial"]["facets"].items()
        } == {"a": (3, 1, 0, -1, 3), "b": (0, 1, 1, 1, 1), None: (0, 1, 0, 0, 1)}
        # As its count: since the opening, and not since it is captured.
        assert told["flows"]["freeing"]["facets"] == {"a": 1, "b": 1, None: 1}
        assert told["flows"]["freeing"]["count"] == 3
        # Of flows with several sinks it is not known by plan how much each won.
        by_plan = cache.picture("subscriptions", facet="plan")["stocks"]["trial"]["facets"]["a"]
        assert (by_plan["in"], by_plan["moved"], by_plan["count"]) == (None, None, 3)
        with pytest.raises(ValueError, match="Nothing in 'small_process' has a facet 'colour'"):
            cache.picture("small_process", facet="colour")
    triggers.install("default")


def test_a_period_its_steps_rates_and_conversion_rows_116_132(processes: None, cache: Cache) -> None:
    class Joining(Flow):
        key_base, sources, sinks, at, window = "joining_in", [None], [Trial], "joined_at", "day"
        tz = "UTC"

    class Buying(Flow):
        key_base, sources, sinks, at, window = "buying", [Trial], [Paying], "joined_at", "day"
        tz = "UTC"

    class Sales(Process):
        key_base, stocks, flows = "sales", [Trial, Paying], [Joining, Buying]

    day = datetime(2026, 3, 1, tzinfo=UTC)
    with registered(Joining, Buying, Sales):
        triggers.install("default")
        Account.objects.bulk_create([Account(state="trial", joined_at=day) for _ in range(10)])
        cache.refresh("sales")
        # Its books cannot have been open then, but for the test.
        sql("UPDATE kck_book SET opened_at = '2026-03-01Z'")
        sql("UPDATE kck_generation SET made_at = '2026-03-01Z'")
        third = day + timedelta(days=2)
        Account.objects.bulk_create([Account(state="trial", joined_at=third) for _ in range(4)])
        some = Account.objects.filter(joined_at=day).values("pk")[:5]
        Account.objects.filter(pk__in=some).update(state="active", joined_at=third + timedelta(hours=7))
        cache.get("sales")
        with connection.execute_wrapper(counting_queries := _Queries()):
            told = cache.picture("sales", third, third + timedelta(days=2), by="day")
        assert counting_queries.asked <= 3
        assert told["stocks"]["trial"] | {"since": 0} == {
            "opening": 10, "in": 4, "out": 5, "corrected": 0, "uncounted": 0, "count": 9, "since": 0,
        }  # fmt: skip
        assert (told["flows"]["buying"]["rate"], told["flows"]["buying"]["conversion"]) == (0.5, 1.25)
        assert told["flows"]["joining_in"]["rate"] is None
        steps = told["steps"]
        assert [one["start"] for one in steps] == [third, third + timedelta(days=1)]
        assert steps[0]["stocks"]["trial"] == {
            "opening": 10, "in": 4, "out": 5, "net": -1, "count": 9, "by_flow": {"joining_in": 4, "buying": -5},
        }  # fmt: skip
        assert steps[1]["stocks"]["paying"] == {
            "opening": 5, "in": 0, "out": 0, "net": 0, "count": 5, "by_flow": {"buying": 0},
        }  # fmt: skip
        assert all(
            sum(one["by_flow"].values()) == one["net"] for step in steps for one in step["stocks"].values()
        )
        assert steps[0]["flows"]["buying"] == {"count": 5, "rate": 0.5, "conversion": 1.25}
        assert steps[1]["flows"]["buying"] == {"count": 0, "rate": 0.0, "conversion": None}
        # What is before its books is not known, and no zero.
        early = cache.picture("sales", day - timedelta(days=5), third)["stocks"]["trial"]
        assert (early["opening"], early["uncounted"], early["count"]) == (None, None, 10)
        with pytest.raises(
            ValueError, match="is within a window of 'joining_in', which begins 2026-03-03T00:00:00"
        ):
            cache.picture("sales", third + timedelta(hours=1))
        with pytest.raises(ValueError, match="say from when on"):
            cache.picture("sales", by="day")
        # Once something moved that no flow counts, what it held in between is not known.
        Account.objects.filter(state="active").delete()
        assert cache.picture("sales", third)["stocks"]["paying"]["opening"] is None
        assert cache.picture("sales", third)["stocks"]["trial"]["opening"] == 10
    triggers.install("default")


def _open(name: str) -> bool:
    stock = registry.primers[name]
    assert isinstance(stock, Stock)
    return books.open_book(stock, "default") or sql(
        "SELECT count(*) FROM kck_book WHERE key_base = %s", name
    ) == [(1,)]


class _Queries:
    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, execute: Any, *given: Any) -> Any:
        self.asked += 1
        return execute(*given)


def test_a_process_is_asked_for_on_the_command_line(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.create(state="trial", plan="x")
    cache.refresh("subscriptions")
    Account.objects.update(state="active")
    call_command("kck", "process", "subscriptions", "--facet", "plan")
    said = capsys.readouterr().out
    assert "OPENING" in said
    assert "converting →" in said
    assert "──converting 1──▶ [paying 1" in said.partition("OPENING")[0], "the picture comes first"
    assert "when its books were opened: it balances." in said
    call_command("kck", "process", "subscriptions", "--format", "json")
    told = json.loads(capsys.readouterr().out)
    assert (told["stocks"]["trial"]["opening"], told["flows"]["converting"]["rate"]) == (1, 1.0)
    Account.objects.bulk_create([Account(state="active"), Account(state="active", plan="")])
    call_command("kck", "process", "subscriptions", "--facet", "plan", "--format", "json")
    told = json.loads(capsys.readouterr().out)
    assert {value: row["count"] for value, row in told["stocks"]["paying"]["facets"].items()}["x"] == 1
    call_command("kck", "process", "subscriptions", "--facet", "plan", "--format", "csv")
    assert ",stock,paying,x," in capsys.readouterr().out
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    call_command(
        "kck", "process", "subscriptions", "--from", now.isoformat(), "--by", "hour", "--format", "csv"
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("process,start,end,kind,name")
    assert len(lines) >= 1 + 2 * 10
    with timezone.override("Asia/Kathmandu"):  # a quarter of an hour beside any other zone
        call_command("kck", "process", "subscriptions", "--from", now.isoformat(), "--by", "hour")
        said, began = capsys.readouterr().out, f"{timezone.localtime(now):%Y-%m-%d %H:%M}"
    assert f"\n{began}" in said
    assert f"Since {began} +0545: it balances." in said or f"Since {began} +0545: not all" in said
    with pytest.raises(CommandError, match="is within a window of"):
        call_command("kck", "process", "subscriptions", "--from", (now + timedelta(minutes=3)).isoformat())
    with pytest.raises(CommandError, match="'trial' is no process"):
        call_command("kck", "process", "trial")


@pytest.mark.django_db
def test_in_a_test_case_the_books_are_the_tests_own(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    Account.objects.create(state="trial")
    for name in ("trial", "paying"):
        cache.refresh(name)
    Account.objects.update(state="active")
    assert sql("SELECT count(*) FROM kck_book") == [(2,)]
    assert check(capsys, "trial", "paying")[0] == 0


@committed
def test_a_process_with_parameters_balances_for_each_key(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    branch = [ModelParameter("branch", Branch, field="branch_id")]

    class Here(Stock):
        key_base, model, members, parameters = "branch_here", Account, Q(state="active"), branch

    class Coming(Flow):
        key_base, sources, sinks, parameters = "branch_coming", [None], [Here], branch

    class Going(Flow):
        key_base, sources, sinks, parameters = "branch_going", [Here], [None], branch

    class Branches(Process):
        key_base, stocks, flows, parameters, complete = "branches", [Here], [Coming, Going], branch, True

    with registered(Here, Coming, Going, Branches):
        triggers.install("default")
        Branch.objects.bulk_create([Branch(pk=pk, name=str(pk)) for pk in (1, 2)])
        Account.objects.bulk_create([Account(state="active", branch_id=pk) for pk in (1, 1, 2, None)])
        cache.refresh("branches/1")
        Account.objects.filter(branch_id=1).update(branch_id=2)
        Account.objects.filter(branch_id=None).update(branch_id=1)
        Account.objects.create(state="active", branch_id=None)
        told = {
            key: cache.get(key)["stocks"]["branch_here"] for key in ("branches/1", "branches/2", "branches/3")
        }
        assert [(one["opening"], one["in"], one["out"], one["count"]) for one in told.values()] == [
            (2, 1, 2, 1), (1, 2, 0, 3), (0, 0, 0, 0),
        ]  # fmt: skip
        code, said = check(capsys, "branches")
        assert code == 0, said
        assert "✓ branches, branch_here: 3 + 3 in − 2 out = 4" in said
        sql("UPDATE kck_opening SET n = n + 1 WHERE flow = 0 AND args = '{\"branch\": 2}'")
        code, said = check(capsys, "branches")
        assert code == 1
        assert "✗ branches, branch_here/2: 2 + 2 in − 0 out − 1 uncounted = 3, off by -1" in said
    triggers.install("default")


@committed
def test_rows_in_two_stocks_are_told_unless_that_is_meant(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    class Vip(Stock):
        key_base, model, members = "vips_of_all", Account, Q(vip=True)

    class Both(Process):
        key_base, stocks, flows = "both_of_them", [Trial, Vip], [SigningUp]

    with registered(Vip, Both):
        triggers.install("default")
        cache.refresh("both_of_them")
        one = Account.objects.create(state="trial", vip=True)
        code, said = check(capsys, "both_of_them")
        assert code == 1
        assert f"✗ both_of_them: 1 row is in more than one of its stocks: {one.pk}" in said
        Both.overlapping = True
        assert check(capsys, "both_of_them")[0] == 0
    triggers.install("default")


@committed
def test_a_long_recount_corrects_the_book_too(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kck_flow.cache.recount.CUT_ROWS", -2)
    monkeypatch.setattr("kck_flow.cache.recount.CUT_SECONDS", -1)
    Account.objects.bulk_create([Account(state="trial", plan="a") for _ in range(3)])
    cache.refresh("subscriptions")
    Account.objects.create(state="trial", plan="b")
    with unseen():
        Account.objects.filter(plan="b").update(state="closed")
    cache.refresh("subscriptions")
    code, said = check(capsys, "subscriptions")
    assert code == 0, said
    assert "✓ subscriptions, trial: 3 + 1 in − 0 out − 1 corrected = 3" in said
    assert sql("SELECT count(*) FROM kck_opening WHERE side = 3") == [(0,)]


@committed
def test_two_sub_states_of_one_row_move_and_balance_by_themselves_row_124(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    class Plain(Stock):
        key_base, model, members = "sub_plain", Account, Q(vip=False)

    class Special(Stock):
        key_base, model, members = "sub_special", Account, Q(vip=True)

    class Rising(Flow):
        key_base, sources, sinks = "sub_rising", [Plain, None], [Special]

    class Coming(Flow):
        key_base, sources, sinks = "sub_coming", [None], [Plain]

    class Care(Process):
        key_base, stocks, flows = "sub_care", [Plain, Special], [Rising, Coming]

    with registered(Plain, Special, Rising, Coming, Care):
        assert [found for found in run_checks(tags=["kck"]) if "sub_" in found.msg] == []
        triggers.install("default")
        cache.refresh("sub_care")
        for name in ("trial", "paying"):
            cache.refresh(name)
        one = Account.objects.create(state="trial")
        before = cache.get("converting")["value"]
        one.state, one.vip = "active", True
        one.save()
        assert cache.get("converting")["value"] - before == 1
        told = cache.get("sub_care")
        assert [(row["in"], row["out"], row["count"]) for row in told["stocks"].values()] == [
            (1, 1, 0),
            (1, 0, 1),
        ]
        assert told["flows"]["sub_rising"]["count"] == 1
        assert told["balanced"]
        assert check(capsys)[0] == 0
        page = Template(
            "{{ p.stocks.sub_plain.in }}/{{ p.stocks.sub_special.count }}/{{ p.flows.sub_rising.count }}"
        )
        assert page.render(Context({"p": told})) == "1/1/1"
    triggers.install("default")


def test_facet_values_that_do_not_add_up_to_the_total_are_told(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.refresh("subscriptions")
    Account.objects.create(state="closed", plan="x")
    fold()
    assert check(capsys, "subscriptions")[0] == 0
    sql(
        "INSERT INTO kck_opening SELECT generation, 0, 0, args_digest, facet, value_digest, args, facet_value, 1 "
        "FROM kck_level WHERE facet = 1 AND start_at = '-infinity'"
    )
    code, said = check(capsys, "subscriptions")
    assert code == 1
    assert (
        "✗ subscriptions, closed: its values of plan add up to 1 + 1 − 0 = 1, in all it is 0 + 1 − 0 = 1"
        in said
    )


def test_a_book_is_not_opened_while_a_count_is_under_way(processes: None, cache: Cache) -> None:
    cache.refresh("trial")
    (generation,) = sql("SELECT generation FROM kck_generation WHERE key_base = 'trial' AND live")[0]
    sql("DELETE FROM kck_book")
    assert generations.fence(caller("default"), generation, 10**9)
    trial = registry.primers["trial"]
    assert isinstance(trial, Stock)
    # That count's snapshot may not see the book, and would not write into it what it corrects.
    assert not books.open_book(trial, "default")
    generations.unfence(caller("default"), generation, 10**9)
    assert books.open_book(trial, "default")
    assert not books.open_book(trial, "default")


def test_wrong_processes_are_told_by_the_checks(db: None) -> None:
    class Elsewhere(Stock):
        key_base, model = "branches_all", Branch

    class Partly(Stock):
        key_base, model, members, measure = "partly", Account, Q(state="odd"), Count("plan")

    class ToPartly(Flow):
        key_base, sources, sinks = "to_partly", [None], [Partly]

    class Abroad(Process):
        key_base, stocks, flows = "p_models", [Trial, Elsewhere], [SigningUp]

    class Unknown(Process):
        key_base, stocks, flows = "p_unknown", [Trial, "no_such"], [SigningUp]

    class NoFlow(Process):
        key_base, stocks, flows = "p_no_flow", [Trial], [Paying]

    class Twice(Process):
        key_base, stocks, flows = "p_twice", [Trial, Paying, Closed], [Converting, "converts_too"]

    class ConvertsToo(Flow):
        key_base, sources, sinks = "converts_too", [Trial, Closed], [Paying]

    class Keyed(Process):
        key_base, stocks, flows = "p_keyed", [Paying], ["branch_arrivals"]

    class Alike(Process):
        key_base, stocks, flows = "p_alike", [Paying, "alike"], [Converting]

    class AlikeStock(Stock):
        key_base, model, members = "alike", Account, Q(state="active")

    class Uncaptured(Process):
        key_base, stocks, flows = "p_uncaptured", [Trial, "abroad"], [SigningUp]

    class Younger(Stock):
        key_base, model, members = "younger", Account, Q(joined_at__gt=Now() - timedelta(days=30))

    class Timed(Process):
        key_base, stocks, flows = "p_timed", [Trial, Younger], [SigningUp]

    class Leaving(Process):
        key_base, stocks, flows = "p_partly", [Partly], [ToPartly]

    class Apart(Process):
        key_base, stocks, flows = "p_apart", [Closed], [SigningUp]

    class Empty(Process):
        key_base, stocks = "p_empty", [Trial]

    wrong = [Abroad, Unknown, NoFlow, Twice, Keyed, Alike, Uncaptured, Timed, Leaving, Apart, Empty]
    with registered(Elsewhere, Younger, Partly, ToPartly, ConvertsToo, AlikeStock, *wrong):
        told: dict[str, str] = {}
        for found in run_checks(tags=["kck"]):
            if found.id == "kck_flow.E011":
                told.setdefault(found.obj.rpartition(".")[2], found.msg)
    assert {name: text.partition(": ")[2] for name, text in told.items()} == {
        "Abroad": "its stocks count different models: 'trial' of accounts.Account, 'branches_all' of accounts.Branch.",
        "Unknown": "stocks names 'no_such', which is no stock.",
        "NoFlow": f"flows names {Paying!r}, which is no flow.",
        "Twice": "'converting' and 'converts_too' both count trial → paying.",
        "Keyed": "'branch_arrivals' has the parameters branch, the process none.",
        "Alike": "'paying' and 'alike' have the same members.",
        "Uncaptured": "one of its stocks or flows is not captured, because capture is None.",
        "Timed": "the rows of 'younger' come and go with time alone, which no flow sees.",
        "Leaving": "the measure of 'partly' leaves rows out that 'to_partly' moves.",
        "Apart": "the flow 'signing_up' moves none of its stocks.",
        "Empty": "it has no flows.",
    }
    assert registry.primers.get("p_empty") is None


def test_primed_stocks_without_flows_have_no_book(transactional_db: None) -> None:
    primed("everyone")
    assert sql("SELECT count(*) FROM kck_book WHERE key_base = 'everyone'") == [(0,)]


def test_before_the_books_were_open_nothing_is_known_and_that_is_no_number(
    processes: None, cache: Cache
) -> None:
    cache.refresh("subscriptions")
    Account.objects.create(state="trial")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    told = cache.picture("subscriptions", None, long_ago)
    for stock in told["stocks"].values():
        assert (stock["opening"], stock["in"], stock["out"], stock["count"]) == (None,) * 4
    assert {flow["count"] for flow in told["flows"].values()} == {None}
    assert told["balanced"] is None
    steps = cache.picture("subscriptions", long_ago, long_ago + timedelta(hours=2), by="hour")["steps"]
    assert {flow["count"] for step in steps for flow in step["flows"].values()} == {None}
    with pytest.raises(ValueError, match="is yet to come: a period begins in the past"):
        cache.picture("subscriptions", datetime(2090, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("how", ["triggers off", "invalidated"])
def test_a_process_is_not_called_balanced_whose_stock_is_worth_nothing(
    processes: None, cache: Cache, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    cache.refresh("subscriptions")
    if how == "invalidated":
        cache.invalidate("trial")
    else:
        sql("ALTER TABLE accounts_account DISABLE TRIGGER USER")
        Account.objects.create(state="trial", plan="unseen")
    code, said = check(capsys, "subscriptions")
    assert code == 1
    assert "! subscriptions, trial: what it holds is worth nothing until it is counted anew" in said
    assert "✓ subscriptions, trial" not in said
    if how == "triggers off":
        assert "✗ trial: holds 0, its rows say 1" in said
        reading.forget()  # for a second, what captured is believed
        told = cache.picture("subscriptions")["stocks"]["trial"]
        assert (told["in"], told["out"], told["count"]) == (None, None, 1)
        for operation in OPERATIONS:
            sql(f"ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_{operation}")
