"""The laws of counting, over random histories of three writers whose transactions overlap: 2 (folded = recounted), 3
(augmented = computed afresh), 4 (what a stock gained = what flowed in, less what flowed out, in total and by facet),
5 (facets add up), 7 (one record a period, or a reason), 9 (nothing that is needed is pruned).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.db.models import Q, Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kck_flow import Cache, Facet, Flow, On, Primer, Stock, every
from kck_flow.cache import counted as reading
from kck_flow.cache import recount
from kck_flow.changes import triggers
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account
from tests.accounts.primers import Closed, Paying, Trial
from tests.counting.conftest import Session, at_rest, counted, fold, primed, sql

committed = pytest.mark.django_db(transaction=True)
WRITERS = 3
PLANS, STATES = ("a", "b", ""), ("trial", "active", "closed", "odd")


class Cashed(Stock):
    """What trials hold, by plan and by points."""

    key_base, model, members, measure = "cashed_trials", Account, Q(state="trial"), Sum("balance")
    facets = [Facet("plan"), Facet("points"), Facet("plan") * Facet("points")]


class Entering(Flow):
    key_base, sources, sinks, facets = "entering_trial", [None, Paying, Closed], [Trial], [Facet("plan")]
    record_events = True


class Leaving(Flow):
    key_base, sources, sinks, facets = "leaving_trial", [Trial], [None, Paying, Closed], [Facet("plan")]


class Purse(Primer):
    """What all accounts hold, kept by what changes."""

    key_base, depends_on = "purse", [On(Account, then="augment", fields=["balance"])]

    def compute(self, key: Any) -> Any:
        return Account.objects.aggregate(total=Sum("balance"))["total"] or 0

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        return (
            value
            + sum(c.new.balance for c in changes if c.new)
            - sum(c.old.balance for c in changes if c.old)
        )


@pytest.fixture
def in_force(transactional_db: None) -> Iterator[None]:
    with registered(Cashed, Entering, Leaving, Purse):
        triggers.install("default")
        primed("trial", "cashed_trials", "active", "everyone")
        yield
    reading.forget()
    triggers.install("default")


# -- what writers do: one statement each, of one of three sessions, in or out of a transaction

INSERT = (
    "INSERT INTO accounts_account (state, plan, points, balance, vip, note) "
    "SELECT %s, %s, %s, %s, false, '' FROM generate_series(1, %s)"
)
SOME = "(SELECT id FROM accounts_account WHERE id %% 5 = %s ORDER BY id)"
balances = st.integers(-300, 300).map(lambda cents: cents / 100)
statements = st.one_of(
    st.tuples(
        st.just(INSERT),
        st.tuples(
            st.sampled_from(STATES), st.sampled_from(PLANS), st.integers(0, 2), balances, st.integers(1, 4)
        ),
    ),
    st.tuples(
        st.just(f"UPDATE accounts_account SET state = %s WHERE id IN {SOME}"),
        st.tuples(st.sampled_from(STATES), st.integers(0, 4)),
    ),
    st.tuples(
        st.just(
            f"UPDATE accounts_account SET points = 2 - points, balance = balance + %s WHERE id IN {SOME}"
        ),
        st.tuples(balances, st.integers(0, 4)),
    ),
    st.tuples(
        st.just(f"UPDATE accounts_account SET state = %s, points = 1, balance = 1 WHERE id IN {SOME}"),
        st.tuples(st.sampled_from(STATES), st.integers(0, 4)),
    ),
    st.tuples(st.just(f"DELETE FROM accounts_account WHERE id IN {SOME}"), st.tuples(st.integers(0, 4))),
    st.tuples(st.just("UPDATE accounts_account SET note = 'x'"), st.just(())),
)
ends = st.sampled_from(
    [
        *("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE"),
        *("SAVEPOINT one", "ROLLBACK TO SAVEPOINT one", "COMMIT", "COMMIT", "ROLLBACK"),
    ]
)
steps = st.one_of(
    st.tuples(st.integers(0, WRITERS - 1), statements),
    st.tuples(st.integers(0, WRITERS - 1), ends.map(lambda text: (text, ()))),
    st.tuples(st.just("fold"), st.integers(0, 1)),
    st.tuples(st.just("count"), st.sampled_from(["trial", "cashed_trials", "everyone"])),
    st.tuples(st.just("cut"), st.sampled_from(["trial", "cashed_trials"])),
    st.tuples(st.just("prune"), st.just(0)),
    st.tuples(st.just("look"), st.just(0)),
)


class Told:
    """What the laws speak of, read in one snapshot: stocks, flows, and what the rows say."""

    def __init__(self) -> None:
        cache = Cache.get_instance()
        with transaction.atomic():
            sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.held = cache.get_many(["trial", "cashed_trials", "active", "everyone"])
            self.counted = {key: counted(key) for key in self.held}
            self.flows = cache.get_many(["entering_trial", "leaving_trial"])
            self.purse = cache.get("purse"), Account.objects.aggregate(total=Sum("balance"))["total"] or 0
            now = datetime.now(UTC)
            self.series = {
                key: sum(
                    point.value or 0
                    for point in cache.series(key, now - timedelta(hours=3), now + timedelta(hours=1))
                )
                for key in self.flows
            }

    def since(self, start: Told) -> None:
        """Fail unless the laws hold between two readings."""
        assert self.held == self.counted  # 2
        assert self.purse[0] == self.purse[1]  # 3
        for value in self.held.values():  # 5
            for by in value["facets"].values():
                assert sum(by.values()) == value["value"]
        came, went = (self.flowed(start, key) for key in ("entering_trial", "leaving_trial"))
        gained = _less(_all_of(self.held["trial"], "plan"), _all_of(start.held["trial"], "plan"))
        assert gained == _less(came, went)  # 4
        for key, value in self.flows.items():  # 9: windows are what they were, whatever was pruned
            assert self.series[key] - start.series[key] == value["value"] - start.flows[key]["value"]

    def flowed(self, start: Told, key: str) -> dict[Any, int]:
        return _less(_all_of(self.flows[key], "plan"), _all_of(start.flows[key], "plan"))


def _all_of(value: Any, facet: str) -> dict[Any, int]:
    return {("total",): value["value"], **value["facets"][facet]}


def _less(one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
    found = {key: one.get(key, 0) - other.get(key, 0) for key in {*one, *other}}
    return {key: number for key, number in found.items() if number}


def _count(base: str, long: bool) -> None:
    was = recount._takes_long
    recount._takes_long = lambda *_: long  # type: ignore[assignment]
    try:
        Cache.get_instance().refresh(base)
    finally:
        recount._takes_long = was


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(steps, min_size=5, max_size=30))
def test_the_laws_of_counting_hold_over_random_histories_laws_2_3_4_5_9(
    in_force: None, sessions: Callable[[], Session], history: list[Any]
) -> None:
    writers = [sessions() for _ in range(WRITERS)]
    for one in writers:
        # Who waits for another's row gives up, as a step of the history, and its transaction with it.
        one.sql("SET lock_timeout = '30ms'")
    start = Told()
    try:
        for who, what in history:
            if who == "fold":
                fold()
            elif who == "count" or who == "cut":
                _count(what, who == "cut")
            elif who == "prune":
                call_command("kck", "prune", "--events", "0d", verbosity=0)
            elif who == "look":
                Told().since(start)
            else:
                try:
                    writers[who].sql(what[0], *what[1])
                except DatabaseError:
                    with suppress(DatabaseError):
                        writers[who].sql("ROLLBACK")
        Told().since(start)
        for number, one in enumerate(writers):
            with suppress(DatabaseError):
                one.sql("COMMIT" if number else "ROLLBACK")
        Told().since(start)
        run_worker()
        Told().since(start)
    finally:
        for one in writers:
            with suppress(DatabaseError):
                one.sql("ROLLBACK")
            one.close()
        at_rest()


class Daily(Stock):
    """Active accounts by plan, a record an hour."""

    key_base, model, members, schedule = "hourly_active", Account, Q(state="active"), every(hours=1)
    facets = [Facet("plan")]


@pytest.mark.slow
@committed
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    history=st.lists(
        st.one_of(
            st.tuples(st.just("move"), st.integers(5, 150)),
            st.tuples(st.just("work"), st.just(0)),
            st.tuples(st.just("write"), st.integers(1, 5)),
            st.tuples(st.just("clear"), st.just(0)),
            st.tuples(st.just("prune"), st.just(0)),
        ),
        min_size=4,
        max_size=16,
    )
)
def test_each_period_has_one_record_or_is_a_gap_with_a_reason_law_7(
    transactional_db: None, history: list[Any]
) -> None:
    cache = Cache.get_instance()
    with registered(Daily), freeze_time(datetime(2031, 3, 1, 10, 30, tzinfo=UTC)) as clock:
        triggers.install("default")
        sql(
            "DELETE FROM kck_record WHERE key LIKE 'hourly_active%%'; DELETE FROM kck_refresh; DELETE FROM kck_run"
        )
        Account.objects.all().delete()
        primed("hourly_active")
        run_worker()
        begun = clock()
        held: dict[datetime, int] = {}
        value = 0
        for what, number in history:
            if what == "move":
                clock.move(minutes=number)
            elif what == "write":
                Account.objects.bulk_create(
                    [Account(state="active", plan="ab"[number % 2]) for _ in range(number)]
                )
                value += number
            elif what == "clear":
                Account.objects.all().delete()
                value = 0
            elif what == "prune":
                call_command("kck", "prune", "--product", "hourly_active", verbosity=0)
            else:
                run_worker()
                # Only the period whose instant is the last can be read of: what came before it is a gap.
                held.setdefault(clock().replace(minute=0, second=0, microsecond=0), value)
        run_worker()
        held.setdefault(clock().replace(minute=0, second=0, microsecond=0), value)
        rows = sql(
            "SELECT start_at, count(*), count(DISTINCT revision) FROM kck_record "
            "WHERE key = 'hourly_active' AND facet = '' GROUP BY start_at ORDER BY start_at"
        )
        assert all(number == 1 for _, number, _ in rows), rows  # one current record
        assert all(at.minute == at.second == at.microsecond == 0 for at, *_ in rows), rows
        recorded = {at for at, *_ in rows}
        assert {at for at in held if at > begun} == {at for at in recorded if at > begun}
        points = cache.series("hourly_active", begun, clock() + timedelta(hours=1))
        for point in points:
            if point.start in recorded and point.start > begun:
                assert point.value == held[point.start]
            elif point.value is not None:
                assert point.start <= begun or point.start > clock() - timedelta(hours=1)
    reading.forget()
    triggers.install("default")
