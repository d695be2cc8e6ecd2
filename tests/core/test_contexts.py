"""Where the caller stands: open, in a clean transaction, in one that has written, in a test; what each state gives.

The table of `core.md` §1, row by row: each state of the entry is asked for in each context.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction

from kck_flow import Cache, IntegerParameter, On
from kck_flow.cache import flight
from kck_flow.errors import ComputeFailed, NotPrimed, WaitTimeout
from kck_flow.models import DataProduct, Pending, Refresh, Run
from kck_flow.store import refreshes
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, run_worker
from tests.core.conftest import Declared, Gate, Thread, at_rest
from tests.harness.wait import until
from tests.shop.models import Author

MINUTE = timedelta(minutes=1)
CONTEXTS = [
    *(
        pytest.param(name, marks=pytest.mark.django_db(transaction=True))
        for name in ("open", "clean", "dirty")
    ),
    pytest.param("test", marks=pytest.mark.django_db),
]
everywhere = pytest.mark.parametrize("context", CONTEXTS)


@contextmanager
def standing(context: str) -> Iterator[None]:
    """Stand where the context says."""
    if context in ("open", "test"):
        yield
        return
    with transaction.atomic():
        if context == "dirty":
            Author.objects.create(name="mine alone")
        yield


def stored() -> DataProduct | None:
    """What others see of the one product."""
    return DataProduct.objects.first()


# -- fresh


@everywhere
def test_fresh_is_served_everywhere_and_nothing_is_written(
    declare: Declared, cache: Cache, context: str
) -> None:
    declare("page", 1)
    cache.get("page")
    before = list(Refresh.objects.values())
    with standing(context):
        assert cache.get("page") == 1
        assert cache.get_entry("page").state == "fresh"
    at_rest()
    assert declare.count("page") == 1
    assert list(Refresh.objects.values()) == before


@pytest.mark.parametrize("then", ["stale", "refresh"])
def test_a_change_of_ones_own_is_seen_at_once_and_by_others_after_the_commit(
    declare: Declared, cache: Cache, transactional_db: None, threads: Callable[..., Thread], then: str
) -> None:
    declare("authors", lambda key: Author.objects.count(), depends_on=[On(Author, then=then)])
    assert cache.get("authors") == 0
    with transaction.atomic():
        Author.objects.create(name="a")
        assert cache.get("authors") == 1, "the transaction's own truth"
        assert cache.get_many(["authors"]) == {"authors": 1}
        assert threads(lambda: cache.get("authors")).result() == 0, "which nobody else sees"
        assert DataProduct.objects.get(key="authors").value == 0
    if then == "stale":
        assert cache.get("authors") == 1
        assert threads(lambda: cache.get("authors")).result() == 1
    else:
        cache.get("authors")
        until(lambda: cache.get("authors") == 1, "the refresh")
    with transaction.atomic():
        Author.objects.create(name="b")
        assert cache.get("authors") == 2
        transaction.set_rollback(True)
    at_rest()
    assert cache.get("authors") == 1
    assert DataProduct.objects.get(key="authors").value == 1


def test_a_change_undone_by_a_savepoint_was_never_seen_by_anybody(
    declare: Declared, cache: Cache, transactional_db: None
) -> None:
    declare("authors", lambda key: Author.objects.count(), depends_on=[On(Author)])
    cache.get("authors")
    with transaction.atomic():
        savepoint = transaction.savepoint()
        Author.objects.create(name="a")
        assert cache.get("authors") == 1
        transaction.savepoint_rollback(savepoint)
        assert cache.get("authors") == 0
    assert not Pending.objects.exists()
    assert cache.get_entry("authors").state == "fresh"
    assert declare.count("authors") == 2


@pytest.mark.django_db
@pytest.mark.parametrize("then", ["stale", "refresh"])
def test_in_a_test_a_saved_row_shows_in_the_next_read(declare: Declared, cache: Cache, then: str) -> None:
    declare("authors", lambda key: Author.objects.count(), depends_on=[On(Author, then=then)])
    assert cache.get("authors") == 0
    Author.objects.create(name="a")
    assert cache.get("authors") == 1
    assert cache.get_entry("authors").state == "fresh"


# -- stale


@everywhere
def test_stale_is_served_everywhere_and_wanted_once(
    declare: Declared, cache: Cache, context: str, gate: Gate
) -> None:
    values = ["old"]

    def compute(key: Any) -> Any:
        if values[-1] != "old" and context != "test":
            gate.stop()
        return values[-1]

    declare("page", compute, soft_expire=timedelta(0), jitter=0.0)
    cache.get("page")
    values.append("new")
    with standing(context):
        for _ in range(5):
            assert cache.get("page") == "old"
        if context == "test":
            assert Refresh.objects.get().due_at is not None
            assert Refresh.objects.get().want == 2
            assert declare.count("page") == 1, "nobody computes until run_worker()"
            assert run_worker().keys == ["page"]
            assert cache.get("page") == "new"
            return
        gate.reached()
        assert cache.get_entry("page").state in ("computing", "stale")
    gate.open()
    until(lambda: cache.get("page") == "new", "the refresh")


def test_stale_inside_a_dirty_transaction_asks_without_touching_what_is_locked_here(
    declare: Declared, cache: Cache, transactional_db: None
) -> None:
    declare("page", lambda key: "computed", soft_expire=timedelta(0), jitter=0.0)
    cache.get("page")
    with transaction.atomic():
        cache.set("page", "mine")  # its row is locked until we commit
        begun = time.monotonic()
        assert cache.get("page") == "mine"
        at_rest()
        assert cache.get("page") == "mine"
        assert time.monotonic() - begun < 5
    at_rest()


# -- missing


@everywhere
def test_missing_is_computed_where_the_context_says(declare: Declared, cache: Cache, context: str) -> None:
    where: list[Any] = []

    def compute(key: Any) -> Any:
        where.append((threading.current_thread(), connection.in_atomic_block))
        return Author.objects.count()

    declare("authors", compute)
    with standing(context):
        assert cache.get("authors") == (1 if context == "dirty" else 0)
        mine = threading.current_thread()
        if context in ("open", "clean"):
            assert where[0][0] is not mine, "computed by a thread of the pool"
            assert where[0][1] is False
        else:
            assert where[0] == (mine, True)
        if context == "dirty":
            assert cache.get("authors") == 1
            assert declare.count("authors") == 2, "for each call alone"
    if context == "dirty":
        assert stored() is None
        assert not Refresh.objects.exists()
        assert not Run.objects.exists()
        with pytest.raises(NotPrimed):
            cache.get("authors", prime_on_cache_miss=False)
    else:
        found = stored()
        assert found is not None
        assert found.value == 0
        assert Run.objects.get().outcome == "done"


def test_missing_waits_so_long_and_no_longer_while_the_flight_goes_on(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        return 1

    declare("slow", compute, wait=timedelta(seconds=30))
    for atomic in (False, True):
        begun = time.monotonic()
        inside = transaction.atomic() if atomic else standing("open")
        with pytest.raises(WaitTimeout, match=r"^Waited 0\.2 s .* the compute goes on"), inside:
            cache.get("slow", wait=0.2)
        assert 0.15 < time.monotonic() - begun < 2
    gate.open()
    assert cache.get("slow") == 1
    assert declare.count("slow") == 1


def test_a_soft_budget_gives_the_stale_value(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate
) -> None:
    values = ["old"]

    def compute(key: Any) -> Any:
        if values[-1] == "new":
            gate.stop()
        return values[-1]

    declare("page", compute)
    cache.get("page")
    values.append("new")
    begun = time.monotonic()
    assert cache.get("page", max_age=0, wait=0.1) == "old"
    assert cache.get_entry("page", max_age=0, wait=0.1).state == "stale"
    assert time.monotonic() - begun < 2
    gate.open()
    until(lambda: cache.get("page") == "new", "the flight to land")
    assert declare.count("page") == 2


@everywhere
def test_not_to_be_primed_is_the_same_everywhere(declare: Declared, cache: Cache, context: str) -> None:
    declare("page", 1, prime_on_cache_miss=False)
    with standing(context):
        with pytest.raises(NotPrimed):
            cache.get("page")
        assert cache.get("page", "default") == "default"
    at_rest()
    assert not Refresh.objects.exists()
    assert declare.calls == []


def test_in_a_clean_transaction_whose_claim_is_not_had_in_time_the_caller_computes(
    declare: Declared,
    cache: Cache,
    transactional_db: None,
    settings: Any,
    monkeypatch: Any,
    gates: Callable[[], Gate],
) -> None:
    monkeypatch.setattr("kck_flow.cache.pool._pools", {})
    settings.KCK_FLOW = {"POOL_THREADS": 1, "CLAIM_TIMEOUT": 0.1}
    busy = gates()
    declare("busy", lambda key: busy.stop())
    declare("page", lambda key: threading.current_thread().name)
    flight.depart(flight.board(cache.primer("busy"), cache.build_key("busy"), "default", reason="miss")[0])
    busy.reached()
    with transaction.atomic():
        assert cache.get("page") == threading.current_thread().name
    busy.open()
    at_rest()
    assert cache.get("page") == "kck-pool"


# -- hard-expired and invalidated


@pytest.mark.parametrize("gone", ["expired", "invalidated", "family", "unset"])
@everywhere
def test_what_must_not_be_served_is_as_missing(
    declare: Declared, cache: Cache, context: str, gone: str
) -> None:
    numbers = iter(range(100))
    declare("page", lambda key: next(numbers), hard_expire=MINUTE)
    with freeze_time() as clock:
        assert cache.get("page") == 0
        if gone == "expired":
            clock.move(seconds=60)
        elif gone == "invalidated":
            cache.invalidate("page")
        elif gone == "family":
            cache.invalidate(key_base="page")
        else:
            cache.unset("page")
        with standing(context):
            assert cache.get("page", "none", prime_on_cache_miss=False) == "none"
            assert cache.get("page") == 1
        assert declare.count("page") == 2
        if context == "dirty":
            assert cache.get("page") == 2
        entry = cache.get_entry("page")
        assert entry.state == "fresh"
        assert entry.version == (3 if gone == "unset" else 2), "versions never restart"


@everywhere
def test_the_last_good_value_is_served_as_failed_everywhere(
    declare: Declared, cache: Cache, context: str
) -> None:
    good = [True]

    def compute(key: Any) -> Any:
        if good:
            return 1
        raise OSError("down")

    declare("page", compute, hard_expire=MINUTE, stale_if_error=MINUTE)
    with freeze_time() as clock:
        cache.get("page")
        good.clear()
        clock.move(seconds=90)
        with standing(context):
            entry = cache.get_entry("page")
            assert (entry.value, entry.state) == (1, "failed")
        clock.move(seconds=31)
        with standing(context), pytest.raises(ComputeFailed, match="down"):
            cache.get("page")


# -- failed recently


@everywhere
def test_failed_recently_is_the_stored_cause_without_a_compute(
    declare: Declared, cache: Cache, context: str
) -> None:
    declare("broken", lambda key: 1 / 0, backoff=MINUTE)
    with pytest.raises(ComputeFailed):
        cache.get("broken")
    with standing(context):
        for _ in range(3):
            with pytest.raises(ComputeFailed, match="failed with ZeroDivisionError"):
                cache.get("broken")
    assert declare.count("broken") == 1


def test_failed_recently_is_computed_in_a_transaction_that_changed_its_source(
    declare: Declared, cache: Cache, transactional_db: None
) -> None:
    def compute(key: Any) -> Any:
        if not Author.objects.exists():
            raise ValueError("no author")
        return "written"

    declare("page", compute, backoff=MINUTE, depends_on=[On(Author)])
    with pytest.raises(ComputeFailed):
        cache.get("page")
    with transaction.atomic():
        Author.objects.create(name="a")
        assert cache.get("page") == "written"


def test_a_stale_value_is_served_as_failed_while_its_refresh_backs_off(
    declare: Declared, cache: Cache, transactional_db: None
) -> None:
    good = [True]
    declare("page", lambda key: 1 if good else 1 / 0, soft_expire=timedelta(0), jitter=0.0, backoff=MINUTE)
    cache.get("page")
    good.clear()
    until(lambda: cache.get_entry("page").state == "failed", "the failed refresh to show")
    for _ in range(100):
        assert cache.get("page") == 1
    at_rest()
    assert declare.count("page") == 2


@everywhere
def test_a_parked_product_is_computed_for_who_asks_after_its_back_off(
    declare: Declared, cache: Cache, context: str
) -> None:
    good: list[int] = []
    declare("page", lambda key: 5 if good else 1 / 0, backoff=MINUTE, park_after=1)
    with freeze_time() as clock:
        with pytest.raises(ComputeFailed):
            cache.get("page")
        assert Refresh.objects.get().parked_why == "failed"
        good.append(1)
        with standing(context), pytest.raises(ComputeFailed, match="it is parked"):
            cache.get("page")
        clock.move(minutes=2)
        with standing(context):
            assert cache.get("page") == 5


@everywhere
def test_failed_recently_with_a_value_that_may_be_served_is_that_value_everywhere(
    declare: Declared, cache: Cache, context: str
) -> None:
    good = [True]
    declare("page", lambda key: 1 if good else 1 / 0, soft_expire=timedelta(0), jitter=0.0, backoff=MINUTE)
    cache.get("page")
    good.clear()
    cache.request_refresh("page")
    assert run_worker().failed == ["page"]
    with standing(context):
        entry = cache.get_entry("page")
        assert (entry.value, entry.state) == (1, "failed")
        assert cache.get("page") == 1
        assert cache.get_many(["page"]) == {"page": 1}
    at_rest()
    assert declare.count("page") == 2


# -- being computed elsewhere


@pytest.mark.django_db
def test_in_a_test_a_lease_means_nothing(declare: Declared, cache: Cache) -> None:
    declare("page", 1)
    held = refreshes.claim(
        caller("default"), cache.build_key("page"), {}, lease=60, owner="o", limit=None, reason="miss"
    )
    assert held is not None
    assert cache.get("page") == 1
    assert DataProduct.objects.get().value == 1


def test_in_a_clean_transaction_what_another_process_computes_is_waited_for(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate, threads: Callable[..., Thread]
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        return "theirs"

    def ask() -> Any:
        with transaction.atomic():
            return cache.get("page")

    primer = declare("page", compute)
    theirs = flight.Flight(primer, cache.build_key("page"), "default", "miss", "prime", False)
    other = threads(lambda: flight.carry(theirs))
    gate.reached()
    mine = threads(ask)
    until(
        lambda: flight._flights and next(iter(flight._flights.values())).met is not None,
        "the claim to be refused",
    )
    gate.open()
    other.result()
    assert mine.result() == "theirs"
    assert declare.count("page") == 1


@pytest.mark.parametrize("others", [False, True])
def test_a_refresh_that_is_wanted_is_computed_by_who_has_written(
    declare: Declared, cache: Cache, transactional_db: None, settings: Any, others: bool
) -> None:
    """Whose change it is cannot be told there: it may be one's own."""
    settings.KCK_FLOW = {"REFRESH_IN_PROCESS": False}
    declare("authors", lambda key: Author.objects.count(), depends_on=[On(Author, then="refresh")])
    cache.get("authors")
    if others:
        Author.objects.create(name="theirs")
        assert cache.get("authors") == 0, "served while a refresh is wanted"
    with transaction.atomic():
        Author.objects.create(name="mine")
        assert cache.get("authors") == 1 + others
        transaction.set_rollback(True)
    assert DataProduct.objects.get().value == 0


