"""A change folded into a product instead of computing it: shown at once, counted once, exact whatever overlaps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.signals import post_save

from kck_flow import Cache, IntegerParameter, On, Primer, StringParameter
from kck_flow.changes import fold as folding
from kck_flow.entry import Change
from kck_flow.models import DataProduct, Pending, Refresh
from kck_flow.registry import registry
from kck_flow.store import pending, private, products, refreshes
from kck_flow.store.session import caller
from kck_flow.testing import (
    assert_augment_equals_compute,
    assert_computes,
    assert_fresh,
    registered,
    run_worker,
)
from tests.core.conftest import Gate, Thread
from tests.harness.locks import wait_until_queued
from tests.harness.processes import Crew
from tests.shop.models import Author, Book, Customer, OpenOrder, Order, Parcel

cache = Cache.get_instance()


def cents(changes: Any) -> int:
    return sum(c.new.cents for c in changes if c.new) - sum(c.old.cents for c in changes if c.old)


class Revenue(Primer):
    """What a customer's orders sum up to."""

    key_base = "aug_revenue"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id", then="augment")]
    told: list[list[Change]] = []

    def compute(self, key: Any) -> Any:
        of_one = Order.objects.filter(customer_id=key.params["customer"])
        return of_one.aggregate(total=Sum("cents"))["total"] or 0

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        self.told.append(list(changes))
        return value + cents(changes)


@pytest.fixture
def revenue() -> Iterator[Primer]:
    Revenue.told.clear()
    with registered(Revenue) as (primer,):
        yield primer


@pytest.fixture
def ada() -> Customer:
    return Customer.objects.create(name="Ada")


@pytest.fixture
def bob() -> Customer:
    return Customer.objects.create(name="Bob")


def key_of(customer: Customer) -> str:
    return f"aug_revenue/{customer.pk}"


def changes_of(key: str) -> list[Any]:
    """The changes that wait for a product, oldest first."""
    digest = registry.key(key).digest
    return list(
        Pending.objects.filter(digest=digest, kind="change").order_by("id").values_list("change", flat=True)
    )


def fold() -> int:
    """Fold what waits, as a worker does."""
    if private.in_test_case():
        return folding.fold_all(caller("default"), known=list(registry.primers))
    with private.session("default") as session:
        return folding.fold_all(session, known=list(registry.primers))


# -- the story -----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_saved_row_is_shown_by_the_next_get_and_nothing_is_computed(
    revenue: Primer, ada: Customer, bob: Customer
) -> None:
    keys = [key_of(ada), key_of(bob)]
    assert list(cache.get_many(keys).values()) == [0, 0]
    with assert_computes(0, "aug_revenue"):
        order = Order.objects.create(customer=ada, cents=500)
        assert list(cache.get_many(keys).values()) == [500, 0]
        order.cents = 700
        order.save()
        assert [cache.get(key) for key in keys] == [700, 0]
        order.customer = bob
        order.save()
        assert [cache.get(key) for key in keys] == [0, 700]
        order.cents = 800
        order.save(update_fields=["cents"])
        assert [cache.get(key) for key in keys] == [0, 800]
        order.delete()
        assert list(cache.get_many(keys).values()) == [0, 0]
    for key in keys:
        assert_augment_equals_compute(key)


@pytest.mark.django_db
def test_augment_gets_exactly_the_new_changes_each_with_the_side_that_is_its_own(
    revenue: Primer, ada: Customer, bob: Customer
) -> None:
    cache.get_many([key_of(ada), key_of(bob)])
    order = Order.objects.create(customer=ada, cents=5)
    fold()
    ((created,),) = Revenue.told
    assert (created.source, created.key, created.old) == ("shop.Order", None, None)
    assert (created.new.cents, created.new.customer_id, created.new.state) == (5, ada.pk, "open")
    assert created.at is not None

    Revenue.told.clear()
    order.customer, order.cents = bob, 6
    order.save()
    fold()
    left, came = sorted(Revenue.told, key=lambda changes: changes[0].old is None)
    assert [(c.old.cents, c.new) for c in left] == [(5, None)]
    assert [(c.old, c.new.cents) for c in came] == [(None, 6)]
    assert left[0].id == came[0].id != created.id


