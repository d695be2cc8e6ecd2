"""Stocks whose rows come and go with time alone: case 27, "younger than 30 days"; row 114 without a job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F, Q
from django.db.models.functions import Now

from kck_flow import Cache, Facet, IntegerParameter, Stock
from kck_flow.cache import counted as reading
from kck_flow.cache import recount
from kck_flow.changes import triggers
from kck_flow.definition import NotCaptured, definition
from kck_flow.store import levels
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account
from tests.counting.conftest import equal, fold, primed, sql

committed = pytest.mark.django_db(transaction=True)
DAYS = timedelta(days=1)


class Young(Stock):
    """Accounts that joined in the last thirty days, of any plan."""

    key_base = "young"
    model, members = Account, Q(joined_at__gt=Now() - 30 * DAYS, deleted_at=None)
    facets = [Facet("plan")]


class Scheduled(Stock):
    """Accounts that have not begun yet, by points."""

    key_base = "to_come"
    parameters = [IntegerParameter("points")]
    model, members = Account, Q(joined_at__gte=Now() + DAYS)


class Old(Stock):
    """Accounts of more than thirty days."""

    key_base = "of_age"
    model, members = Account, Q(joined_at__lt=Now() - 30 * DAYS)


@pytest.fixture
def in_force(transactional_db: None) -> Any:
    with registered(Young, Scheduled, Old) as primers:
        triggers.install("default")
        yield primers
    reading.forget()
    triggers.install("default")


@contextmanager
def travel(**by: float) -> Iterator[None]:
    """Have it that much later."""
    with freeze_time() as clock:
        clock.move(**by)
        yield


def of_age(days: float) -> datetime:
    return datetime.now(UTC) - days * DAYS


def held(key: str) -> int:
    return int(Cache.get_instance().get(key)["value"])


def test_27_the_clock_passes_a_birthday_and_nobody_writes(in_force: Any, cache: Cache) -> None:
    Account.objects.create(plan="pro", joined_at=of_age(29))
    primed("young", "of_age", "to_come/0")
    Account.objects.create(plan="pro", joined_at=of_age(10))
    Account.objects.create(plan="free", joined_at=of_age(-3))  # begins in three days
    Account.objects.create(joined_at=None)
    Account.objects.create(joined_at=of_age(400))
    equal("young", "of_age", "to_come/0")
    assert cache.get("young") == {"value": 3, "facets": {"plan": {"free": 1, "pro": 2}}}
    assert (held("of_age"), held("to_come/0")) == (1, 1)
    for folded in (False, True):
        with travel(days=1.5):
            assert (held("young"), held("of_age"), held("to_come/0")) == (2, 2, 1)
        with travel(days=2.5):
            assert held("to_come/0") == 0
        with travel(days=21):
            assert cache.get("young") == {"value": 1, "facets": {"plan": {"free": 1}}}
        with travel(days=40):
            assert (held("young"), held("of_age")) == (0, 4)
        assert folded or fold() > 0
    equal("young", "of_age", "to_come/0")


def test_at_the_very_instant_it_is_as_the_comparison_says(in_force: Any, cache: Cache) -> None:
    base = datetime(2030, 1, 1, tzinfo=UTC)
    Account.objects.create(joined_at=base)
    primed("young", "to_come/0")

    def at(instant: datetime, key: str) -> int:
        found = reading.counted(cache.build_key(*key.split("/")[:1], **({"points": 0} if "/" in key else {})))
        assert found is not None
        rows = sql(
            "SELECT coalesce(sum(n), 0)::int FROM kck_level WHERE generation = %s AND facet = 0 AND start_at <= %s",
            found[1].generation,
            instant,
        )
        return int(rows[0][0])

    tick = timedelta(microseconds=1)
    assert [at(base + 30 * DAYS + n * tick, "young") for n in (-1, 0, 1)] == [1, 0, 0]  # > now - 30 days
    assert [at(base - DAYS + n * tick, "to_come/0") for n in (-1, 0, 1)] == [1, 1, 0]  # >= now + 1 day


def test_what_has_come_about_is_gathered_and_stays_what_it_was(in_force: Any, cache: Cache) -> None:
    primed("young", "of_age")
    Account.objects.bulk_create(
        [Account(plan="pro", joined_at=of_age(29) + timedelta(minutes=n)) for n in range(50)]
    )
    fold()
    dated = (
        "SELECT count(*) FROM kck_level l JOIN kck_generation g USING (generation) WHERE g.key_base = 'young'"
    )
    before = sql(f"{dated} AND start_at > '-infinity'")[0][0]
    assert before >= 100
    with travel(days=1, minutes=25):
        young = cache.get("young")
        assert 20 < young["value"] < 30
        run_worker()
        after = sql(f"{dated} AND start_at > '-infinity'")[0][0]
        assert after < before / 2 + 10
        assert cache.get("young") == young
    with travel(days=2):
        assert (held("young"), held("of_age")) == (0, 50)


@pytest.mark.parametrize("long", [True, False])
def test_a_clock_that_was_set_back_a_little_brings_nothing_on_again(
    in_force: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    monkeypatch.setattr(recount, "_takes_long", lambda *_: long)
    Account.objects.create(joined_at=of_age(30) - timedelta(seconds=10))
    primed("young", "of_age")
    run_worker()
    assert (held("young"), held("of_age")) == (0, 1)
    with travel(seconds=-30):
        assert (held("young"), held("of_age")) == (1, 0)


def test_a_move_of_what_is_dated_takes_back_what_was_to_come(in_force: Any, cache: Cache) -> None:
    primed("young", "of_age")
    account = Account.objects.create(plan="pro", joined_at=of_age(29.5))
    fold()
    Account.objects.filter(pk=account.pk).update(joined_at=F("joined_at") + 20 * DAYS, plan="free")
    with travel(days=1):
        assert cache.get("young") == {"value": 1, "facets": {"plan": {"free": 1}}}
    Account.objects.filter(pk=account.pk).update(deleted_at=datetime.now(UTC))
    fold()
    assert held("young") == 0
    account.delete()
    fold()
    assert sql(
        "SELECT count(*) FROM kck_level l JOIN kck_generation g USING (generation) WHERE g.key_base = 'young'"
    ) == [(0,)]


def test_a_sum_comes_and_goes_with_its_rows(transactional_db: None, cache: Cache) -> None:
    primed("recent_money")
    Account.objects.create(state="active", plan="pro", balance=Decimal("2.50"), joined_at=datetime.now(UTC))
    Account.objects.create(state="active", balance=-1, joined_at=datetime.now(UTC) + timedelta(hours=1))
    assert cache.get("recent_money") == {
        "value": Decimal("2.50"),
        "facets": {"plan": {"pro": Decimal("2.50")}, "vip": {False: Decimal("2.50")}},
    }
    time.sleep(3)
    assert cache.get("recent_money") == {"value": Decimal(0), "facets": {"plan": {}, "vip": {}}}
    with travel(hours=1, seconds=-1):
        assert cache.get("recent_money")["value"] == -1


@pytest.mark.parametrize("long", [True, False])
def test_a_recount_keeps_what_is_to_come_and_the_books_are_compared_as_of_now(
    in_force: Any, cache: Cache, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    monkeypatch.setattr(recount, "_takes_long", lambda *_: long)
    Account.objects.bulk_create([Account(joined_at=of_age(days)) for days in (-1, 5, 29, 31)])
    primed("young")
    with travel(days=2):
        assert held("young") == 2
    _, found, alias = reading.counted(cache.build_key("young"))  # type: ignore[misc]
    differing: Callable[[], Any] = lambda: levels.drift(  # noqa: E731
        caller(alias), found.generation, found.recount(), 5, timed=True
    )
    assert differing() == []
    sql("UPDATE kck_level SET n = n + 1 WHERE facet = 0 AND start_at = '-infinity'")
    assert [one.held - one.counted for one in differing()] == [1]


def test_one_read_of_many_dates_what_it_holds(in_force: Any, cache: Cache) -> None:
    Account.objects.create(joined_at=of_age(29))
    primed("young", "of_age", "everyone")
    with travel(days=2):
        found = cache.get_many(["young", "of_age", "everyone"])
        assert [found[key]["value"] for key in ("young", "of_age", "everyone")] == [0, 1, 1]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        (Q(born_on__gt=Now() - 30 * DAYS), "only a DateTimeField"),
        (Q(joined_at__gt=Now() - 400_000 * DAYS), "may be none"),
        (~Q(joined_at__gt=Now() - DAYS), "changes without a write"),
        (Q(joined_at__gt=Now() - DAYS) | Q(plan="pro"), "changes without a write"),
        (Q(joined_at__gt=F("deleted_at") - DAYS), "may fail for some row"),
    ],
)
def test_what_cannot_be_dated_says_why(members: Q, why: str) -> None:
    class Wrong(Stock):
        key_base, model = "undatable", Account

    stock = Wrong()
    stock.members = members
    with pytest.raises(NotCaptured, match=why):
        definition(stock, "default")


def test_a_date_at_the_end_of_time_takes_no_write_with_it(in_force: Any, cache: Cache) -> None:
    primed("young", "of_age")
    Account.objects.bulk_create([Account(), Account()])
    for instant, account in zip(("infinity", "-infinity"), Account.objects.all(), strict=True):
        sql("UPDATE accounts_account SET joined_at = %s WHERE id = %s", instant, account.pk)
    assert (held("young"), held("of_age")) == (1, 1)
    sql("DELETE FROM accounts_account")
    assert (held("young"), held("of_age")) == (0, 0)
