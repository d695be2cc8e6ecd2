"""Writers, computes, folds and drains that overlap: whatever was changed is seen by what was made from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from kck_flow import Cache, DateParameter, On, Primer, StringParameter
from kck_flow.cache import behind, flight
from kck_flow.changes import drain as draining
from kck_flow.changes import fold as folding
from kck_flow.changes.drain import drain
from kck_flow.errors import ComputeFailed
from kck_flow.models import DataProduct, Pending, Refresh
from kck_flow.store import private, refreshes
from kck_flow.store.refreshes import CRASH_LIMIT
from kck_flow.store.session import caller
from kck_flow.testing import run_worker
from tests.core.conftest import Declared, Gate, Thread
from tests.harness.wait import until
from tests.shop.models import Author, Customer, Order

pytestmark = pytest.mark.django_db(transaction=True)
OLD, NEW = {"of": "old"}, {"of": "new"}


def made_from(*above: str) -> Callable[[Any], Any]:
    """A compute that reads some products."""
    cache = Cache.get_instance()
    return lambda key: [str(key), *(cache.get(one) for one in above)]


def orders(*above: str) -> dict[str, Any]:
    """A product of all orders that is augmented, and reads others when it is computed."""
    cache = Cache.get_instance()

    def augment(self: Primer, key: Any, value: Any, changes: Any) -> Any:
        return [*value[:-1], value[-1] + sum(bool(c.new) - bool(c.old) for c in changes)]

    return {
        "compute": lambda key: [*(cache.get(one) for one in above), Order.objects.count()],
        "augment": augment,
        "depends_on": [On(Order, then="augment"), *(On(one, then="refresh") for one in above)],
    }


def change(cache: Cache, how: str) -> None:
    """Change the product `source`, by one of the ways there are."""
    if how == "set":
        cache.set("source", NEW)
    elif how == "patch":
        cache.patch("source", "of", "new")
    elif how == "family":
        cache.invalidate(key_base="source")
    else:
        getattr(cache, how)("source")


# -- a writer that is open while others compute


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("how", ["set", "patch", "unset", "invalidate", "family"])
def test_who_read_a_product_after_a_writers_snapshot_sees_what_it_writes(
    declare: Declared, cache: Cache, threads: Callable[..., Thread], gate: Gate, how: str, level: str
) -> None:
    """The writer's snapshot does not have their edges."""
    declare("source", NEW)
    declare("middle", made_from("source"))
    declare("lowest", made_from("middle"))
    cache.set("source", OLD)

    def write() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                cursor.execute("SELECT count(*) FROM kck_edge")
            gate.stop()
            change(cache, how)

    writer = threads(write)
    gate.reached()
    assert cache.get("lowest") == ["lowest", ["middle", OLD]]
    gate.open()
    writer.result()
    assert cache.get("lowest") == ["lowest", ["middle", NEW]]


def test_the_marks_of_a_snapshot_go_with_its_rollback(
    declare: Declared, cache: Cache, threads: Callable[..., Thread], gate: Gate
) -> None:
    declare("lowest", made_from("source"))
    cache.set("source", OLD)

    def write() -> None:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SELECT count(*) FROM kck_edge")
            gate.stop()
            cache.set("source", NEW)
            transaction.set_rollback(True)

    writer = threads(write)
    gate.reached()
    cache.get("lowest")
    gate.open()
    writer.result()
    assert not Pending.objects.exists()
    assert cache.get_entry("lowest").state == "fresh"
    assert declare.count("lowest") == 1


def test_what_is_made_from_what_a_writer_is_about_to_change_is_not_kept_as_fresh(
    declare: Declared, cache: Cache, threads: Callable[..., Thread], gate: Gate
) -> None:
    """Neither what reads the changed product, nor what reads that: the writer has seen the edges of neither."""
    declare("middle", made_from("source"))
    declare("lowest", made_from("middle"))
    cache.set("source", OLD)

    def write() -> None:
        with transaction.atomic():
            cache.set("source", NEW)
            gate.stop()

    writer = threads(write)
    gate.reached()
    assert cache.get("lowest") == ["lowest", ["middle", OLD]]
    gate.open()
    writer.result()
    assert cache.get("lowest") == ["lowest", ["middle", NEW]]