@pytest.mark.django_db
def test_a_fold_stores_the_next_version_and_no_change_is_left(revenue: Primer, ada: Customer) -> None:
    version = cache.refresh(key_of(ada)).version
    Order.objects.create(customer=ada, cents=5)
    Order.objects.create(customer=ada, cents=6)
    assert (fold(), fold()) == (2, 0)
    entry = cache.get_entry(key_of(ada))
    assert (entry.value, entry.version, entry.state) == (11, version + 1, "fresh")
    assert changes_of(key_of(ada)) == []
    # Two changes that cancel each other out change nothing.
    Order.objects.create(customer=ada, cents=9).delete()
    assert fold() == 2
    assert cache.get_entry(key_of(ada)).version == version + 1


@pytest.mark.django_db
def test_a_worker_folds_and_computes_nothing(revenue: Primer, ada: Customer) -> None:
    cache.get(key_of(ada))
    Order.objects.create(customer=ada, cents=5)
    with assert_computes(0, "aug_revenue"):
        assert run_worker().keys == []
    assert DataProduct.objects.get(key=key_of(ada)).value == 5
    assert_fresh(key_of(ada))


@pytest.mark.django_db
def test_a_change_carries_its_columns_with_their_types_and_no_others() -> None:
    class Worth(Primer):
        key_base = "aug_worth"
        parameters = [IntegerParameter("author")]
        depends_on = [On(Book, key="author_id", then="augment", fields=["price"])]
        told: list[Change] = []

        def compute(self, key: Any) -> Any:
            found = Book.objects.filter(author_id=key.params["author"]).aggregate(s=Sum("price"))["s"]
            return found or Decimal(0)

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            self.told.extend(changes)
            plus = sum((c.new.price for c in changes if c.new), Decimal(0))
            return value + plus - sum((c.old.price for c in changes if c.old), Decimal(0))

    with registered(Worth):
        author = Author.objects.create(name="a")
        cache.get(f"aug_worth/{author.pk}")
        book = Book.objects.create(author=author, title="t", price=Decimal("9.90"))
        assert cache.get(f"aug_worth/{author.pk}") == Decimal("9.90")
        change = Worth.told[-1]
        assert isinstance(change.new.price, Decimal)
        assert set(change.new) == {"id", "author_id", "price"}
        with pytest.raises(AttributeError, match=r"no column 'title'.*fields="):
            _ = change.new.title
        with pytest.raises(AttributeError, match="cannot be changed"):
            change.new.price = 1
        book.title = "another"
        book.save()
        assert len(changes_of(f"aug_worth/{author.pk}")) == 1  # what is not watched is not told


@pytest.mark.django_db
def test_a_product_holds_its_own_changes_whatever_else_goes_on(
    revenue: Primer, ada: Customer, bob: Customer
) -> None:
    cache.get_many([key_of(ada), key_of(bob)])
    Order.objects.create(customer=ada, cents=1)
    for n in range(20):
        Order.objects.create(customer=bob, cents=n)
    (change,) = changes_of(key_of(ada))
    assert change["new"]["cents"] == 1
    assert len(changes_of(key_of(bob))) == 20


@pytest.mark.django_db
def test_a_row_without_a_key_belongs_to_no_product() -> None:
    class Inhabitants(Primer):
        key_base = "aug_inhabitants"
        parameters = [StringParameter("country")]
        depends_on = [On(Customer, key="country", then="augment")]

        def compute(self, key: Any) -> Any:
            return Customer.objects.filter(country=key.params["country"]).count()

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value + sum(bool(c.new) - bool(c.old) for c in changes)

    with registered(Inhabitants):
        keys = [cache.build_key("aug_inhabitants", country=name) for name in ("fr", "", "None", "a/b")]
        assert list(cache.get_many(keys).values()) == [0, 0, 0, 0]
        with assert_computes(0, "aug_inhabitants"):
            rows = [Customer.objects.create(name="x", country=name) for name in ("fr", "", "None", "a/b")]
            nowhere = Customer.objects.create(name="y", country=None)
            assert list(cache.get_many(keys).values()) == [1, 1, 1, 1]
            assert Pending.objects.filter(kind="stale").count() == 0
            nowhere.country = "fr"
            nowhere.save()
            rows[0].country = None
            rows[0].save()
            assert list(cache.get_many(keys).values()) == [1, 1, 1, 1]
            nowhere.country = None
            nowhere.save()
            assert list(cache.get_many(keys).values()) == [0, 1, 1, 1]
        fold()
        assert list(cache.get_many(keys).values()) == [0, 1, 1, 1]


