"""What is promised of counting, where no story of its own looks: rows 83, 101, 103, 109, 112, 114, 130."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Q

from kck_flow import Cache, Facet, Flow, Primer, Stock, every, scheduled
from kck_flow.cache import counted as reading
from kck_flow.changes import telling, triggers
from kck_flow.registry import registry
from kck_flow.store import levels
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.accounts.primers import COUNTRY, Paying, Trial
from tests.counting.conftest import Session, at_rest, counted, equal, fold, primed, sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _captured_again() -> Any:
    yield
    reading.forget()
    triggers.install("default")


# -- 83


class Staff(Primer):
    """A sentence made of a stock."""

    key_base = "sentence_of_active"

    def compute(self, key: Any) -> str:
        return f"{Cache.get_instance().get('active')['value']} are active"


def _copy() -> None:
    with connection.cursor() as cursor:
        raw = cursor.cursor
        given = "COPY accounts_account (state, vip, balance, points, note) FROM STDIN"
        if hasattr(raw, "copy_expert"):
            raw.copy_expert(given, io.StringIO("active\tf\t1\t0\t\n"))
        else:
            with raw.copy(given) as copy:
                copy.write("active\tf\t1\t0\t\n")


DOORS: dict[str, Callable[[], Any]] = {
    "save": lambda: Account(state="active").save(),
    "update": lambda: Account.objects.update(state="closed"),
    "bulk_create": lambda: Account.objects.bulk_create([Account(state="active") for _ in range(3)]),
    "bulk_update": lambda: Account.objects.bulk_update(
        [Account(pk=pk, state="closed") for pk in Account.objects.values_list("pk", flat=True)], ["state"]
    ),
    "raw SQL": lambda: sql("UPDATE accounts_account SET deleted_at = now() WHERE state = 'active'"),
    "COPY": _copy,
    "cascade": lambda: Branch.objects.all().delete(),
    "TRUNCATE": lambda: sql("TRUNCATE accounts_account"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_write_through_any_door_marks_what_is_derived_stale_after_the_commit_row_83(
    cache: Cache, door: str
) -> None:
    with registered(Staff):
        branch = Branch.objects.create(name="x")
        Account.objects.bulk_create([Account(state="active", branch=branch) for _ in range(2)])
        primed("active")
        run_worker()
        assert cache.get("sentence_of_active") == "2 are active"
        with transaction.atomic():
            DOORS[door]()
            transaction.set_rollback(True)
        assert _state() == "fresh"
        with transaction.atomic():
            DOORS[door]()
        # What no delta tells, a worker counts anew, and tells.
        assert door == "TRUNCATE" or _state() != "fresh"
        run_worker()
        assert cache.get("sentence_of_active") == f"{counted('active')['value']} are active"
        at_rest()


def _state() -> str:
    """Fold, as workers do; returns in what state the sentence is then."""
    session = caller("default")
    for generation, key_base in levels.foldable(session):
        telling.fold(session, generation, key_base, 1000)
    return str(Cache.get_instance().explain("sentence_of_active")["state"])


# -- 101, 103


def test_any_queryset_gives_the_right_number_a_join_and_distinct_too_rows_101_103(cache: Cache) -> None:
    class Busy(Stock):
        key_base, soft_expire, capture = "busy_branches", timedelta(minutes=1), None
        queryset = Branch.objects.filter(accounts__state="active").distinct()
        facets = [Facet("country")]

    class Unpaid(Stock):
        key_base, soft_expire, capture = "unpaid", timedelta(minutes=1), None
        queryset = Account.objects.exclude(branch__accounts__state="closed").filter(branch__country="DE")
        facets = [COUNTRY.through("branch"), Facet("joined", "joined_at__year")]

    one, two = Branch.objects.create(name="1", country="DE"), Branch.objects.create(name="2", country=None)
    at = datetime(2024, 12, 31, 23, 30, tzinfo=UTC)
    Account.objects.bulk_create([Account(state="active", branch=one, joined_at=at) for _ in range(3)])
    Account.objects.create(state="active", branch=two)
    Account.objects.create(state="closed", branch=two)
    with registered(Busy, Unpaid):
        assert cache.get("busy_branches") == {"value": 2, "facets": {"country": {"DE": 1, None: 1}}}
        assert cache.get("unpaid") == {"value": 3, "facets": {"country": {"DE": 3}, "joined": {2024: 3}}}
        assert (
            cache.get("busy_branches")["value"]
            == Branch.objects.filter(accounts__state="active").distinct().count()
        )
        assert cache.explain("busy_branches")["state"] == "fresh"


# -- 109


@pytest.mark.slow
def test_after_ten_thousand_random_writes_what_is_held_is_what_is_counted_row_109(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    keys = ("active", "everyone", "money", "branch_accounts/1", "holding/trial/1", "recent_money")
    Branch.objects.create(pk=1, name="1")
    primed(*(key for key in keys))
    over = threading.Event()

    def write(seed: int) -> int:
        pick = random.Random(seed)
        for number in range(2_500):
            pk = seed * 1_000_000 + pick.randint(1, 200)
            state, plan = pick.choice(["active", "trial", "closed"]), pick.choice(["a", "b", None])
            match pick.randint(0, 3):
                case 0:
                    sql(
                        "INSERT INTO accounts_account "
                        "(id, state, plan, vip, balance, points, note, branch_id, joined_at) "
                        "VALUES (%s, %s, %s, %s, %s, 1, '', 1, now()) ON CONFLICT (id) DO UPDATE SET points = 1",
                        *(pk, state, plan, number % 2 == 0, number % 17),
                    )
                case 1:
                    sql("DELETE FROM accounts_account WHERE id = %s", pk)
                case _:
                    sql(
                        "UPDATE accounts_account SET state = %s, plan = %s, balance = balance - 1 WHERE id = %s",
                        *(state, plan, pk),
                    )
        return 2_500

    writers = [sessions() for _ in range(4)]
    for seed, one in enumerate(writers, 1):
        one.tell(lambda seed=seed: write(seed))
    folder = sessions()
    folder.tell(lambda: [fold() for _ in iter(lambda: over.wait(0.02), True)])
    done = sum(one.answer(limit=300.0) for one in writers)
    over.set()
    folder.answer()
    assert done == 10_000
    for _ in range(2):
        equal(*keys[:-1])
        fold()


# -- 112


def test_members_are_walked_forward_and_back_while_rows_move_out_row_112(cache: Cache) -> None:
    Account.objects.bulk_create([Account(state="active", plan="pro") for _ in range(30)])
    there = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    forward, seen = cache.members("active", plan="pro"), []
    at = 0
    while (found := forward.filter(pk__gt=at).first()) is not None:
        at = found.pk
        seen.append(at)
        if len(seen) % 3 == 0:  # who was seen leaves, and the one after the next
            Account.objects.filter(pk__in=[at, at + 2]).update(state="closed")
    assert seen == sorted(set(seen))
    assert set(there) - set(seen) == {
        pk for pk in there if pk - 2 in seen and (seen.index(pk - 2) + 1) % 3 == 0
    }
    back = []
    at = there[-1] + 1
    while (found := forward.filter(pk__lt=at).last()) is not None:
        at = found.pk
        back.append(at)
    assert back == sorted(Account.objects.filter(state="active").values_list("pk", flat=True), reverse=True)


# -- 114


def test_members_older_than_thirty_days_move_from_hot_to_warm_and_the_flow_counts_them_row_114(
    cache: Cache,
) -> None:
    class Hot(Stock):
        key_base, model, members = "hot_accounts", Account, Q(state="hot")

    class Warm(Stock):
        key_base, model, members = "warm_accounts", Account, Q(state="warm")

    class Cooling(Flow):
        key_base, sources, sinks, window = "cooling_accounts", [Hot], [Warm], "day"

    with freeze_time(datetime(2031, 3, 1, 12, tzinfo=UTC)) as clock:

        @scheduled(every(hours=1), name="cool_accounts")
        def cool() -> int:
            old = Account.objects.filter(state="hot", joined_at__lt=clock() - timedelta(days=30))
            return old.update(state="warm")

        with registered(Hot, Warm, Cooling):
            triggers.install("default")
            Account.objects.bulk_create(
                [
                    Account(state="hot", joined_at=clock() - timedelta(days=age))
                    for age in (5, 28, 29, 31, 400)
                ]
            )
            primed("hot_accounts", "warm_accounts")
            run_worker()
            clock.move(hours=1)
            run_worker()
            assert [cache.get(key)["value"] for key in ("hot_accounts", "warm_accounts")] == [3, 2]
            clock.move(days=2)
            run_worker()
            assert [cache.get(key)["value"] for key in ("hot_accounts", "warm_accounts")] == [1, 4]
            assert cache.get("cooling_accounts")["value"] == 4
            equal("hot_accounts", "warm_accounts")
        registry.withdraw(type(registry.primers["cool_accounts"]))


# -- 130


def test_what_each_window_counts_is_the_count_of_its_events_row_130(cache: Cache) -> None:
    class Joining(Flow):
        key_base, sources, sinks, at = "joining_hourly", [None], [Trial, Paying], "joined_at"
        facets, record_events = [Facet("plan")], True

    with registered(Joining):
        triggers.install("default")
        sql("UPDATE kck_generation SET made_at = '2025-01-01Z' WHERE key_base = 'joining_hourly'")
        first, pick = datetime(2026, 3, 1, 20, tzinfo=UTC), random.Random(1)
        Account.objects.bulk_create(
            [
                Account(
                    state="trial",
                    plan=pick.choice("ab"),
                    joined_at=first + timedelta(minutes=pick.randint(0, 600)),
                )
                for _ in range(200)
            ]
        )
        for _ in range(2):
            for step, text in ((timedelta(hours=1), "hour"), (timedelta(days=1), "day")):
                points = cache.series("joining_hourly", first, first + timedelta(hours=10), by=text)
                told = dict(
                    sql(
                        f"SELECT date_trunc('{text}', at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC', count(*) "
                        "FROM kck_event WHERE key_base = 'joining_hourly' GROUP BY 1"
                    )
                )
                assert {point.start: point.value for point in points if point.value} == {
                    at: number for at, number in told.items() if at < first + timedelta(hours=10)
                }
                assert all(point.end - point.start == step for point in points)
            fold()