def test_two_misses_compute_once(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate, threads: Callable[..., Thread]
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        return {"n": [1]}

    declare("page", compute)
    callers = [threads(lambda: cache.get("page")) for _ in range(8)]
    gate.reached()
    until(lambda: len(flight._flights) == 1, "one flight")
    gate.open()
    values = [caller.result() for caller in callers]
    assert values == [{"n": [1]}] * 8
    assert len({id(value) for value in values}) == 8, "each has a copy of its own"
    assert declare.count("page") == 1


def test_one_failure_reaches_all_who_waited_each_in_an_exception_of_its_own(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate, threads: Callable[..., Thread]
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        raise ValueError("the one cause")

    declare("page", compute)
    callers = [threads(lambda: cache.get("page")) for _ in range(6)]
    gate.reached()
    joined = next(iter(flight._flights.values()))
    until(lambda: all(caller.is_alive() for caller in callers) and joined.claimed.is_set(), "all to wait")
    gate.open()
    errors = [caller.failure() for caller in callers]
    assert {str(error) for error in errors} <= {
        "Computing 'page' raised ValueError: the one cause",
        *[text for text in map(str, errors) if "failed with ValueError: the one cause" in text],
    }
    assert declare.count("page") == 1
    assert len({id(error) for error in errors}) == 6
    tracebacks = [error.__traceback__ for error in errors]
    assert all(one is not None and one.tb_next is not None for one in tracebacks)
    for error in errors:
        depth, found = 0, error.__traceback__
        while found is not None:
            depth, found = depth + 1, found.tb_next
        assert depth < 20, "a traceback that others have lengthened"


def test_another_process_computes_and_this_one_waits_for_its_value(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate, threads: Callable[..., Thread]
) -> None:
    """The other process is a flight that this process's table does not know."""

    def compute(key: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return "here"
        gate.stop()
        return "theirs"

    primer = declare("page", compute)
    theirs = flight.Flight(primer, cache.build_key("page"), "default", "miss", "prime", False)
    other = threads(lambda: flight.carry(theirs))
    gate.reached()
    mine = threads(lambda: cache.get("page"))
    until(
        lambda: flight._flights and next(iter(flight._flights.values())).met is not None,
        "the claim to be refused",
    )
    with transaction.atomic():
        Author.objects.create(name="dirty")
        assert cache.get("page") == "here", "one that may hold locks never waits"
    gate.open()
    other.result()
    assert mine.result() == "theirs"
    assert cache.get("page") == "theirs"
    assert declare.count("page") == 2


def test_the_failure_of_another_process_reaches_those_who_follow_it(
    declare: Declared, cache: Cache, transactional_db: None, gate: Gate, threads: Callable[..., Thread]
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        raise ValueError("theirs")

    primer = declare("page", compute, backoff=MINUTE)
    theirs = flight.Flight(primer, cache.build_key("page"), "default", "miss", "prime", False)
    other = threads(lambda: flight.carry(theirs))
    gate.reached()
    mine = threads(lambda: cache.get("page"))
    until(
        lambda: flight._flights and next(iter(flight._flights.values())).met is not None,
        "the claim to be refused",
    )
    gate.open()
    other.result()
    assert "ValueError: theirs" in str(mine.failure())
    assert declare.count("page") == 1


def test_a_lease_that_ran_out_is_taken_over_and_the_late_result_refused(
    declare: Declared,
    cache: Cache,
    transactional_db: None,
    settings: Any,
    gates: Callable[[], Gate],
    threads: Callable[..., Thread],
) -> None:
    first, calls = gates(), []

    def compute(key: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            first.stop()
            return "late"
        return "in time"

    primer = declare("page", compute)
    theirs = flight.Flight(primer, cache.build_key("page"), "default", "miss", "prime", False)
    other = threads(lambda: flight.carry(theirs))
    first.reached()
    Refresh.objects.update(lease_until=timezone_ago())  # as if its process had been stopped
    assert cache.get("page") == "in time"
    first.open()
    other.result()
    assert theirs.outcome is not None
    assert theirs.outcome.kind == "fenced"
    assert theirs.outcome.value() == "late", "its own caller has a value all the same"
    assert cache.get("page") == "in time"
    assert cache.get_entry("page").version == 1
    assert Refresh.objects.get().lease_until is None


def timezone_ago() -> Any:
    from django.utils import timezone

    return timezone.now() - timedelta(seconds=10)


# -- inside another compute


def test_a_nested_read_has_one_thread_and_records_its_edge(
    declare: Declared, cache: Cache, transactional_db: None, settings: Any
) -> None:
    settings.KCK_FLOW = {"POOL_THREADS": 1}
    declare("up", lambda key: key.params["n"], parameters=[IntegerParameter("n")])
    declare("down", lambda key: cache.get("up/1") + cache.get("up/2"))
    assert cache.get("down") == 3
    assert declare.calls == ["down", "up/1", "up/2"]


@pytest.mark.django_db(transaction=True)
def test_a_nested_augmented_product_inside_a_transaction_of_the_compute_is_computed_there(
    declare: Declared, cache: Cache
) -> None:
    declare(
        "count",
        lambda key: Author.objects.count(),
        depends_on=[On(Author, then="augment")],
        augment=lambda self, key, value, changes: value + len(changes),
    )

    def compute(key: Any) -> Any:
        with transaction.atomic():
            return cache.get("count") + 1

    declare("down", compute)
    assert cache.get("down") == 1


# -- another database's transaction


both = pytest.mark.django_db(transaction=True, databases=["default", "elsewhere"])


@both
def test_a_transaction_that_has_written_elsewhere_is_dirty_here(declare: Declared, cache: Cache) -> None:
    declare("authors", lambda key: Author.objects.using("elsewhere").count())
    with transaction.atomic(using="elsewhere"):
        Author.objects.using("elsewhere").create(name="not yet")
        assert cache.get("authors") == 1, "the caller's own truth"
        assert stored() is None, "which is nobody else's"
    assert cache.get("authors") == 1
    Author.objects.all().delete()
    cache.unset("authors")
    with transaction.atomic(using="elsewhere"):
        assert Author.objects.using("elsewhere").count() == 0
        assert cache.get("authors") == 0
    assert stored() is not None, "a transaction elsewhere that has only read is no hindrance"


# -- a connection that is broken


def test_an_aborted_transaction_is_the_callers_own_error(
    declare: Declared, cache: Cache, transactional_db: None
) -> None:
    declare("page", 1)
    cache.get("page")
    with transaction.atomic():
        with pytest.raises(Exception, match="nonsense"), connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")
        with pytest.raises(Exception, match=r"aborted|atomic"):
            cache.get("page")
        transaction.set_rollback(True)
    assert cache.get("page") == 1


@both
def test_a_connection_that_was_ended_is_opened_again(declare: Declared, cache: Cache) -> None:
    declare("page", 1, parameters=[IntegerParameter("n")])
    cache.get("page/1")
    for ask in (
        lambda: cache.get("page/1"),
        lambda: cache.get_entry("page/1").value,
        lambda: cache.get_many(["page/1"])["page/1"],
    ):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        with connections["elsewhere"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert ask() == 1