@pytest.mark.django_db
def test_rows_of_inherited_tables_and_proxies_count_once(
    revenue: Primer, ada: Customer, bob: Customer
) -> None:
    keys = [key_of(ada), key_of(bob)]
    cache.get_many(keys)
    with assert_computes(0, "aug_revenue"):
        parcel = Parcel.objects.create(customer=ada, cents=5, weight=1)
        assert cache.get_many(keys) == {keys[0]: 5, keys[1]: 0}
        parcel.weight = 2
        parcel.save()
        parcel.cents = 6
        parcel.save()
        assert cache.get_many(keys) == {keys[0]: 6, keys[1]: 0}
        plain = Order.objects.get(pk=parcel.pk)
        plain.customer = bob
        plain.save()
        assert cache.get_many(keys) == {keys[0]: 0, keys[1]: 6}
        OpenOrder.objects.create(customer=bob, cents=10)
        assert cache.get(keys[1]) == 16
        Parcel.objects.get().delete(keep_parents=True)
        assert cache.get(keys[1]) == 16
        again = Parcel(order_ptr=plain, weight=3)
        again.__dict__.update(customer_id=bob.pk, cents=6, state="open")
        again.save()
        assert cache.get(keys[1]) == 16
        again.delete()
        assert cache.get(keys[1]) == 10
        OpenOrder.objects.get().delete()
        assert cache.get(keys[1]) == 0
    fold()
    for key in keys:
        assert_augment_equals_compute(key)


@pytest.mark.django_db
def test_deleting_what_rows_hang_on_counts_them_off(revenue: Primer, ada: Customer) -> None:
    for n in (1, 2, 4):
        Order.objects.create(customer=ada, cents=n)
    key = key_of(ada)
    assert cache.get(key) == 7
    with assert_computes(0, "aug_revenue"):
        Order.objects.filter(cents=4).delete()
        assert cache.get(key) == 3
        ada.delete()
        assert cache.get(key) == 0


# -- changes from other products -----------------------------------------------------------------------------


class Count(Primer):
    """How many orders a customer has: the source of another product."""

    key_base = "aug_count"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id", then="refresh")]

    def compute(self, key: Any) -> Any:
        return Order.objects.filter(customer_id=key.params["customer"]).count()


class AllOrders(Primer):
    """The sum of all counts, told by them."""

    key_base = "aug_all"
    depends_on = [On("aug_count", then="augment")]

    def compute(self, key: Any) -> Any:
        return sum(cache.get(f"aug_count/{pk}") for pk in Customer.objects.values_list("pk", flat=True))

    def augment(self, key: Any, value: Any, changes: Any) -> Any:
        return value + sum((change.new or 0) - (change.old or 0) for change in changes)


@pytest.mark.django_db
def test_a_product_is_augmented_by_the_products_it_depends_on(ada: Customer, bob: Customer) -> None:
    with registered(Count, AllOrders):
        Order.objects.create(customer=ada)
        assert cache.get("aug_all") == 1
        run_worker()
        with assert_computes(0, "aug_all"):
            for customer in (ada, bob, bob):
                Order.objects.create(customer=customer)
            ran = run_worker()
            assert sorted(ran.keys) == [f"aug_count/{ada.pk}", f"aug_count/{bob.pk}"]
            assert cache.get("aug_all") == 4
            cache.set(f"aug_count/{ada.pk}", 10)
            assert cache.get("aug_all") == 12
            cache.unset(f"aug_count/{ada.pk}")
            assert cache.get("aug_all") == 2
            # Read again, it is computed; the change of none to two is told like any other.
            assert cache.get(f"aug_count/{ada.pk}") == 2
            assert cache.get("aug_all") == 4
            run_worker()
            assert DataProduct.objects.get(key="aug_all").value == 4


