"""A product is asked for: what `get` does in each state (features 22 to 25, 29 to 35, 39, 42, 43, 48, 53)."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, IntegerParameter, On, Primer, every, storing
from kck_flow.cache import behind, flight
from kck_flow.codec import SignedPickle
from kck_flow.errors import (
    ComputeFailed,
    CycleError,
    InvalidKey,
    NotPrimed,
    SomeFailed,
    UnknownPrimer,
    UnstorableValue,
    WaitTimeout,
)
from kck_flow.models import DataProduct, Edge, Pending, Record, Refresh, Run
from kck_flow.store import private
from kck_flow.testing import freeze_time, run_worker
from tests.core.conftest import Declared, Gate, at_rest
from tests.harness.wait import until
from tests.shop.models import Author

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


# -- what comes back


def test_a_read_tells_version_instants_state_and_age(declare: Declared, cache: Cache) -> None:
    declare("page", {"n": 1}, soft_expire=MINUTE, hard_expire=10 * MINUTE, jitter=0.0)
    with freeze_time("2026-01-31T12:00:00+00:00") as clock:
        first = cache.get_entry("page")
        at = clock()
        assert (first.key, first.value, first.version, first.state) == ("page", {"n": 1}, 1, "fresh")
        assert (first.computed_at, first.soft_expires_at, first.hard_expires_at) == (
            at,
            at + MINUTE,
            at + 10 * MINUTE,
        )
        assert first.age == timedelta(0)
        clock.move(seconds=30)
        assert cache.get_entry("page").age == timedelta(seconds=30)
        clock.move(seconds=31)
        stale = cache.get_entry("page")
        assert (stale.state, stale.age, stale.version) == ("stale", timedelta(seconds=61), 1)


def test_a_miss_and_a_hit_return_equal_values_and_never_the_same_object(
    declare: Declared, cache: Cache
) -> None:
    value = {
        "z": (1, 2),
        "a": {3},
        "when": datetime(2026, 1, 1, tzinfo=UTC),
        "price": Decimal("1.10"),
        5: -0.0,
    }
    declare("rich", lambda key: value)
    miss, hit = cache.get("rich"), cache.get("rich")
    assert miss == hit == value
    assert list(miss) == list(hit) == list(value)
    assert repr(miss) == repr(hit)
    miss["a"].add(4)
    hit["new"] = 1
    assert cache.get("rich") == {
        "z": (1, 2),
        "a": {3},
        "when": value["when"],
        "price": Decimal("1.10"),
        5: 0.0,
    }


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, 0.0])
def test_none_and_empty_results_are_answers(declare: Declared, cache: Cache, value: Any) -> None:
    declare("nothing", lambda key: value)
    for _ in range(2):
        assert cache.get("nothing") == value
        assert type(cache.get("nothing", "default")) is type(value)
    assert cache.get_entry("nothing").version == 1
    assert declare.count("nothing") == 1


def test_values_are_json_that_sql_can_query_whatever_the_order_of_their_keys(
    declare: Declared, cache: Cache
) -> None:
    declare(
        "sum",
        lambda key: {"total": key.params["n"], "a": {"deep": "x", "b": 1}},
        parameters=[IntegerParameter("n")],
    )
    for n in (3, 5, 7):
        assert list(cache.get(f"sum/{n}")) == ["total", "a"]
    assert list(DataProduct.objects.filter(value__total__gt=5).values_list("key", flat=True)) == ["sum/7"]
    assert DataProduct.objects.filter(value__a__deep="x", params__n=3).count() == 1


def test_a_codec_of_ones_own_is_explicit_and_pickle_needs_leave(
    declare: Declared, cache: Cache, settings: Any
) -> None:
    declare("pickled", lambda key: complex(1, 2), codec=SignedPickle())
    with pytest.raises(ComputeFailed, match="ALLOW_PICKLE"):
        cache.get("pickled")
    settings.KCK_FLOW = {"ALLOW_PICKLE": True}
    cache.refresh("pickled")
    assert cache.get("pickled") == complex(1, 2)


def test_a_megabyte_of_repetition_takes_little_room(declare: Declared, cache: Cache) -> None:
    declare("big", lambda key: ["the same again"] * 65_000)
    assert len(cache.get("big")) == 65_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_column_size(value), length(value::text) FROM kck_product")
        size, length = cursor.fetchone()
    assert length > 1_000_000
    assert size < 100_000


def test_a_value_over_the_bound_warns(declare: Declared, cache: Cache, caplog: Any, settings: Any) -> None:
    settings.KCK_FLOW = {"VALUE_WARN_BYTES": 100}
    declare("big", "x" * 200)
    cache.get("big")
    assert "value.large" in caplog.text


# -- whether a miss computes


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("asked", [None, True, False])
def test_a_miss_computes_as_the_primer_or_else_the_call_says(
    declare: Declared, cache: Cache, declared: bool, asked: bool | None
) -> None:
    declare("page", 7, prime_on_cache_miss=declared)
    if declared if asked is None else asked:
        assert cache.get("page", prime_on_cache_miss=asked) == 7
        assert cache.get("page", "default", prime_on_cache_miss=asked) == 7
    else:
        with pytest.raises(NotPrimed):
            cache.get("page", prime_on_cache_miss=asked)
        assert cache.get("page", None, prime_on_cache_miss=asked) is None
        entry = cache.get_entry("page", "d", prime_on_cache_miss=asked)
        assert (entry.state, entry.value, entry.version) == ("empty", "d", 0)
        assert not Refresh.objects.exists()
    assert len(declare.calls) == (1 if (declared if asked is None else asked) else 0)


def test_whether_to_compute_is_a_yes_or_a_no(declare: Declared, cache: Cache) -> None:
    declare("page", 7)
    for wrong in ("no", 0, []):
        with pytest.raises(ValueError, match="prime_on_cache_miss is True, False or None"):
            cache.get("page", prime_on_cache_miss=wrong)  # type: ignore[arg-type]
    assert declare.calls == []


def test_a_default_answers_not_primed_and_nothing_else(declare: Declared, cache: Cache) -> None:
    declare("broken", lambda key: 1 / 0, parameters=[IntegerParameter("n")])
    with pytest.raises(ComputeFailed):
        cache.get("broken/1", "default")
    with pytest.raises(InvalidKey):
        cache.get("broken/x", "default")
    with pytest.raises(UnknownPrimer):
        cache.get("unknown", "default")


def test_unknown_unset_and_failed_are_three_errors(declare: Declared, cache: Cache) -> None:
    declare("page", 1, prime_on_cache_miss=False)
    declare("broken", lambda key: 1 / 0)
    cache.set("page", 2)
    cache.unset("page")
    with pytest.raises(UnknownPrimer, match="Did you mean 'page'"):
        cache.get("paeg")
    with pytest.raises(NotPrimed, match="kck refresh page"):
        cache.get("page")
    with pytest.raises(ComputeFailed, match="ZeroDivisionError: division by zero") as caught:
        cache.get("broken")
    assert caught.value.key == "broken"
    assert caught.value.cause == "ZeroDivisionError: division by zero"
    assert "1 / 0" in caught.value.traceback
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_asking_whether_it_is_set_changes_nothing(declare: Declared, cache: Cache) -> None:
    declare("page", 1)
    assert cache.is_set("page") is False
    assert declare.calls == []
    assert not Refresh.objects.exists()
    assert not DataProduct.objects.exists()
    cache.get("page")
    assert cache.is_set("page") is True
    cache.unset("page")
    assert cache.is_set("page") is False


def test_an_always_fresh_product_computes_at_each_read_and_keeps_the_last_good(
    declare: Declared, cache: Cache
) -> None:
    numbers = iter(range(100))
    answers: list[Any] = []

    def compute(key: Any) -> Any:
        if answers:
            raise answers.pop()
        return next(numbers)

    declare("now", compute, always_fresh=True, stale_if_error=MINUTE, backoff=timedelta(0))
    assert [cache.get("now") for _ in range(3)] == [0, 1, 2]
    assert cache.get_entry("now").version == 4
    answers.append(OSError("gone"))
    entry = cache.get_entry("now")
    assert (entry.value, entry.state) == (3, "failed")


@pytest.mark.django_db(transaction=True)
def test_readers_of_an_always_fresh_product_that_overlap_share_one_compute(
    declare: Declared, cache: Cache, gate: Gate, threads: Any
) -> None:
    numbers = iter(range(100))

    def compute(key: Any) -> Any:
        gate.stop()
        return next(numbers)

    declare("now", compute, always_fresh=True)
    first = threads(lambda: cache.get("now"))
    gate.reached()
    (joined,) = flight._flights.values()
    others = [threads(lambda: cache.get("now")) for _ in range(5)]
    until(lambda: len(joined.done._cond._waiters) == 6, "all to wait for the one")  # type: ignore[attr-defined]
    gate.open()
    assert [one.result() for one in (first, *others)] == [0] * 6
    assert cache.get("now") == 1, "who comes later has one of its own"
    assert declare.count("now") == 2


@pytest.mark.parametrize(
    "context", [pytest.param("open", marks=pytest.mark.django_db(transaction=True)), "test"]
)
def test_max_age_computes_what_is_older(declare: Declared, cache: Cache, context: str) -> None:
    numbers = iter(range(100))
    declare("page", lambda key: next(numbers))
    with freeze_time("2026-01-31T12:00:00+00:00") as clock:
        assert cache.get("page") == 0
        clock.move(seconds=10)
        assert cache.get("page", max_age=10) == 0
        assert cache.get("page", max_age=timedelta(seconds=9)) == 1
        assert cache.get("page", max_age=timedelta(seconds=9)) == 1
        clock.move(seconds=1)
        assert cache.get("page", max_age=0) == 2
        assert cache.get("page") == 2


@pytest.mark.parametrize("wrong", [-1, "soon", "5", True, float("nan"), -SECOND, [5]])
@pytest.mark.parametrize("stored", [True, False])
def test_a_duration_that_is_none_is_refused_whether_or_not_there_is_a_value(
    declare: Declared, cache: Cache, wrong: Any, stored: bool
) -> None:
    declare("page", 1)
    if stored:
        cache.get("page")
    calls = len(declare.calls)
    for name in ("wait", "max_age"):
        for ask in (cache.get, cache.get_entry):
            with pytest.raises(ValueError, match="A duration is a timedelta"):
                ask("page", **{name: wrong})
    assert len(declare.calls) == calls


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("endless", [float("inf"), timedelta.max, 1e300])
def test_one_may_wait_for_ever(declare: Declared, cache: Cache, endless: Any) -> None:
    declare("page", 7)
    assert cache.get("page", wait=endless) == 7
    assert cache.get("page", wait=endless, max_age=endless) == 7
    assert declare.count("page") == 1


def test_only_what_is_needed_is_computed(declare: Declared, cache: Cache) -> None:
    declare("up", lambda key: key.params["n"], parameters=[IntegerParameter("n")])
    declare("ranking", lambda key: sum(cache.get(f"up/{n}") for n in (3, 50, 97)))
    assert cache.get("ranking") == 150
    assert sorted(declare.calls) == ["ranking", "up/3", "up/50", "up/97"]
    assert Edge.objects.count() == 3


# -- expiry: to the second, on the database's clock or one that stands still


@pytest.mark.parametrize("days", [0, 2])
def test_hard_expiry_is_exact_to_the_second(declare: Declared, cache: Cache, days: int) -> None:
    numbers = iter(range(100))
    life = timedelta(days=days, seconds=90)
    declare("page", lambda key: next(numbers), hard_expire=life)
    # Both days on which New York's clocks change are behind these instants' next two days.
    for start in ("2026-03-07T12:00:00+00:00", "2026-10-31T12:00:00+00:00"):
        with freeze_time(start) as clock:
            cache.unset("page")
            value = cache.get("page")
            clock.move(seconds=life.total_seconds() - 1)
            assert cache.get("page") == value
            assert cache.get_entry("page").state == "fresh"
            clock.move(seconds=1)
            assert cache.get("page") == value + 1


def test_an_expiry_is_exactly_its_duration_after_the_compute_on_a_clock_that_runs(
    declare: Declared, cache: Cache
) -> None:
    """Read twice in one statement, the clock is a microsecond on, now and then."""
    soft, hard = timedelta(seconds=90), timedelta(days=2)
    declare(
        "page",
        lambda key: Author.objects.count(),
        soft_expire=soft,
        hard_expire=hard,
        jitter=0.0,
        depends_on=[On(Author, then="augment")],
        augment=lambda self, key, value, changes: value + len(changes),
    )
    cache.get("page")
    lives = set()
    for n in range(200):
        cache.refresh("page") if n % 2 else cache.set("page", n)
        if n % 20 == 0:
            Author.objects.create(name=str(n))
            run_worker()
        row = DataProduct.objects.get()
        assert row.computed_at is not None
        lives.add((row.soft_expires_at - row.computed_at, row.hard_expires_at - row.computed_at))
    assert lives == {(soft, hard)}


def test_a_none_result_has_a_life_of_its_own(declare: Declared, cache: Cache) -> None:
    found: list[Any] = [None]
    declare("maybe", lambda key: found[-1], hard_expire=60 * MINUTE, negative_expire=MINUTE)
    with freeze_time() as clock:
        assert cache.get("maybe") is None
        found.append(5)
        clock.move(seconds=59)
        assert cache.get("maybe") is None
        clock.move(seconds=1)
        assert cache.get("maybe") == 5
        clock.move(minutes=59)
        assert cache.get("maybe") == 5
    assert len(declare.calls) == 2


def test_jitter_spreads_the_soft_expiry_downwards_only(declare: Declared, cache: Cache) -> None:
    declare("page", 1, parameters=[IntegerParameter("n")], soft_expire=100 * SECOND, jitter=0.5)
    with freeze_time():
        lives = []
        for n in range(40):
            entry = cache.get_entry(f"page/{n}")
            assert entry.soft_expires_at is not None
            assert entry.computed_at is not None
            lives.append((entry.soft_expires_at - entry.computed_at).total_seconds())
    assert all(50 <= life <= 100 for life in lives)
    assert len(set(lives)) > 20


# -- failing


def test_a_failure_is_an_outcome_with_its_own_time(declare: Declared, cache: Cache) -> None:
    declare("broken", lambda key: 1 / 0, backoff=10 * SECOND, backoff_cap=MINUTE)
    with freeze_time() as clock:
        with pytest.raises(ComputeFailed, match="raised ZeroDivisionError"):
            cache.get("broken")
        for _ in range(5):
            with pytest.raises(
                ComputeFailed, match=r"failed with ZeroDivisionError.*tried again in \d+\.\d s"
            ):
                cache.get("broken")
        assert declare.count("broken") == 1
        clock.move(seconds=15)  # the spread is half either way
        with pytest.raises(ComputeFailed):
            cache.get("broken")
        assert declare.count("broken") == 2
        assert cache.explain("broken")["state"] == "failed"
        assert Run.objects.filter(outcome="failed").count() == 2


def test_the_last_good_value_is_served_within_its_allowance_and_no_longer(
    declare: Declared, cache: Cache
) -> None:
    good = [True]

    def compute(key: Any) -> Any:
        if good:
            return None if key.key_base == "none" else "good"
        raise OSError("down")

    for name in ("frail", "none"):
        declare(
            name, compute, hard_expire=MINUTE, stale_if_error=10 * MINUTE, backoff=SECOND, backoff_cap=SECOND
        )
    declare("strict", compute, hard_expire=MINUTE, backoff=SECOND, backoff_cap=SECOND)
    with freeze_time() as clock:
        for name in ("frail", "none", "strict"):
            cache.get(name)
        good.clear()
        clock.move(seconds=60)
        for name, value in (("frail", "good"), ("none", None)):
            entry = cache.get_entry(name)
            assert (entry.value, entry.state) == (value, "failed")
            assert cache.get(name) == value
        with pytest.raises(ComputeFailed, match="down"):
            cache.get("strict")
        clock.move(seconds=10 * 60 - 1)
        assert cache.get("frail") == "good"
        clock.move(seconds=1)
        with pytest.raises(ComputeFailed, match="down"):
            cache.get("frail")
        good.append(True)
        clock.move(seconds=10)
        assert cache.get_entry("frail").state == "fresh"


def test_an_unstorable_value_is_a_clear_error_and_the_old_value_stays(
    declare: Declared, cache: Cache
) -> None:
    values: list[Any] = [{"n": 1}]
    declare("page", lambda key: values[-1])
    cache.get("page")
    before = DataProduct.objects.values().get()
    values.append({"rows": (n for n in range(3))})
    with pytest.raises(UnstorableValue, match=r"^'page': the value at \$\.rows is of type generator.*list\("):
        cache.refresh("page")
    assert DataProduct.objects.values().get() == before
    assert cache.get("page") == {"n": 1}
    run = Run.objects.latest("id")
    assert run.outcome == "failed"
    assert "UnstorableValue" in run.error
    with pytest.raises(UnstorableValue):
        cache.set("page", object())
    assert DataProduct.objects.values().get() == before


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
        (asyncio.CancelledError(), "CancelledError"),
        (Speechless(), r"Speechless: \(it cannot say what\)"),
        (OSError("a\0b \ud800"), "OSError: a"),
        (MemoryError(), "MemoryError"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
@pytest.mark.parametrize(
    "context", [pytest.param("open", marks=pytest.mark.django_db(transaction=True)), "test"]
)
def test_whatever_a_compute_raises_is_a_failed_compute_recorded_and_backed_off(
    declare: Declared, cache: Cache, raised: BaseException, says: str, context: str
) -> None:
    def leave(key: Any) -> Any:
        raise raised

    declare("leaving", leave, backoff=MINUTE)
    for _ in range(3):
        with pytest.raises(ComputeFailed, match=says):
            cache.get("leaving")
    assert declare.count("leaving") == 1
    run = Run.objects.get()
    assert run.outcome == "failed"
    assert run.error.startswith(type(raised).__name__)
    with transaction.atomic():
        Author.objects.create(name="a")  # here it is computed on the caller's connection
        cache.invalidate("leaving")
        with pytest.raises(ComputeFailed, match=says):
            cache.get("leaving")
        assert Author.objects.count() == 1


def test_a_value_larger_than_jsonb_is_told_before_the_database_is_asked(
    declare: Declared, cache: Cache, monkeypatch: Any
) -> None:
    monkeypatch.setattr(storing, "LARGEST", 1000)
    declare("page", lambda key: "ä" * 501)
    cache.set("page", "ä" * 499)
    for ask in (lambda: cache.refresh("page"), lambda: cache.set("page", "ä" * 501)):
        with pytest.raises(UnstorableValue, match="1,004 bytes as JSON"):
            ask()
    assert cache.get("page") == "ä" * 499


def test_a_compute_whose_sql_fails_leaves_the_callers_transaction_usable(
    declare: Declared, cache: Cache
) -> None:
    def wrong(key: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    declare("wrong", wrong)
    with pytest.raises(ComputeFailed, match="no_such_table"):
        cache.get("wrong")
    assert Author.objects.count() == 0
    with transaction.atomic():
        Author.objects.create(name="x")
        with pytest.raises(ComputeFailed, match="no_such_table"):
            cache.refresh("wrong")
        assert Author.objects.count() == 1


def test_unchanged_keeps_the_version_and_wakes_nobody(declare: Declared, cache: Cache) -> None:
    values = [{"n": 1, "a": 2}]
    declare("up", lambda key: values[-1])
    declare("down", lambda key: cache.get("up")["n"])
    with freeze_time() as clock:
        cache.get("down")
        clock.move(seconds=5)
        entry = cache.refresh("up")
        assert (entry.version, entry.computed_at) == (1, clock())
        assert not Pending.objects.exists()
        assert cache.get_entry("down").state == "fresh"
        assert Run.objects.latest("id").outcome == "unchanged"
        values.append({"a": 2, "n": 1})  # another order is another value
        assert cache.refresh("up").version == 2
        assert Pending.objects.count() == 1


def test_a_raised_primer_version_is_a_miss_for_every_older_value(declare: Declared, cache: Cache) -> None:
    numbers = iter(range(100))
    primer = declare("page", lambda key: next(numbers))
    assert cache.get("page") == 0
    primer.version = 2
    assert cache.get("page", prime_on_cache_miss=False, default="none") == "none"
    assert cache.get("page") == 1
    assert cache.get_entry("page").version == 2
    assert cache.get_many(["page"]) == {"page": 1}


async def _version_in_a_coroutine(self: Any, key: Any) -> Any:
    return self.version


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kept": {"keep_history": True},
    "coroutine": {"compute": _version_in_a_coroutine},
    "on a schedule": {"schedule": every(hours=1)},
    "augmented": {
        "depends_on": [On(Author, then="augment")],
        "augment": lambda self, key, value, changes: value + 100 * len(changes),
    },
    "derived": {"depends_on": [On("book_count")]},
    "of none": {"negative_expire": MINUTE},
    "last good": {"hard_expire": MINUTE, "stale_if_error": 60 * MINUTE},
    "pickled": {"codec": SignedPickle()},
}


@pytest.mark.parametrize(
    "context", [pytest.param("open", marks=pytest.mark.django_db(transaction=True)), "test"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_formula_does_not_serve_yesterdays_answer_whatever_the_kind(
    declare: Declared, cache: Cache, settings: Any, kind: str, context: str
) -> None:
    settings.KCK_FLOW = {"ALLOW_PICKLE": True}
    fails = [False]

    def compute(self: Any, key: Any) -> Any:
        if fails[0]:
            raise OSError("down")
        return None if kind == "of none" and self.version == 1 else self.version

    primer = declare.register(
        type("Page", (Primer,), {"key_base": "page", "compute": compute, **KINDS[kind]})
    )
    first = None if kind == "of none" else 1
    assert cache.get("page") == first
    if kind == "augmented":
        Author.objects.create(name="on its way")
        assert cache.get("page") == 101
    primer.version = 2
    assert cache.get("page", "none", prime_on_cache_miss=False) == "none"
    assert cache.get_many(["page"]) == {"page": 2}
    entry = cache.get_entry("page")
    assert (entry.value, entry.version, entry.state) == (2, 2, "fresh")
    assert "version" not in cache.explain("page")["cause"]
    primer.version = 3
    assert "computed by version 2 of the primer; it is at 3" in cache.explain("page")["cause"]
    fails[0] = True
    if kind != "coroutine":
        with pytest.raises(ComputeFailed, match="down"):
            cache.get("page")  # not even in place of an error
    if kind == "kept":
        records = Record.objects.order_by("id").values_list("value", "primer_version")
        assert list(records) == [(1, 1), (2, 2)], "older records keep their mark"


# -- cycles


def test_a_product_that_needs_itself_is_an_error_with_the_way_round(declare: Declared, cache: Cache) -> None:
    declare("self", lambda key: cache.get("self"))
    declare("one", lambda key: cache.get("two"))
    declare("two", lambda key: cache.get("three"))
    declare("three", lambda key: cache.get("one"))
    begun = time.monotonic()
    with pytest.raises(CycleError, match="'self' needs itself: self → self"):
        cache.get("self")
    with pytest.raises(CycleError, match="one → two → three → one"):
        cache.get("one")
    assert time.monotonic() - begun < 5


@pytest.mark.django_db(transaction=True)
def test_a_cycle_is_found_at_once_in_autocommit_and_where_an_old_value_could_be_served(
    declare: Declared, cache: Cache
) -> None:
    circle = [False]
    declare("one", lambda key: cache.get("two") if circle[0] else 1, backoff=timedelta(0))
    declare("two", lambda key: cache.get("one"))
    assert (cache.get("one"), cache.get("two")) == (1, 1)
    circle[0] = True
    begun = time.monotonic()
    cache.invalidate("one")
    with pytest.raises(CycleError, match="one → two → one"):
        cache.get("one")
    assert time.monotonic() - begun < 5
    declare("self", lambda key: cache.get("self"))
    with pytest.raises(CycleError):
        cache.get("self")


# -- many at once


def test_five_hundred_keys_are_one_statement_in_the_order_asked(declare: Declared, cache: Cache) -> None:
    declare("page", lambda key: key.params["n"] * 2, parameters=[IntegerParameter("n")])
    asked = [f"page/{n}" for n in range(500)]
    for key in asked:
        cache.set(key, -1)
    backwards = list(reversed(asked))
    with CaptureQueriesContext(connection) as queries:
        found = cache.get_many([*backwards, "page/3", "page/03"])
    assert len(queries) == 1, [query["sql"][:200] for query in queries]
    assert list(found) == [*backwards, "page/03"]
    assert set(found.values()) == {-1}
    assert declare.calls == []


def test_many_with_misses_and_errors_say_of_each_key_what_happened(declare: Declared, cache: Cache) -> None:
    def compute(key: Any) -> Any:
        if key.params["n"] % 3 == 0:
            raise ValueError(f"no {key}")
        return key.params["n"]

    declare("page", compute, parameters=[IntegerParameter("n")])
    declare("shut", 1, prime_on_cache_miss=False)
    asked = ["page/2", "page/3", "page/x", "unknown/1", "page/1", "shut", "page/2"]
    with pytest.raises(SomeFailed) as caught:
        cache.get_many(asked)
    assert caught.value.results == {"page/2": 2, "page/1": 1}
    assert list(caught.value.errors) == ["page/3", "page/x", "unknown/1", "shut"]
    assert [type(error) for error in caught.value.errors.values()] == [
        ComputeFailed,
        InvalidKey,
        UnknownPrimer,
        NotPrimed,
    ]
    assert "page/3" in str(caught.value)
    shown = cache.get_many(asked, errors="return")
    assert list(shown) == ["page/2", "page/3", "page/x", "unknown/1", "page/1", "shut"]
    assert shown["page/1"] == 1
    assert isinstance(shown["page/3"], ComputeFailed)
    assert cache.get_many(asked, errors="skip") == {"page/2": 2, "page/1": 1}
    assert declare.count("page/3") == 1
    with pytest.raises(ValueError, match="'raise', 'return' or 'skip'"):
        cache.get_many(asked, errors="ignore")
    for wrong in ("page/1", None, 5):
        with pytest.raises(TypeError, match=r"takes a list of keys, not (the text .page/1.|None|5)"):
            cache.get_many(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidKey, match="A key is a text, not 5"):
        cache.get_many(["page/1", 5], errors="return")  # type: ignore[list-item]


@pytest.mark.django_db(transaction=True)
def test_the_misses_of_many_are_computed_side_by_side_within_one_wait(
    declare: Declared, cache: Cache, gate: Gate
) -> None:
    def compute(key: Any) -> Any:
        if key.params["n"] < 4:
            gate.stop()
        return key.params["n"]

    declare("page", compute, parameters=[IntegerParameter("n")], wait=timedelta(seconds=0.4))
    begun = time.monotonic()
    with pytest.raises(SomeFailed) as caught:
        cache.get_many([f"page/{n}" for n in range(6)])
    took = time.monotonic() - begun
    assert took < 1.2, f"the waits of four keys added up to {took:.1f} s"
    assert caught.value.results == {"page/4": 4, "page/5": 5}
    assert {type(error) for error in caught.value.errors.values()} == {WaitTimeout}
    gate.reached(4)  # all four at once
    gate.open()
    at_rest()
    assert cache.get_many([f"page/{n}" for n in range(6)]) == {f"page/{n}": n for n in range(6)}
    assert len(declare.calls) == 6


@pytest.mark.django_db(transaction=True)
def test_many_always_fresh_products_are_computed_once_a_call(declare: Declared, cache: Cache) -> None:
    declare("now", lambda key: key.params["n"], parameters=[IntegerParameter("n")], always_fresh=True)
    assert cache.get_many([f"now/{n}" for n in range(5)]) == {f"now/{n}": n for n in range(5)}
    assert len(declare.calls) == 5


# -- one statement, and the price of a hit


@pytest.mark.parametrize("probed", [False, True])
def test_a_fresh_read_is_one_statement_and_writes_nothing(
    declare: Declared, cache: Cache, probed: bool
) -> None:
    declare("page", {"n": 1}, depends_on=[On(Author)] if probed else [])
    cache.get("page")
    for ask in (cache.get, cache.get_entry):
        with CaptureQueriesContext(connection) as queries:
            ask("page")
        assert len(queries) == 1
        assert queries[0]["sql"].startswith("SELECT")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic", [False, True])
def test_reads_of_a_bounded_family_are_told_once_a_day_and_not_by_their_reader(
    declare: Declared, cache: Cache, monkeypatch: Any, atomic: bool
) -> None:
    declare("page", lambda key: key.params["n"], parameters=[IntegerParameter("n")], max_entries=1)
    declare("free", 1)

    def rows() -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT key, read_at::text, xmin::text FROM kck_product")
            return {key: (read_at, xmin) for key, read_at, xmin in cursor.fetchall()}

    def read() -> list[str]:
        with (
            transaction.atomic() if atomic else nullcontext(),
            CaptureQueriesContext(connection) as queries,
        ):
            cache.get("page/1")
            cache.get("free")
        return [query["sql"][:6] for query in queries if "kck_product" in query["sql"]]

    with freeze_time("2026-01-31T12:00:00+00:00") as clock:
        cache.get_many(["page/1", "page/2", "free"])
        behind.tell_read()
        at_rest()
        first = rows()
        clock.move(days=2)
        assert read() == read() == ["SELECT", "SELECT"]
        at_rest()
        assert rows() == first, "it is not told at once"
        monkeypatch.setattr(behind, "_tell_at", 1.0)  # five minutes have passed
        assert read() == ["SELECT", "SELECT"]
        at_rest()
        second = rows()
        assert {key: read_at for key, (read_at, _) in second.items()} == {
            "page/1": "2026-02-02",
            "page/2": "2026-01-31",
            "free": "2026-01-31",
        }
        assert behind._tell_at > time.monotonic() + 60, "and not again for some minutes"
        read()
        behind.tell_read()
        at_rest()
        assert rows() == second, "nor written twice on one day"


@pytest.mark.django_db(transaction=True)
def test_a_read_is_told_for_its_own_day_however_long_nothing_else_was_read(
    declare: Declared, cache: Cache, monkeypatch: Any
) -> None:
    declare("page", 1, max_entries=1)
    declare("other", 1, max_entries=1)
    with freeze_time("2026-01-31T12:00:00+00:00") as clock:
        cache.get("page")
        cache.get("other")
        behind.tell_read()
        at_rest()
        clock.move(days=1)
        cache.get("page")
        clock.move(days=2)
        monkeypatch.setattr(behind, "_read_from", behind._read_from - 2 * 86_400)
        monkeypatch.setattr(behind, "_tell_at", 1.0)
        cache.get("other")
        at_rest()
        assert DataProduct.objects.get(key="page").read_at == date(2026, 2, 1)
        assert DataProduct.objects.get(key="other").read_at == date(2026, 1, 31)
        behind.tell_read()
        at_rest()
        assert DataProduct.objects.get(key="other").read_at == date(2026, 2, 3)


def test_in_a_test_case_nothing_is_told_of_reads(declare: Declared, cache: Cache) -> None:
    declare("page", 1, max_entries=1)
    with freeze_time() as clock:
        cache.get("page")
        clock.move(days=2)
        cache.get("page")
        assert behind._read
        with CaptureQueriesContext(connection) as queries:
            behind.tell_read()
        at_rest()
        assert not queries
        assert not behind._read
        assert DataProduct.objects.get().read_at == (clock() - timedelta(days=2)).date()


@pytest.mark.django_db(transaction=True)
def test_a_crowd_of_reads_is_remembered_as_a_sample_of_bounded_size(
    declare: Declared, cache: Cache, monkeypatch: Any
) -> None:
    monkeypatch.setattr(behind, "READ_MOST", 3)
    declare("page", 1, parameters=[IntegerParameter("n")], max_entries=1)
    cache.get_many([f"page/{n}" for n in range(10)])
    assert len(behind._read["default"]) == 3


@pytest.mark.django_db(transaction=True)
def test_a_hundred_reads_of_a_stale_value_want_one_refresh_and_wait_for_nothing(
    declare: Declared, cache: Cache, gate: Gate
) -> None:

    def compute(key: Any) -> Any:
        gate.stop()
        return "new"

    declare("page", compute)
    cache.set("page", "old", soft_expire=timedelta(0))
    assert {cache.get("page") for _ in range(100)} == {"old"}
    gate.reached()
    until(lambda: cache.get_entry("page").state == "computing", "the entry to say so")
    assert cache.is_refreshing("page")
    assert {cache.get("page") for _ in range(100)} == {"old"}
    gate.open()
    until(lambda: cache.get_entry("page").version == 2, "the refresh")
    assert declare.count("page") == 1


@pytest.mark.django_db(transaction=True)
def test_where_a_worker_lives_a_stale_read_asks_it_once(declare: Declared, cache: Cache) -> None:
    from kck_flow.models import Worker

    now = datetime.now(UTC)
    Worker.objects.create(host="h", pid=1, started_at=now, seen_at=now)
    declare("page", 1, soft_expire=timedelta(0), jitter=0.0)
    cache.get("page")
    for _ in range(1000):
        cache.get("page")
    at_rest()
    slot = Refresh.objects.get()
    assert slot.due_at is not None
    assert slot.want == slot.claimed_want + 1
    assert declare.count("page") == 1


# -- the in-process tier


@pytest.mark.django_db(transaction=True)
def test_the_tier_serves_copies_without_a_statement_and_never_past_its_bound(
    declare: Declared, cache: Cache, settings: Any
) -> None:
    settings.KCK_FLOW = {"TIER_SECONDS": 0.3}
    declare("page", lambda key: {"n": [1]})
    cache.get("page")
    cache.get("page")["n"].append(2)
    with CaptureQueriesContext(connection) as queries:
        assert cache.get("page") == {"n": [1]}
        assert cache.get("page", max_age=60) == {"n": [1]}
    assert len(queries) == 1, "only the read with a max_age asks the store"
    with connection.cursor() as cursor:  # somebody in another process
        cursor.execute("UPDATE kck_product SET value = '{\"n\": [9]}', version = version + 1")
    begun = time.monotonic()
    until(lambda: cache.get("page") == {"n": [9]}, "the bound to pass", limit=5)
    assert time.monotonic() - begun < 1.0
    cache.set("page", {"n": []})
    assert cache.get("page") == {"n": []}


@pytest.mark.django_db(transaction=True)
def test_a_compute_that_reads_from_the_tier_still_depends_on_what_it_read(
    declare: Declared, cache: Cache, settings: Any
) -> None:
    settings.KCK_FLOW = {"TIER_SECONDS": 60}
    declare("up", 1)
    declare("down", lambda key: cache.get("up") + 1)
    for _ in range(3):
        cache.get("up")
    assert cache.get("down") == 2
    assert Edge.objects.count() == 1
    with transaction.atomic():
        with CaptureQueriesContext(connection) as queries:
            cache.get("up")
        assert len(queries) == 1, "inside a transaction the tier is not read"


@pytest.mark.django_db(transaction=True)
def test_a_crowd_at_the_caches_own_connections_is_waited_out(
    declare: Declared, cache: Cache, settings: Any, gate: Gate, threads: Any, monkeypatch: Any
) -> None:
    settings.KCK_FLOW = {"PRIVATE_CONNECTIONS": 1, "CLAIM_TIMEOUT": 0.05}
    tries: list[str] = []
    claim = flight._claim
    monkeypatch.setattr(flight, "_claim", lambda one: tries.append(str(one.key)) or claim(one))
    declare("page", lambda key: key.params["n"], parameters=[IntegerParameter("n")])

    def crowd() -> None:
        with private.session("default", timeout=20):
            gate.stop()

    held = threads(crowd)
    gate.reached()
    mine = threads(lambda: cache.get_many([f"page/{n}" for n in range(3)]))
    until(lambda: all(tries.count(f"page/{n}") > 2 for n in range(3)), "each to be turned away twice")
    gate.open()
    held.result()
    assert mine.result() == {f"page/{n}": n for n in range(3)}
    assert len(declare.calls) == 3