def test_where_no_worker_lives_a_writers_marks_are_drained_some_time_after_it(
    declare: Declared,
    cache: Cache,
    threads: Callable[..., Thread],
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was computed while it was open, from what it has marked, only a drain finds: nobody reads the middle."""
    monkeypatch.setattr(behind, "TIDY_SECONDS", 0.05)
    declare("middle", lambda key: Author.objects.count(), depends_on=[On(Author)])
    declare("lowest", made_from("middle"))
    cache.get("middle")

    def write() -> None:
        with transaction.atomic():
            Author.objects.create(name="Ada")
            gate.stop()

    writer = threads(write)
    gate.reached()
    assert cache.get("lowest") == ["lowest", 0]
    gate.open()
    writer.result()
    until(lambda: cache.get("lowest") == ["lowest", 1], "the drain")


def test_a_process_that_stands_still_inside_a_transaction_keeps_nobody_waiting_for_ever(
    declare: Declared, cache: Cache, settings: Any
) -> None:
    declare("page", 1)
    cache.get("page")
    private.close_all()
    settings.KCK_FLOW = {"STATEMENT_TIMEOUT": 0.05}

    def free() -> bool:
        with transaction.atomic():
            return bool(caller("default").run("SELECT 1 FROM kck_refresh FOR UPDATE SKIP LOCKED"))

    def stand_still() -> None:
        with private.session("default") as session, session.transaction():
            session.run("SELECT 1 FROM kck_refresh FOR UPDATE")
            until(free, "its locks to end")
            session.run("SELECT 1")

    with pytest.raises(DatabaseError):
        stand_still()
    private.close_all()


# -- what was read on the way


def test_what_a_product_that_is_not_stored_has_read_is_an_edge_of_the_one_around_it(
    declare: Declared, cache: Cache
) -> None:
    """Inside of a snapshot nothing is stored on the way, so nothing has edges of its own there."""
    declare("middle", made_from("source"))
    declare("aug", **orders("middle"))
    cache.set("source", OLD)
    assert cache.get("aug") == [["middle", OLD], 0]
    cache.set("source", NEW)
    assert cache.get("aug") == [["middle", NEW], 0]


def test_who_goes_on_without_a_product_that_failed_is_woken_when_it_is_there(
    declare: Declared, cache: Cache
) -> None:
    works: list[int] = []
    declare("fragile", lambda key: works[0])

    def compute(key: Any) -> Any:
        try:
            return cache.get("fragile")
        except ComputeFailed:
            return "without"

    declare("tolerant", compute)
    assert cache.get("tolerant") == "without"
    works.append(5)
    cache.refresh("fragile")
    assert cache.get("tolerant") == 5


def test_a_fold_does_not_take_back_that_a_refresh_is_wanted(declare: Declared, cache: Cache) -> None:
    declare("source", OLD)
    declare("aug", **orders("source"))
    assert cache.get("aug") == [OLD, 0]
    cache.set("source", NEW)
    with private.session("default") as session:
        drain(session)
        Order.objects.create(customer=Customer.objects.create(name="x"))
        folding.fold_all(session, known=["aug"])
    row = DataProduct.objects.get(key="aug")
    assert (row.value, row.soft_expires_at is not None) == ([OLD, 1], True)
    assert cache.get_entry("aug").state in ("stale", "computing")


@pytest.mark.parametrize("fails", [False, True])
def test_what_hooks_of_a_fold_write_is_kept_with_it_or_not_at_all(
    declare: Declared, cache: Cache, fails: bool
) -> None:
    def post_augment(self: Primer, key: Any, **told: Any) -> None:
        Author.objects.create(name=str(told["old"]))
        if fails:
            raise ValueError("no")

    declare("aug", **orders(), post_augment=post_augment)
    assert cache.get("aug") == [0]
    Order.objects.create(customer=Customer.objects.create(name="x"))
    with private.session("default") as session:
        assert folding.fold_all(session, known=["aug"]) == 1
    assert [one.name for one in Author.objects.all()] == ([] if fails else ["[0]"])
    row = DataProduct.objects.get(key="aug")
    assert (row.value, row.invalid_at is not None) == (([0], True) if fails else ([1], False))
    assert cache.get("aug") == [1]


# -- a mark in the hands of a drain


def test_a_mark_that_a_drain_has_in_hand_when_its_product_is_claimed_is_left_to_that_compute(
    declare: Declared, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the lower corner of a diamond is computed twice, the second time for a side that it has."""
    declare("side", OLD)
    declare("corner", made_from("side"), depends_on=[On("side", then="refresh")])
    cache.get("corner")
    cache.set("side", NEW)
    claims: list[Any] = []
    paused = draining.families.paused

    def claim_first(session: Any) -> Any:
        with private.session("default") as other:
            claims.append(
                refreshes.claim(
                    other, cache.build_key("corner"), {}, lease=60, owner="o", limit=None, reason="test"
                )
            )
        return paused(session)

    monkeypatch.setattr(
        draining.families, "paused", claim_first
    )  # the batch is locked, the slots are not yet
    with private.session("default") as session:
        assert drain(session).marks == 0
    slot = Refresh.objects.get(key="corner")
    assert (slot.want, slot.claimed_want) == (claims[0].want, claims[0].want), "no other run is wanted"
    assert set(Pending.objects.values_list("key_base", flat=True)) == {"corner"}


# -- leases lost, and given back


def test_a_lease_given_back_between_a_refused_claim_and_the_look_at_it_is_no_failure(
    declare: Declared, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare("page", 1)
    key, standing = cache.build_key("page"), refreshes.standing
    with private.session("default") as session:
        held = refreshes.claim(session, key, {}, lease=60, owner="o", limit=None, reason="test")
    assert held is not None

    def give_back_first(session: Any, digests: Any) -> Any:
        refreshes.release(session, held)
        return standing(session, digests)

    monkeypatch.setattr(refreshes, "standing", give_back_first)
    assert cache.get("page") == 1


def test_who_loses_the_lease_and_lives_is_not_taken_for_a_product_that_ends_its_process(
    declare: Declared, cache: Cache, gates: Callable[[], Gate], threads: Callable[..., Thread]
) -> None:
    held: list[Gate] = []

    def compute(key: Any) -> Any:
        if held:
            held[0].stop()
        return 1

    primer = declare("page", compute)
    for _ in range(CRASH_LIMIT + 1):
        held[:] = [gates()]
        late = flight.Flight(primer, cache.build_key("page"), "default", "miss", "prime", False)
        carried = threads(lambda late=late: flight.carry(late))
        held[0].reached()
        Refresh.objects.update(lease_until=timezone.now() - timedelta(seconds=10))
        with private.session("default") as session:
            assert refreshes.end_overdue(session) == 1
        held[0].open()
        carried.result()
        assert late.outcome is not None
        assert late.outcome.kind == "fenced"
    held.clear()
    assert Refresh.objects.get().crashes == 0
    assert cache.get("page") == 1


def test_an_augmented_product_whose_lease_was_taken_is_not_computed_once_more_without_one(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    stops = [True]
    given = orders()

    def compute(key: Any) -> Any:
        count = Order.objects.count()
        if stops:
            stops.clear()
            gate.stop()
        return [count]

    primer = declare("aug", **{**given, "compute": compute})
    late = flight.Flight(primer, cache.build_key("aug"), "default", "miss", "prime", False)
    carried = threads(lambda: flight.carry(late))
    gate.reached()
    Refresh.objects.update(lease_until=timezone.now() - timedelta(seconds=10))
    Order.objects.create(customer=Customer.objects.create(name="x"))
    assert cache.get("aug") == [1]
    gate.open()  # its beats may not have told it yet
    carried.result()
    assert late.outcome is not None
    assert (late.outcome.kind, late.outcome.value()) == ("fenced", [0])
    assert declare.count("aug") == 2
    assert cache.get("aug") == [1]


def test_an_augmented_product_whose_lease_was_taken_is_not_stored_before_its_successor_has_one(
    declare: Declared, cache: Cache, gates: Callable[[], Gate], threads: Callable[..., Thread]
) -> None:
    late_gate, next_gate = gates(), gates()
    given, stops = orders(), [next_gate, late_gate]

    def compute(key: Any) -> Any:
        count = Order.objects.count()
        stops.pop().stop()
        return [count]

    primer = declare("aug", **{**given, "compute": compute})
    late = flight.Flight(primer, cache.build_key("aug"), "default", "miss", "prime", False)
    carried = threads(lambda: flight.carry(late))
    late_gate.reached()
    Refresh.objects.update(lease_until=timezone.now() - timedelta(seconds=10))
    successor = threads(lambda: cache.get("aug"))
    next_gate.reached()
    token = Refresh.objects.get().token
    late_gate.open()
    carried.result()
    assert late.outcome is not None
    assert (late.outcome.kind, late.outcome.value()) == ("fenced", [0])
    assert not DataProduct.objects.exists()
    slot = Refresh.objects.get()
    assert (slot.token, slot.lease_until is not None) == (token, True)
    next_gate.open()
    assert successor.result() == [0]
    assert cache.get("aug") == [0]


@pytest.mark.parametrize("how", ["request_refresh", "refresh"])
def test_a_wish_for_what_was_never_computed_comes_with_the_commit(
    declare: Declared, cache: Cache, how: str
) -> None:
    day = date(2026, 1, 31)
    declare("page", 1, parameters=[StringParameter("name"), DateParameter("day")])
    keys = [str(cache.build_key("page", name=name, day=day)) for name in ("a/b ü", "wished", "undone")]
    with transaction.atomic():
        Author.objects.create(name="Ada")
        for key in keys[:2]:
            getattr(cache, how)(key)
        with transaction.atomic():
            getattr(cache, how)(keys[2])
            transaction.set_rollback(True)
        assert not Refresh.objects.exists()
    declare.calls.clear()
    assert sorted(run_worker().keys) == sorted(keys[:2])
    assert sorted(declare.calls) == sorted(keys[:2])


def test_a_wish_for_a_slot_that_is_held_for_long_waits_beside_it(
    declare: Declared, cache: Cache, threads: Callable[..., Thread], gate: Gate
) -> None:
    declare("page", 1)
    cache.get("page")

    def hold() -> None:
        with transaction.atomic():
            caller("default").run("SELECT 1 FROM kck_refresh FOR UPDATE")
            gate.stop()

    holder = threads(hold)
    gate.reached()
    assert cache.request_refresh("page") is True
    assert list(Pending.objects.values_list("key_base", "kind")) == [("page", "refresh")]
    gate.open()
    holder.result()
    with private.session("default") as session:
        assert drain(session).requested == ["page"]
    assert Refresh.objects.get().due_at is not None