@pytest.mark.django_db
def test_a_fold_tells_those_below_and_an_equal_one_does_not(revenue: Primer, ada: Customer) -> None:
    class Rank(Primer):
        key_base = "aug_rank"
        parameters = [IntegerParameter("customer")]

        def compute(self, key: Any) -> Any:
            customer = key.params["customer"]
            return "high" if cache.get(f"aug_revenue/{customer}") > 10 else "low"

    with registered(Rank):
        rank = f"aug_rank/{ada.pk}"
        assert cache.get(rank) == "low"
        order = Order.objects.create(customer=ada, cents=20)
        run_worker()
        assert cache.get(rank) == "high"
        with assert_computes(0, "aug_rank"):
            order.state = "paid"
            order.save()
            run_worker()
            assert cache.get(rank) == "high"


# -- when a change cannot be folded --------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_product_that_is_not_there_is_computed_once_and_has_the_change(
    revenue: Primer, ada: Customer
) -> None:
    Order.objects.create(customer=ada, cents=5)
    with assert_computes(1, "aug_revenue"):
        assert cache.get(key_of(ada)) == 5
        run_worker()
        assert cache.get(key_of(ada)) == 5
    assert changes_of(key_of(ada)) == []
    # Changes of what nobody ever asked for do not stay for ever.
    other = Customer.objects.create(name="x")
    Order.objects.create(customer=other, cents=5)
    assert len(changes_of(key_of(other))) == 1
    with assert_computes(0, "aug_revenue"):
        run_worker()
    assert changes_of(key_of(other)) == []


