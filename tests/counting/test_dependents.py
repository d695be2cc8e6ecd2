"""What is derived from stocks and flows is told when those change: by the fold, by a recount, and never in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from kck_flow import Cache, On, Primer, Stock, every
from kck_flow.cache.compute import Computation
from kck_flow.changes import telling, triggers
from kck_flow.refresh.passes import Passes
from kck_flow.store import levels
from kck_flow.store.session import caller
from kck_flow.testing import count_computes, freeze_time, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import Session, at_rest, primed, sql

committed = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO accounts_account (state, vip, points, balance, note) VALUES ('active', false, 0, 0, '')"


class Twice(Primer):
    """Reads a stock."""

    key_base = "twice_active"

    def compute(self, key: Any) -> Any:
        return 2 * Cache.get_instance().get("active")["value"]


class Thrice(Primer):
    """Reads what reads a stock."""

    key_base = "thrice_twice"

    def compute(self, key: Any) -> Any:
        return 3 * Cache.get_instance().get("twice_active")


class Declared(Primer):
    """Depends on a stock, which is refreshed."""

    key_base = "declared_active"
    depends_on = [On("active", then="refresh")]

    def compute(self, key: Any) -> Any:
        return Cache.get_instance().get("active")["value"]


class Branched(Primer):
    """Reads one branch of a stock."""

    key_base = "branched"

    def compute(self, key: Any) -> Any:
        first = Branch.objects.order_by("pk").first()
        return Cache.get_instance().get(f"branch_accounts/{first.pk}")["value"]


class Moves(Primer):
    """Reads a flow."""

    key_base = "moves"

    def compute(self, key: Any) -> Any:
        return Cache.get_instance().get("converting")["value"]


class MovesBySteps(Primer):
    """Reads what a flow counted, step by step."""

    key_base = "moves_by_steps"

    def compute(self, key: Any) -> Any:
        now = datetime.now(UTC)
        points = Cache.get_instance().series("converting", now - timedelta(hours=3), now)
        return sum(point.value or 0 for point in points)


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    with registered(Twice, Thrice, Declared, Branched, Moves, MovesBySteps):
        yield


def states(cache: Cache, *keys: str) -> list[str]:
    return [str(cache.explain(key)["state"]) for key in keys]


def fold_all() -> None:
    """Fold as a worker does."""
    session = caller("default")
    for generation, key_base in levels.foldable(session):
        telling.fold(session, generation, key_base, 1000)


def settled(cache: Cache, *keys: str) -> None:
    """Have everything computed, and nothing on its way."""
    run_worker()
    for key in keys:
        cache.refresh(key)
    at_rest()
    sql("DELETE FROM kck_pending")


@committed
@pytest.mark.parametrize("how", ["orm", "raw"])
def test_a_write_reaches_what_reads_the_stock_and_what_reads_that(
    transactional_db: None, cache: Cache, how: str
) -> None:
    primed("active")
    settled(cache, "twice_active", "thrice_twice", "declared_active")
    if how == "orm":
        Account.objects.create(state="active")
    else:
        sql(INSERT)
    assert (
        states(cache, "twice_active", "thrice_twice", "declared_active") == ["fresh"] * 3
    )  # until it is folded
    with count_computes() as computes:
        ran = run_worker(["declared_active"])  # a worker of some products folds all the same
    assert ran.keys == ["declared_active"]
    assert computes.total == 1
    assert cache.explain("twice_active")["state"] != "fresh"
    assert cache.get("thrice_twice") == 6
    assert cache.get("twice_active") == 2
    assert cache.get("declared_active") == 1


@committed
def test_nothing_is_marked_when_nothing_changes(transactional_db: None, cache: Cache) -> None:
    account = Account.objects.create(state="active")
    trial = Account.objects.create(state="trial")
    primed("active")
    settled(cache, "twice_active", "thrice_twice", "declared_active")
    account.state = "trial"
    account.save()
    account.state = "active"
    account.save()
    Account.objects.filter(pk=trial.pk).update(points=5)
    assert run_worker().keys == []
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    cache.refresh("active")  # a recount that finds what was held
    at_rest()
    assert run_worker().keys == []
    assert states(cache, "twice_active", "thrice_twice", "declared_active") == ["fresh"] * 3


@committed
def test_only_the_keys_that_changed_are_told(transactional_db: None, cache: Cache) -> None:
    one, two = Branch.objects.create(name="1"), Branch.objects.create(name="2")
    primed(f"branch_accounts/{one.pk}")
    settled(cache, "branched")
    Account.objects.create(state="active", branch=two)
    run_worker()
    assert states(cache, "branched") == ["fresh"]
    Account.objects.create(state="active", branch=one)
    run_worker()
    assert states(cache, "branched") != ["fresh"]
    assert cache.get("branched") == 1


@committed
def test_a_recount_that_differs_tells(transactional_db: None, cache: Cache) -> None:
    primed("active")
    settled(cache, "twice_active", "declared_active")
    sql("UPDATE kck_level SET n = n + 1 WHERE facet = 0")
    sql("INSERT INTO kck_level SELECT generation, kck_digest('{}'), 0, kck_digest('null'), '-infinity', '{}', 'null', 7"
        " FROM kck_generation WHERE key_base = 'active' AND live ON CONFLICT DO NOTHING")  # fmt: skip
    cache.refresh("active")
    at_rest()
    assert run_worker().keys == ["declared_active"]
    assert states(cache, "twice_active") != ["fresh"]


@committed
def test_a_recount_that_takes_deltas_tells(transactional_db: None, cache: Cache) -> None:
    primed("active")
    settled(cache, "twice_active")
    sql(INSERT)
    cache.refresh("active")
    at_rest()
    assert sql(
        "SELECT count(*) FROM kck_delta d JOIN kck_generation USING (generation) WHERE key_base = 'active'"
    ) == [(0,)]
    run_worker()
    assert cache.get("twice_active") == 2


@committed
def test_what_no_delta_tells_is_counted_anew_and_told(transactional_db: None, cache: Cache) -> None:
    Account.objects.create(state="active")
    primed("active", "everyone")
    settled(cache, "twice_active")
    assert cache.get("twice_active") == 2
    sql("TRUNCATE accounts_account CASCADE")
    assert "active" in run_worker().keys
    assert cache.get("twice_active") == 0
    assert "everyone" not in run_worker().keys  # nothing depends on it: the next read counts


@committed
def test_a_write_between_the_read_and_the_edge_is_found(
    transactional_db: None, cache: Cache, sessions: Callable[[], Session]
) -> None:
    """The fold comes when the edge is not there yet: the computation looks again."""
    other = sessions()

    class Slow(Primer):
        key_base = "slow_active"

        def compute(self, key: Any) -> Any:
            found = cache.get("active")["value"]
            if found == 0:
                other.sql(INSERT)
                other.do(fold_all)
            return found

    primed("active")
    with registered(Slow):
        settled(cache, "twice_active")  # there is somebody to tell, and Slow is not yet
        assert cache.get("slow_active") == 0
        assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
        assert states(cache, "slow_active") != ["fresh"]
        assert cache.get("slow_active") == 1
        run_worker()
        assert states(cache, "slow_active") == ["fresh"]


@committed
def test_a_fold_between_the_second_look_and_the_publish_is_found(
    transactional_db: None,
    cache: Cache,
    sessions: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, publish = sessions(), Computation._publish
    primed("active")
    settled(cache, "twice_active")

    def late(self: Computation, *args: Any) -> None:
        monkeypatch.setattr(Computation, "_publish", publish)
        other.sql(INSERT)
        other.do(fold_all)
        publish(self, *args)

    monkeypatch.setattr(Computation, "_publish", late)
    cache.refresh("twice_active")
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    assert cache.get("twice_active") == 2


@committed
def test_what_reads_a_flow_is_told(transactional_db: None, cache: Cache) -> None:
    account = Account.objects.create(state="trial")
    settled(cache, "moves")
    assert cache.get("moves") == 0
    run_worker()
    assert states(cache, "moves") == ["fresh"]
    account.state = "active"
    account.save()
    run_worker()
    assert states(cache, "moves") != ["fresh"]
    assert cache.get("moves") == 1


@committed
def test_what_reads_the_steps_of_a_flow_is_told_of_what_moves_then_and_not_before(
    transactional_db: None, cache: Cache
) -> None:
    Account.objects.create(state="trial")
    Account.objects.update(state="active")
    settled(cache, "moves_by_steps")
    assert states(cache, "moves_by_steps") == ["fresh"]
    with count_computes("moves_by_steps") as computes:
        assert cache.get("moves_by_steps") == 1
    assert computes.total == 0
    Account.objects.update(state="trial")
    Account.objects.update(state="active")
    run_worker()
    assert states(cache, "moves_by_steps") != ["fresh"]
    assert cache.get("moves_by_steps") == 2


@committed
def test_a_family_that_was_never_counted_tells_too(transactional_db: None, cache: Cache) -> None:
    sql("UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'active'")
    assert cache.get("active", prime_on_cache_miss=False, default=None) is None
    settled(cache, "twice_active")
    sql("UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'active'")
    sql(INSERT)
    run_worker()
    assert cache.get("twice_active") == 2


@committed
def test_what_time_moves_is_told_and_recorded(transactional_db: None, cache: Cache) -> None:
    class Recent(Stock):
        key_base = "recent_accounts"
        model, members = Account, Q(joined_at__gt=Now() - timedelta(days=1))
        schedule = every(days=1)

    class OfRecent(Primer):
        key_base = "of_recent"

        def compute(self, key: Any) -> Any:
            return Cache.get_instance().get("recent_accounts")["value"]

    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    with registered(Recent, OfRecent):
        triggers.install("default")
        with freeze_time(noon) as clock:
            Account.objects.create(joined_at=noon)
            primed("recent_accounts")
            settled(cache, "of_recent")
            assert cache.get("of_recent") == 1
            clock.move(hours=13)
            run_worker(["recent_accounts"])
            clock.move(hours=12)
            Passes("default", lambda: nullcontext(caller("default")), owner="me").tidy()
            assert states(cache, "of_recent") != ["fresh"]
            assert cache.get("of_recent") == 0
            run_worker(["recent_accounts"])
            assert cache.value_at("recent_accounts", noon + timedelta(hours=12))["value"] == 1
            run_worker()
            clock.move(hours=12)
            run_worker(["recent_accounts"])
            assert cache.value_at("recent_accounts", noon + timedelta(hours=36))["value"] == 0
    triggers.install("default")


@committed
def test_nothing_is_asked_of_edges_where_nobody_depends(transactional_db: None, cache: Cache) -> None:
    primed("everyone")
    assert not telling.is_wanted(caller("default"), "everyone")
    sql(INSERT)
    run_worker()
    assert sql("SELECT count(*) FROM kck_pending") == [(0,)]


def test_in_a_testcase(db: None, cache: Cache) -> None:
    assert cache.get("twice_active") == 0
    Account.objects.create(state="active")
    run_worker()
    assert cache.get("twice_active") == 2
    assert not connection.needs_rollback