@pytest.mark.django_db
@pytest.mark.parametrize("lose", ["invalidate", "unset", "version"])
def test_a_product_that_is_not_served_any_more_is_computed_once(
    revenue: Primer, ada: Customer, lose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(ada)
    Order.objects.create(customer=ada, cents=5)
    cache.get(key)
    if lose == "version":
        monkeypatch.setattr(Revenue, "version", 2)
    else:
        getattr(cache, lose)(key)
    Order.objects.create(customer=ada, cents=6)
    with assert_computes(1, "aug_revenue"):
        run_worker()
        Order.objects.create(customer=ada, cents=7)
        assert cache.get(key) == 18
        run_worker()
        assert cache.get(key) == 18


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["read", "fold"])
def test_an_augment_that_raises_is_answered_by_one_compute(
    ada: Customer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Fussy(Revenue):
        key_base = "aug_fussy"

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            if any(change.old is not None for change in changes):
                raise NotImplementedError("only additions")
            return super().augment(key, value, changes)

    with registered(Fussy):
        key = f"aug_fussy/{ada.pk}"
        order = Order.objects.create(customer=ada, cents=5)
        assert cache.get(key) == 5
        with assert_computes(0, "aug_fussy"):
            Order.objects.create(customer=ada, cents=6)
            assert cache.get(key) == 11
        order.cents = 1
        order.save()
        with assert_computes(1, "aug_fussy"):
            if how == "fold":
                assert run_worker().keys == [key]
            assert cache.get(key) == 7
            run_worker()
            assert cache.get(key) == 7
        assert "augment.failed" in caplog.text
        with assert_computes(0, "aug_fussy"):
            Order.objects.create(customer=ada, cents=1)
            assert cache.get(key) == 8


@pytest.mark.django_db
def test_a_change_that_names_no_product_of_many_makes_the_family_be_computed() -> None:
    class PerDay(Primer):
        key_base = "aug_some"
        parameters = [IntegerParameter("n")]
        depends_on = [On(Order, then="augment")]

        def compute(self, key: Any) -> Any:
            return Order.objects.count() + key.params["n"]

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            raise AssertionError("nothing could be told to one product")

    with registered(PerDay):
        keys = ["aug_some/1", "aug_some/2"]
        cache.get_many(keys)
        Order.objects.create(customer=Customer.objects.create(name="x"))
        with assert_computes(2, "aug_some"):
            assert list(cache.get_many(keys).values()) == [2, 3]
            run_worker()
            assert list(cache.get_many(keys).values()) == [2, 3]


@pytest.mark.django_db
def test_too_many_changes_for_a_read_are_answered_by_one_compute(
    revenue: Primer, ada: Customer, settings: Any
) -> None:
    settings.KCK_FLOW = {"PENDING_LIMIT": 5}
    cache.get(key_of(ada))
    for _ in range(5):
        Order.objects.create(customer=ada, cents=1)
    with assert_computes(0, "aug_revenue"):
        assert cache.get(key_of(ada)) == 5
    Order.objects.create(customer=ada, cents=1)
    with assert_computes(1, "aug_revenue"):
        assert cache.get(key_of(ada)) == 6
        assert changes_of(key_of(ada)) == []
        assert cache.get(key_of(ada)) == 6


# -- counted once --------------------------------------------------------------------------------------------


def deliver_again(key: str, changes: list[Any]) -> None:
    """Append changes a second time, as a source does that is not sure whether the first time arrived."""
    import json

    found = registry.key(key)
    pending.append(
        caller("default"),
        [
            pending.Mark(found.key_base, "change", found, source="shop.Order", change=json.dumps(change))
            for change in changes
        ],
    )


@pytest.mark.django_db
@pytest.mark.parametrize("when", ["waiting", "folded", "computed", "dropped"])
def test_a_change_delivered_twice_counts_once(revenue: Primer, ada: Customer, when: str) -> None:
    key = key_of(ada)
    cache.get(key)
    Order.objects.create(customer=ada, cents=5)
    again = changes_of(key)
    assert len(again) == 1
    if when == "folded":
        assert fold() == 1
    elif when == "computed":
        cache.refresh(key)
    elif when == "dropped":
        cache.invalidate(key)
        assert fold() == 1
        cache.get(key)
    deliver_again(key, again)
    # A read, before anything is folded, and the fold agree.
    assert cache.get(key) == 5
    assert cache.get_many([key]) == {key: 5}
    fold()
    assert (cache.get(key), changes_of(key)) == (5, [])
    Order.objects.create(customer=ada, cents=1)
    deliver_again(key, again + changes_of(key))
    assert cache.get(key) == 6
    fold()
    assert cache.get(key) == 6


@pytest.mark.django_db
def test_a_change_delivered_twice_counts_once_though_the_second_waits_far_behind(
    revenue: Primer, ada: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "FOLD_CHANGES", 4)
    monkeypatch.setattr(products, "APPLIED", 2)
    key = key_of(ada)
    cache.get(key)
    Order.objects.create(customer=ada, cents=100)
    (first,) = changes_of(key)
    for _ in range(6):
        Order.objects.create(customer=ada, cents=1)
    deliver_again(key, [first])
    assert cache.get(key) == 106
    while fold():
        assert cache.get(key) == 106
    assert changes_of(key) == []
    assert cache.get(key) == 106


@pytest.mark.django_db
def test_a_read_and_a_fold_agree_after_each_of_many_changes(
    revenue: Primer, ada: Customer, bob: Customer
) -> None:
    keys = [key_of(ada), key_of(bob)]
    cache.get_many(keys)
    orders: list[Order] = []
    with assert_computes(0, "aug_revenue"):
        for step in range(60):
            customer = (ada, bob)[step % 3 == 0]
            if step % 4 == 3:
                orders.pop(step % len(orders)).delete()
            elif step % 4 == 2:
                order = orders[step % len(orders)]
                order.customer, order.cents = customer, step
                order.save()
            else:
                orders.append(Order.objects.create(customer=customer, cents=step))
            read = cache.get_many(keys)
            truth = {
                key_of(one): Order.objects.filter(customer=one).aggregate(s=Sum("cents"))["s"] or 0
                for one in (ada, bob)
            }
            assert read == truth
            if step % 5 == 0:
                fold()
                assert cache.get_many(keys) == truth


@pytest.mark.django_db
def test_a_wrong_augment_is_caught_by_comparing(revenue: Primer, ada: Customer) -> None:
    class Wrong(Revenue):
        key_base = "aug_wrong"

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value + sum(change.new.cents for change in changes if change.new)  # forgets what it was

    with registered(Wrong):
        order = Order.objects.create(customer=ada, cents=5)
        key = f"aug_wrong/{ada.pk}"
        cache.get_many([key, key_of(ada)])
        Order.objects.create(customer=ada, cents=6)
        assert_augment_equals_compute(key)
        order.cents = 1
        order.save()
        assert_augment_equals_compute(key_of(ada))
        with pytest.raises(AssertionError, match=r"is 12; computed afresh it is 7"):
            assert_augment_equals_compute(key)
        fold()
        assert_augment_equals_compute(key_of(ada))
        with pytest.raises(AssertionError, match=r"is 12; computed afresh it is 7"):
            assert_augment_equals_compute(key)


# -- transactions --------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_transaction_sees_its_own_changes_and_others_see_them_with_the_commit(
    revenue: Primer, ada: Customer, threads: Callable[..., Thread]
) -> None:
    key = key_of(ada)
    cache.get(key)

    def others() -> Any:
        return threads(lambda: cache.get(key)).result()

    with assert_computes(0, "aug_revenue"):
        with transaction.atomic():
            Order.objects.create(customer=ada, cents=1)
            assert (cache.get(key), others()) == (1, 0)
            with transaction.atomic():
                Order.objects.create(customer=ada, cents=10)
                assert (cache.get(key), others()) == (11, 0)
                transaction.set_rollback(True)
            assert (cache.get(key), others()) == (1, 0)
        assert (cache.get(key), others()) == (1, 1)
        with transaction.atomic():
            Order.objects.all().first().delete()
            assert (cache.get(key), others()) == (0, 1)
            transaction.set_rollback(True)
        assert (cache.get(key), others()) == (1, 1)
        assert len(changes_of(key)) == 1
        fold()
        assert (cache.get(key), others()) == (1, 1)


def save_and_die(customer: int, before_the_mark: bool) -> None:
    """Runs in a process of its own: killed when the row is written, before or after what we write of it."""

    def die(**_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if before_the_mark:
        post_save.connect(die, sender=Order, weak=False)
    registry.register(Revenue)
    if not before_the_mark:
        post_save.connect(die, sender=Order, weak=False)
    Order.objects.create(customer_id=customer, cents=5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before_the_mark", [True, False])
def test_a_process_killed_between_a_row_and_its_change_loses_both_or_none(
    crew: Crew, revenue: Primer, ada: Customer, before_the_mark: bool
) -> None:
    cache.get(key_of(ada))
    child = crew.spawn(save_and_die, ada.pk, before_the_mark)
    assert child.wait() == -signal.SIGKILL, child.output
    assert Order.objects.count() == len(changes_of(key_of(ada)))
    assert_augment_equals_compute(key_of(ada))


# -- overlaps, made by holding transactions open -------------------------------------------------------------


class Held(Revenue):
    """Stops after it has read, where the test says so."""

    key_base = "aug_held"
    gate: Gate | None = None

    def compute(self, key: Any) -> Any:
        value = super().compute(key)
        if type(self).gate is not None:
            type(self).gate.stop()
        return value


@pytest.fixture
def held(gate: Gate) -> Iterator[type[Held]]:
    with registered(Held):
        yield Held
        Held.gate = None
        gate.open()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", [True, False])
def test_a_save_that_a_compute_cannot_see_yet_is_added_to_it(
    held: type[Held],
    gate: Gate,
    gates: Callable[[], Gate],
    ada: Customer,
    threads: Callable[..., Thread],
    first: bool,
) -> None:
    key = f"aug_held/{ada.pk}"
    if not first:
        cache.get(key)
    Order.objects.create(customer=ada, cents=1)  # committed before: seen, and not counted again
    writing = gates()

    def write() -> None:
        with transaction.atomic():
            Order.objects.create(customer=ada, cents=10)
            writing.stop()

    writer = threads(write)
    writing.reached()
    held.gate = gate
    computing = threads(lambda: cache.refresh(key).value)
    gate.reached()
    # It has read. Now one commits that it could not see, one begins and ends, and a fold finds them.
    writing.open()
    writer.result()
    Order.objects.create(customer=ada, cents=100)
    held.gate = None
    fold()
    assert cache.get(key, None, prime_on_cache_miss=False) == (None if first else 111)
    gate.open()
    assert computing.result() == 1
    with assert_computes(0, "aug_held"):
        assert cache.get(key) == 111
        assert len(changes_of(key)) == 2
        assert fold() == 2
        assert cache.get(key) == 111


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("first", [True, False])
def test_a_fold_that_comes_first_makes_a_compute_begin_anew(
    held: type[Held], gate: Gate, ada: Customer, threads: Callable[..., Thread], first: bool
) -> None:
    """The lease is taken from a compute that stands still; what is folded meanwhile it must not overwrite."""
    key = f"aug_held/{ada.pk}"
    if not first:
        cache.get(key)
    Order.objects.create(customer=ada, cents=1)
    held.gate = gate
    computing = threads(lambda: cache.refresh(key).value)
    gate.reached()
    Order.objects.create(customer=ada, cents=10)
    held.gate = None
    with private.session("default") as session:
        session.run("UPDATE kck_refresh SET lease_until = now() - interval '1 minute'")
        assert refreshes.end_overdue(session) == 1
    assert fold() == 2
    gate.open()
    assert computing.result() in (1, 11)
    assert cache.get(key) == 11
    fold()
    assert cache.get(key) == 11
    assert_augment_equals_compute(key)


@pytest.mark.django_db(transaction=True)
def test_of_two_saves_of_one_row_the_second_takes_off_what_the_first_has_written(
    revenue: Primer, ada: Customer, gates: Callable[[], Gate], threads: Callable[..., Thread]
) -> None:
    key, writing = key_of(ada), gates()
    order = Order.objects.create(customer=ada, cents=1)
    assert cache.get(key) == 1
    other = Order.objects.get()

    def write() -> None:
        with transaction.atomic():
            order.cents = 10
            order.save()
            writing.stop()

    def overwrite() -> None:
        other.cents = 100
        other.save()

    first = threads(write)
    writing.reached()
    second = threads(overwrite)
    wait_until_queued()
    writing.open()
    first.result()
    second.result()
    assert cache.get(key) == 100
    fold()
    assert cache.get(key) == 100


@pytest.mark.django_db(transaction=True)
def test_a_fold_does_not_touch_a_product_that_is_being_computed(
    held: type[Held], gate: Gate, ada: Customer, threads: Callable[..., Thread]
) -> None:
    key = f"aug_held/{ada.pk}"
    cache.get(key)
    held.gate = gate
    computing = threads(lambda: cache.refresh(key))
    gate.reached()
    Order.objects.create(customer=ada, cents=10)
    assert Refresh.objects.get(key=key).lease_until is not None
    assert fold() == 0
    assert cache.get(key) == 10  # and readers have the change all the same
    gate.open()
    computing.result()
    assert fold() == 1
    assert cache.get(key) == 10


@pytest.mark.django_db(transaction=True)
def test_what_a_compute_reads_on_its_way_is_of_its_own_snapshot(
    ada: Customer, gate: Gate, threads: Callable[..., Thread]
) -> None:
    """A product read before, in the same tree, may be older than the snapshot: the change between must not be lost."""

    class Tree(Primer):
        key_base = "aug_tree"

        def compute(self, key: Any) -> Any:
            first = cache.get("aug_count_by_hand")
            gate.stop()
            return [first, cache.get("aug_below")]

    class Below(Primer):
        key_base = "aug_below"
        depends_on = [On("aug_count_by_hand", then="augment")]

        def compute(self, key: Any) -> Any:
            return cache.get("aug_count_by_hand")

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return value + sum((change.new or 0) - (change.old or 0) for change in changes)

    class ByHand(Primer):
        key_base = "aug_count_by_hand"

        def compute(self, key: Any) -> Any:
            return 0

    with registered(ByHand, Below, Tree), assert_computes(1, "aug_below"):
        cache.set("aug_count_by_hand", 1)
        tree = threads(lambda: cache.get("aug_tree"))
        gate.reached()
        cache.set("aug_count_by_hand", 2)
        gate.open()
        tree.result()
        assert cache.get("aug_below") == 2
        cache.set("aug_count_by_hand", 3)
        assert cache.get("aug_below") == 3
        assert fold() == 1
        assert cache.get("aug_below") == 3


# -- all at once ---------------------------------------------------------------------------------------------

WRITERS, SAVES = 8, 250


@pytest.mark.once("newest")
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_eight_writers_folds_computes_and_readers_at_once_end_exact(revenue: Primer, threads: Any) -> None:
    customers = [Customer.objects.create(name=str(n)) for n in range(3)]
    keys = [key_of(one) for one in customers]
    for key in keys:
        cache.get(key)
    over = threading.Event()
    checked = [0]

    def write(number: int) -> None:
        mine: list[Order] = []
        for step in range(SAVES):
            customer = customers[(number + step) % 3]
            if step % 10 == 9:
                mine.pop(0).delete()
            elif step % 10 == 8:
                mine[-1].customer, mine[-1].cents = customer, step
                mine[-1].save()
            elif step % 10 == 7:
                with transaction.atomic():
                    Order.objects.create(customer=customer, cents=1)
                    transaction.set_rollback(True)
            else:
                mine.append(Order.objects.create(customer=customer, cents=step + 1))

    def compare() -> None:
        """In one snapshot, what is read equals what the tables hold: at every moment, not only at the end."""
        while not over.is_set():
            with transaction.atomic():
                connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                for one in customers:
                    truth = Order.objects.filter(customer=one).aggregate(s=Sum("cents"))["s"] or 0
                    assert cache.get(key_of(one)) == truth
                    checked[0] += 1
            over.wait(0.005)

    def keep_folding() -> None:
        while not over.is_set():
            fold()
            over.wait(0.01)

    def keep_computing() -> None:
        while not over.is_set():
            for key in keys:
                cache.refresh(key)
            over.wait(0.05)

    others = [threads(one) for one in (compare, keep_folding, keep_computing)]
    try:
        for writer in [threads(lambda n=n: write(n)) for n in range(WRITERS)]:
            writer.result(limit=180)
    finally:
        over.set()
    for other in others:
        other.result(limit=60)
    truth = [Order.objects.filter(customer=one).aggregate(s=Sum("cents"))["s"] for one in customers]
    assert [cache.get(key) for key in keys] == truth
    run_worker()
    assert [cache.get(key) for key in keys] == truth
    assert [DataProduct.objects.get(key=key).value for key in keys] == truth
    assert Pending.objects.count() == 0
    assert checked[0] > 20


@pytest.mark.once("oldest")
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_eight_writers_with_a_thousand_changes_each_none_is_lost_and_nothing_is_computed(
    revenue: Primer, ada: Customer, threads: Any
) -> None:
    key, over = key_of(ada), threading.Event()
    assert cache.get(key) == 0

    def write() -> None:
        for _ in range(1000):
            Order.objects.create(customer=ada, cents=1)

    def keep_folding() -> None:
        while not over.wait(0.05):
            fold()

    folding_on = threads(keep_folding)
    with assert_computes(0, "aug_revenue"):
        try:
            for writer in [threads(write) for _ in range(8)]:
                writer.result(limit=300)
        finally:
            over.set()
        folding_on.result()
        assert cache.get(key) == 8000
        while fold():
            pass
        assert DataProduct.objects.get(key=key).value == 8000
        assert not changes_of(key)
