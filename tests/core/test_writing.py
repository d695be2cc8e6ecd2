"""A product is written: set, patched, removed, invalidated, published (features 26 to 28, 36, 38, 54 to 58, 97, 98)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from kck_flow import Cache, IntegerParameter, Key, On, Primer, signals
from kck_flow.cache import flight
from kck_flow.errors import HookFailed, InvalidKey, NotPrimed, UnstorableValue, VersionMismatch
from kck_flow.models import DataProduct, Edge, Pending, Refresh, Run
from kck_flow.testing import freeze_time, run_worker
from tests.core.conftest import Declared, Gate, Thread, all_at_once, at_rest
from tests.harness.locks import wait_until_queued
from tests.harness.wait import until
from tests.shop.models import Author

pytestmark = pytest.mark.django_db
really = pytest.mark.django_db(transaction=True)
MINUTE = timedelta(minutes=1)


# -- set


def test_a_value_that_is_set_is_what_any_read_returns(declare: Declared, cache: Cache) -> None:
    declare("page", "computed", soft_expire=MINUTE, hard_expire=2 * MINUTE, jitter=0.0)
    value = {"z": (1,), "a": [1]}
    with freeze_time() as clock:
        entry = cache.set("page", value)
        assert (entry.value, entry.version, entry.state, entry.age) == (value, 1, "fresh", timedelta(0))
        assert (entry.soft_expires_at, entry.hard_expires_at) == (clock() + MINUTE, clock() + 2 * MINUTE)
        value["a"].append(2)
        assert entry.value == {"z": (1,), "a": [1]}, "the entry's value is a copy"
        assert cache.get("page") == {"z": (1,), "a": [1]}
        entry = cache.set("page", None, soft_expire=None, hard_expire=timedelta(seconds=5))
        assert (entry.value, entry.version) == (None, 2)
        assert (entry.soft_expires_at, entry.hard_expires_at) == (None, clock() + timedelta(seconds=5))
        assert cache.get("page") is None
        clock.move(seconds=5)
        assert cache.get("page") == "computed"
    assert declare.count("page") == 1


@really
@pytest.mark.parametrize("wrong", [5, -MINUTE, timedelta.max, timedelta(days=365_000), "1m", True])
def test_an_expiry_that_is_none_is_refused_and_nothing_stored(cache: Cache, wrong: Any) -> None:
    cache.set("any/1", "old")
    before = DataProduct.objects.values().get()
    for name in ("soft_expire", "hard_expire"):
        with pytest.raises(ValueError, match=f"{name} is a timedelta from zero to a hundred years"):
            cache.set("any/1", "new", **{name: wrong})
    assert DataProduct.objects.values().get() == before
    century = timedelta(days=36_525)
    assert cache.set("any/1", "new", soft_expire=century, hard_expire=century).state == "fresh"


def test_versions_grow_by_one_for_each_change_and_never_restart(declare: Declared, cache: Cache) -> None:
    declare("page", "computed")
    versions = [cache.set("page", n).version for n in range(3)]
    cache.unset("page")
    assert not cache.unset("page"), "there was nothing to remove"
    versions.append(cache.set("page", 9).version)
    cache.invalidate("page")
    versions.append(cache.get_entry("page").version)
    versions.append(cache.refresh("page").version)
    assert versions == [1, 2, 3, 5, 6, 6]


def test_compare_and_set_lets_one_of_two_win(declare: Declared, cache: Cache) -> None:
    declare("page", 1)
    assert cache.set("page", "first", check_version=0).version == 1
    with pytest.raises(VersionMismatch, match="has version 1, not 0") as caught:
        cache.set("page", "x", check_version=0)
    assert caught.value.version == 1
    assert cache.set("page", "second", check_version=1).version == 2
    with pytest.raises(VersionMismatch):
        cache.set("page", "x", check_version=1)
    with pytest.raises(VersionMismatch, match="has version 0, not 3"):
        cache.set("any/other", 1, check_version=3)
    assert not cache.is_set("any/other")
    assert cache.get("page") == "second"
    for wrong in (-1, "1", True, 2**63):
        with pytest.raises(ValueError, match="check_version"):
            cache.set("page", 1, check_version=wrong)  # type: ignore[arg-type]


@really
def test_of_two_writers_with_one_version_exactly_one_wins_though_they_overlap(
    cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    cache.set("any/1", "old")

    def first() -> None:
        with transaction.atomic():
            cache.set("any/1", "first", check_version=1)
            gate.stop()

    one = threads(first)
    gate.reached()
    two = threads(lambda: cache.set("any/1", "second", check_version=1))
    wait_until_queued(1)
    gate.open()
    one.result()
    assert isinstance(two.failure(), VersionMismatch)
    assert cache.get("any/1") == "first"


@really
def test_twenty_first_sets_at_once_leave_one_row_and_no_error(cache: Cache) -> None:
    found = all_at_once(20, lambda n: cache.set("any/1", n).version)
    assert sorted(found) == list(range(1, 21))
    assert DataProduct.objects.count() == 1


@really
def test_twenty_first_reads_at_once_leave_one_row_and_one_slot(declare: Declared, cache: Cache) -> None:
    declare("page", lambda key: {"n": 1})
    assert all_at_once(20, lambda n: cache.get("page")) == [{"n": 1}] * 20
    assert DataProduct.objects.count() == Refresh.objects.count() == 1
    assert declare.count("page") == 1


# -- transactions


@really
def test_a_rollback_leaves_no_trace_and_a_commit_makes_visible(
    declare: Declared, cache: Cache, threads: Callable[..., Thread]
) -> None:
    declare("up", 1)
    declare("down", lambda key: cache.get("up") * 10)
    assert cache.get("down") == 10
    tables = {model: list(model.objects.values()) for model in (DataProduct, Pending, Refresh, Run, Edge)}
    with transaction.atomic():
        cache.set("up", 2)
        cache.set("any/1", {"a": 1})
        cache.patch("any/1", "a", 2)
        cache.invalidate("down")
        cache.request_refresh("down")
        assert cache.get("up") == 2
        assert threads(lambda: cache.get("up")).result() == 1
        transaction.set_rollback(True)
    at_rest()
    assert {model: list(model.objects.values()) for model in tables} == tables
    with transaction.atomic():
        cache.set("up", 3)
    assert cache.get("down") == 30


@really
def test_setting_inside_a_transaction_never_waits_for_itself(declare: Declared, cache: Cache) -> None:
    """The cache's own connection would wait for the caller's uncommitted row for ever."""
    declare("page", "computed")
    with transaction.atomic():
        cache.set("page", 1)
        assert cache.get("page") == 1
        cache.invalidate("page")
        assert cache.get("page") == "computed"
        cache.unset("page")
        assert cache.get("page") == "computed"
        assert cache.refresh("page").value == "computed"
        assert cache.set("page", 5).version == 3
    at_rest()
    assert cache.get("page") == 5


# -- what is set while something is computed


@really
@pytest.mark.parametrize("change", ["set", "unset", "invalidate", "family", "partial", "patch"])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_that_was_changed_meanwhile_is_undone_by_a_computation_that_began_before(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread], change: str, first: bool
) -> None:
    if change == "patch" and first:
        return
    source = ["old"]

    def compute(key: Key) -> Any:
        value = source[-1]
        if value == "old" and gate_wanted[0]:
            gate.stop()
        return {"v": value}

    gate_wanted = [first]
    declare("page", compute, parameters=[IntegerParameter("n"), IntegerParameter("m", default=0)])
    key = "page/1/0"
    if not first:
        assert cache.get(key) == {"v": "old"}
        gate_wanted[0] = True
        cache.invalidate(key) if change != "patch" else None
    early = threads(lambda: cache.refresh(key) if change == "patch" else cache.get(key))
    gate.reached()
    source.append("new")
    if change == "set":
        cache.set(key, {"v": "set"})
    elif change == "unset":
        cache.unset(key)
    elif change == "invalidate":
        cache.invalidate(key)
    elif change == "family":
        cache.invalidate(key_base="page")
    elif change == "partial":
        cache.invalidate(key_base="page", n=1)
    else:
        cache.patch(key, "v", "patched")
    expected = {"set": "set", "patch": "patched"}.get(change, "new")
    begun = next(iter(flight._flights.values()))
    late = threads(lambda: cache.get(key))
    # It waits for the flight, or had its answer without one (what was set, what was patched).
    until(lambda: len(begun.done._cond._waiters) > 1 or not late.is_alive(), "the late one to look")  # type: ignore[attr-defined]
    gate.open()
    early.result()
    assert late.result() == {"v": expected}, "nobody who asked afterwards gets what began before"
    at_rest()
    assert cache.get(key) == {"v": expected}
    assert DataProduct.objects.get(key=key).value == {"v": expected}


@really
def test_a_computation_that_was_overtaken_is_told_so_and_its_caller_has_a_value(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    def compute(key: Any) -> Any:
        gate.stop()
        return "computed"

    declare("page", compute)
    caller = threads(lambda: cache.get("page"))
    gate.reached()
    cache.set("page", "set")
    gate.open()
    assert caller.result() == "computed"
    assert cache.get("page") == "set"
    assert Run.objects.get().outcome == "superseded"
    slot = Refresh.objects.get()
    assert (slot.lease_until, slot.attempts) == (None, 0)


# -- a source that moves while it is read: the edge is committed first, the versions are compared last


def _sources(declare: Declared, cache: Cache, gate: Gate, before: bool) -> None:
    cache.set("any/up", 1)

    def compute(key: Key) -> Any:
        value = cache.get("any/up", None)
        if before and threading.current_thread() is not threading.main_thread():
            gate.stop()
        return value

    declare("down", compute)


CHANGES: dict[str, tuple[Callable[[Cache], Any], Any]] = {
    "set": (lambda cache: cache.set("any/up", 2), 2),
    "unset": (lambda cache: cache.unset("any/up"), None),
    "invalidate": (lambda cache: cache.invalidate("any/up"), None),
    "family": (lambda cache: cache.invalidate(key_base="any"), None),
}


@really
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changed_between_read_and_publish_makes_the_product_stale(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread], change: str
) -> None:
    _sources(declare, cache, gate, before=True)
    act, after = CHANGES[change]
    caller = threads(lambda: cache.get("down"))
    gate.reached()
    act(cache)
    gate.open()
    assert caller.result() == 1
    assert cache.get("down") == after


@really
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_changed_in_a_transaction_that_commits_after_the_publish_is_not_lost(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread], change: str
) -> None:
    """The writer looked for readers before there was an edge; the reader looked before there was a new version."""
    _sources(declare, cache, gate, before=False)
    act, after = CHANGES[change]

    def write() -> None:
        with transaction.atomic():
            act(cache)
            gate.stop()

    writer = threads(write)
    gate.reached()
    assert cache.get("down") == 1, "the change is not committed"
    at_rest()
    gate.open()
    writer.result()
    assert cache.get("down") == after


@really
@pytest.mark.parametrize("read_before", [False, True])
def test_a_writer_that_waited_for_the_row_looks_for_readers_when_it_has_it(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread], read_before: bool
) -> None:
    """Its statement began before there was an edge; the reader has looked before the row was changed."""
    _sources(declare, cache, gate, before=False)
    declare("other", lambda key: cache.get("any/up"))
    if read_before:
        cache.get("other")  # then it is the longer statement that waits

    def hold() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM kck_product WHERE key = 'any/up' FOR SHARE")
            gate.stop()

    holder = threads(hold)
    gate.reached()
    writer = threads(lambda: cache.set("any/up", 2))
    wait_until_queued(1)
    assert cache.get("down") == 1
    assert cache.get_entry("down").state == "fresh", "nothing tells the reader"
    gate.open()
    holder.result()
    writer.result()
    assert cache.get("down") == 2


@really
@pytest.mark.parametrize("augmented", [False, True])
def test_a_source_published_while_a_product_is_published_is_not_lost(
    declare: Declared,
    cache: Cache,
    gates: Callable[[], Gate],
    threads: Callable[..., Thread],
    augmented: bool,
) -> None:
    """The same with two publishes: one holds its transaction open in a hook."""
    values, held, hold = [1], gates(), [False]

    class Up(Primer):
        key_base = "up"

        def compute(self, key: Key) -> Any:
            return values[-1]

        def post_write(self, key: Key, entry: Any, old: Any) -> None:
            if hold[0]:
                held.stop()

    declare.register(Up)
    declare(
        "down",
        lambda key: cache.get("up"),
        depends_on=[On(Author, then="augment")] if augmented else [],
        augment=lambda self, key, value, changes: value,
    )
    cache.get("up")
    values.append(2)
    hold[0] = True
    writer = threads(lambda: cache.refresh("up"))
    held.reached()
    assert cache.get("down") == 1
    at_rest_but_one()
    held.open()
    writer.result()
    assert cache.get("down") == 2


@really
def test_what_is_derived_from_a_product_whose_source_was_being_changed_is_found_by_the_drain(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    """The writer marked what was derived by then; what was derived while it held its transaction open, nobody has."""
    declare("authors", lambda key: Author.objects.count(), depends_on=[On(Author)])
    declare("page", lambda key: cache.get("authors"))
    cache.get("authors")

    def write() -> None:
        with transaction.atomic():
            Author.objects.create(name="a")
            gate.stop()

    writer = threads(write)
    gate.reached()
    assert cache.get("page") == 0
    gate.open()
    writer.result()
    run_worker()
    assert cache.get("page") == 1


@really
def test_finding_nothing_is_a_dependency_too(
    declare: Declared, cache: Cache, threads: Callable[..., Thread]
) -> None:
    declare("shut", 5, prime_on_cache_miss=False)
    declare("page", lambda key: (cache.get("shut", "none"), _or_none(cache, "any/y")))
    assert cache.get("page") == ("none", "none")
    assert cache.get_entry("page").state == "fresh"
    cache.set("shut", 7)
    assert cache.get("page") == (7, "none")
    cache.set("any/y", 8)
    assert cache.get("page") == (7, 8)
    assert declare.count("page") == 3


def _or_none(cache: Cache, key: str) -> Any:
    try:
        return cache.get(key)
    except KeyError:
        return "none"


def at_rest_but_one() -> None:
    until(lambda: len(flight._flights) <= 1, "the others to rest")


# -- patch


def test_a_patch_changes_one_place_and_says_where_there_is_none(declare: Declared, cache: Cache) -> None:
    declare("page", {"total": 1, "a": {"b": [10, 20]}})
    with pytest.raises(NotPrimed):
        cache.patch("page", "total", 2)
    cache.get("page")
    entry = cache.patch("page", "total", 2)
    assert (entry.value, entry.version) == ({"total": 2, "a": {"b": [10, 20]}}, 2)
    assert list(entry.value) == ["total", "a"]
    cache.patch("page", ["a", "b", 1], {"when": timedelta(1)})
    cache.patch("page", "a.new", (1, 2))
    assert cache.get("page") == {"total": 2, "a": {"b": [10, {"when": timedelta(1)}], "new": (1, 2)}}
    for wrong in (
        "x.y",
        ["a", "b", "c", "d"],
        "total.deep.er",
        "total.deep",
        "a.b.x",
        "a.new.0",
        "a.b.1.when.x",
    ):
        with pytest.raises(ValueError, match="no place"):
            cache.patch("page", wrong, 1)
    cache.set("any/1", 5)
    with pytest.raises(ValueError, match="'any/1' has no place 'a' to patch"):
        cache.patch("any/1", "a", 1)
    cache.set("any/1", {"$a": 1})
    assert cache.patch("any/1", "$a", 2).value == {"$a": 2}
    assert cache.patch("any/1", "$order", 3).value == {"$a": 2, "$order": 3}
    for wrong in ("", [], "a..b", 5, None, [1.5], [None], [True]):
        with pytest.raises(ValueError, match="path"):
            cache.patch("page", wrong, 1)  # type: ignore[arg-type]
    with pytest.raises(UnstorableValue):
        cache.patch("page", "total", object())
    assert cache.get_entry("page").version == 4


@really
def test_two_patches_that_overlap_both_survive(
    cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    cache.set("any/1", {"b": 0, "a": 0})

    def first() -> None:
        with transaction.atomic():
            cache.patch("any/1", "b", 1)
            gate.stop()

    one = threads(first)
    gate.reached()
    two = threads(lambda: cache.patch("any/1", "a", 2))
    wait_until_queued(1)
    gate.open()
    one.result()
    two.result()
    assert list(cache.get("any/1").items()) == [("b", 1), ("a", 2)]
    assert cache.get_entry("any/1").version == 3


# -- unset and invalidate


def test_removing_reaches_what_was_made_from_it(declare: Declared, cache: Cache) -> None:
    declare("up", 1)
    declare("read", lambda key: cache.get("up", None, prime_on_cache_miss=False))
    declare("declared", 5, depends_on=[On("up")])
    cache.get("up")
    assert (cache.get("read"), cache.get("declared")) == (1, 5)
    assert cache.unset("up") is True
    assert cache.explain("read")["cause"] == "something it was made from has changed"
    assert cache.get("read") is None
    cache.get("declared")
    assert declare.count("declared") == 2


def test_invalidating_takes_a_key_a_family_or_those_with_some_parameters(
    declare: Declared, cache: Cache
) -> None:
    declare(
        "page", lambda key: dict(key.params), parameters=[IntegerParameter("author"), IntegerParameter("n")]
    )
    keys = [f"page/{author}/{n}" for author in (1, 2) for n in (1, 2)]
    cache.get_many(keys)
    assert cache.invalidate("page/1/1") == 1
    assert cache.invalidate(key_base="page", author=2) == 2
    none = {key: cache.get(key, None, prime_on_cache_miss=False) for key in keys}
    assert none == {"page/1/1": None, "page/1/2": {"author": 1, "n": 2}, "page/2/1": None, "page/2/2": None}
    cache.get_many(keys)
    assert len(declare.calls) == 7
    assert cache.invalidate(key_base="page", author=1, n=2) == 1
    assert cache.invalidate(key_base="page") == 4
    cache.get_many(keys)
    assert len(declare.calls) == 11
    cache.get_many(keys)
    assert len(declare.calls) == 11, "a mark of the family is answered once by each product"
    with pytest.raises(InvalidKey, match="no parameter 'autor'"):
        cache.invalidate(key_base="page", autor=1)
    with pytest.raises(InvalidKey, match="author must be an int"):
        cache.invalidate(key_base="page", author="x")
    with pytest.raises(InvalidKey, match="A key base is a text, not 5"):
        cache.invalidate(key_base=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        cache.invalidate()
    with pytest.raises(TypeError):
        cache.invalidate("page/1/1", key_base="page")


def test_a_default_of_none_is_a_parameter_to_invalidate_by(declare: Declared, cache: Cache) -> None:
    declare("page", 1, parameters=[IntegerParameter("n"), IntegerParameter("m", default=None)])
    cache.get_many(["page/1/", "page/1/5", "page/2/"])
    assert cache.invalidate(key_base="page", m=None) == 2
    assert cache.invalidate(key_base="page", m=5) == 1
    with pytest.raises(InvalidKey, match="n must be an int, not None"):
        cache.invalidate(key_base="page", n=None)


@really
def test_the_drain_of_a_familys_mark_does_not_invalidate_what_was_computed_since(
    declare: Declared, cache: Cache
) -> None:
    declare("page", lambda key: 1, parameters=[IntegerParameter("n")])
    cache.get_many(["page/1", "page/2"])
    cache.invalidate(key_base="page")
    cache.get("page/1")
    run_worker()
    assert not Pending.objects.exists()
    cache.get_many(["page/1", "page/2"])
    assert sorted(declare.calls) == ["page/1", "page/1", "page/2", "page/2"]


@really
def test_a_computation_that_began_after_a_familys_mark_is_not_refused_when_it_is_drained(
    declare: Declared, cache: Cache, gate: Gate, threads: Callable[..., Thread]
) -> None:
    hold = [False]

    def compute(key: Key) -> Any:
        if hold[0]:
            gate.stop()
        return 1

    declare("page", compute, parameters=[IntegerParameter("n")])
    cache.get("page/1")
    cache.invalidate(key_base="page")
    hold[0] = True
    caller = threads(lambda: cache.get("page/1"))
    gate.reached()
    run_worker()
    gate.open()
    assert caller.result() == 1
    assert cache.get("page/1") == 1
    assert declare.count("page/1") == 2


# -- hooks


class Told(list[Any]):
    """What the hooks were told, in order."""


@pytest.fixture
def told() -> Told:
    return Told()


def hooked(told: Told, **more: Any) -> type[Primer]:
    body: dict[str, Any] = {}
    for when in ("pre", "post"):
        for what in ("prime", "set", "unset", "refresh", "augment", "write"):
            name = f"{when}_{what}"

            def hook(self: Primer, key: Key, name: str = name, **given: Any) -> None:
                told.append((name, str(key), {k: getattr(v, "value", v) for k, v in given.items()}))

            body[name] = hook
    return type("Hooked", (Primer,), {"__module__": __name__, **body, **more})


def test_hooks_run_in_order_with_what_was_and_what_is(declare: Declared, cache: Cache, told: Told) -> None:
    values = iter(["computed", "again", "once more"])
    declare("page", lambda key: next(values), base=hooked(told))
    cache.get("page")
    assert told == [
        ("pre_prime", "page", {}),
        ("pre_write", "page", {"value": "computed"}),
        ("post_write", "page", {"entry": "computed", "old": None}),
        ("post_prime", "page", {"entry": "computed", "old": None}),
    ]
    told.clear()
    cache.refresh("page")
    assert [name for name, _, _ in told] == ["pre_refresh", "pre_write", "post_write", "post_refresh"]
    assert told[-1][2] == {"entry": "again", "old": "computed"}
    told.clear()
    cache.set("page", "set")
    assert told == [
        ("pre_set", "page", {"value": "set"}),
        ("pre_write", "page", {"value": "set"}),
        ("post_write", "page", {"entry": "set", "old": "again"}),
        ("post_set", "page", {"entry": "set", "old": "again"}),
    ]
    told.clear()
    cache.set("page", {"a": 1}, hooks=False)
    assert told == []
    cache.patch("page", "a", 2)
    assert told[-1] == ("post_write", "page", {"entry": {"a": 2}, "old": {"a": 1}})
    told.clear()
    cache.unset("page")
    assert told == [("pre_unset", "page", {}), ("post_unset", "page", {"old": {"a": 2}})]
    told.clear()
    cache.get("page")
    cache.get("page")
    assert len(told) == 4, "a hit tells nobody"


def test_hooks_of_augment_see_the_changes(declare: Declared, cache: Cache, told: Told) -> None:
    declare(
        "authors",
        lambda key: Author.objects.count(),
        base=hooked(told),
        depends_on=[On(Author, then="augment")],
        augment=lambda self, key, value, changes: value + len(changes),
    )
    cache.get("authors")
    told.clear()
    Author.objects.create(name="a")
    run_worker()
    assert [name for name, _, _ in told] == ["pre_augment", "pre_write", "post_write", "post_augment"]
    assert len(told[0][2]["changes"]) == 1
    assert told[-1][2] == {"entry": 1, "old": 0}


def test_every_hook_is_a_signal_too_sent_by_the_primers_class(declare: Declared, cache: Cache) -> None:
    seen: list[tuple[str, Any, dict[str, Any]]] = []
    receivers = {}
    for name in [n for n in vars(signals) if n.startswith(("pre_", "post_"))]:

        def receive(sender: Any, name: str = name, **given: Any) -> None:
            seen.append((name, sender, {k: v for k, v in given.items() if k != "signal"}))

        receivers[name] = receive
        getattr(signals, name).connect(receive)
    try:
        primer = declare("page", lambda key: 1, keep_history=True)
        cache.get("page")
        cache.refresh("page")
        cache.set("page", 5)
        cache.unset("page")
        cache.set("any/1", 1)
    finally:
        for name, receive in receivers.items():
            getattr(signals, name).disconnect(receive)
    names = [name for name, _, _ in seen]
    assert names[:5] == ["pre_prime", "pre_write", "post_record", "post_write", "post_prime"]
    assert {"pre_refresh", "post_refresh", "pre_set", "post_set", "pre_unset", "post_unset"} <= set(names)
    assert {sender for _, sender, given in seen if given["key"] == "page"} == {type(primer)}
    assert {sender for _, sender, given in seen if given["key"] == "any/1"} == {None}


@really
@pytest.mark.parametrize("hook", ["pre_set", "pre_write", "post_write", "post_set"])
def test_an_exception_in_a_hook_leaves_neither_value_nor_mark_nor_what_hooks_wrote(
    declare: Declared, cache: Cache, hook: str
) -> None:
    def fail(self: Primer, key: Key, **given: Any) -> None:
        Author.objects.create(name="by the hook")
        raise TypeError("no")

    declare("page", 1, base=type("Base", (Primer,), {hook: fail}))
    declare("down", 1, depends_on=[On("page")])
    with pytest.raises(
        HookFailed, match=f"{hook} of 'page' raised TypeError: no. Nothing was stored"
    ) as caught:
        cache.set("page", 2)
    assert isinstance(caught.value.__cause__, TypeError)
    trace = caught.value.__cause__.__traceback__
    names = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "fail", "the real error keeps its own traceback"
    assert not cache.is_set("page")
    assert not Pending.objects.exists()
    assert not Author.objects.exists()


def test_a_lane_that_does_not_exist_is_refused_and_nothing_queued(declare: Declared, cache: Cache) -> None:
    declare("page", lambda key: 1)
    for wrong in (10, -1, 2.5, True, "urgent"):
        with pytest.raises(ValueError, match="from 0 to 9"):
            cache.request_refresh("page", wrong)  # type: ignore[arg-type]
    assert not Refresh.objects.exists()


@really
@pytest.mark.parametrize("context", ["pool", "worker"])
def test_an_exception_in_a_post_hook_of_a_compute_leaves_neither_value_nor_mark(
    declare: Declared, cache: Cache, context: str
) -> None:
    fails = [True]

    def hook(self: Primer, key: Key, **given: Any) -> None:
        Author.objects.create(name="by the hook")
        if fails:
            raise TypeError("no")

    declare("page", "value", base=type("Base", (Primer,), {"post_write": hook}), backoff=timedelta(0))
    declare("down", 1, depends_on=[On("page")])
    if context == "pool":
        with pytest.raises(HookFailed, match="post_write"):
            cache.get("page")
    else:
        cache.request_refresh("page")
        assert "failed" in run_worker(most=1).outcomes
    assert not cache.is_set("page")
    assert not Author.objects.exists()
    assert not Pending.objects.exists()
    assert "HookFailed" in Run.objects.latest("id").error
    fails.clear()
    assert cache.refresh("page").value == "value"
    assert Author.objects.count() == 1, "what the hook wrote came with the value"


@pytest.mark.parametrize("policy", ["log", "retry"])
def test_the_policy_for_failing_hooks_is_explicit(
    declare: Declared, cache: Cache, policy: str, caplog: Any
) -> None:
    attempts: list[int] = []

    def hook(self: Primer, key: Key, **given: Any) -> None:
        attempts.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM kck_product")  # fails if the transaction was left broken
            if policy == "log" or len(attempts) < 3:
                cursor.execute("SELECT no_such_column")

    declare("page", 1, base=type("Base", (Primer,), {"pre_write": hook}), hook_errors=policy)
    assert cache.set("page", 2).value == 2
    assert len(attempts) == (1 if policy == "log" else 3)
    assert ("hook.failed" if policy == "log" else "hook.retried") in caplog.text
    assert Author.objects.count() == 0
    attempts.clear()
    cache.invalidate("page")
    assert cache.get("page") == 1
    assert Author.objects.count() == 0


# -- an invalidated family without an end: marks are remembered, not counted


@really
def test_a_stale_mark_of_a_product_that_declares_nothing_is_obeyed(declare: Declared, cache: Cache) -> None:
    from kck_flow import updates

    declare("page", lambda key: Author.objects.count())
    declare("soft", lambda key: Author.objects.count())
    assert (cache.get("page"), cache.get("soft")) == (0, 0)

    @updates("page")
    def add(name: str) -> None:
        Author.objects.create(name=name)

    @updates("soft", then="refresh")
    def add_softly(name: str) -> None:
        Author.objects.create(name=name)

    add("a")
    assert cache.get("page") == 1
    add_softly("b")
    assert cache.get_entry("soft").state in ("stale", "computing")
    until(lambda: cache.get("soft") == 2, "the refresh, though no worker lives")
    assert declare.count("soft") == 2


@pytest.mark.django_db
def test_an_argument_of_updates_that_is_no_parameter_is_named_and_nothing_is_written(
    declare: Declared,
) -> None:
    from kck_flow import updates

    declare("page", 1, parameters=[IntegerParameter("number")])

    @updates("page")
    def add(number: object) -> None:
        Author.objects.create(name="a")

    with pytest.raises(InvalidKey, match="'page': number must be an int, not 'x'"):
        add("x")
    assert not Author.objects.exists()


@pytest.mark.parametrize("context", ["open", "atomic", "test"])
def test_a_refresh_is_queued_in_a_lane_that_some_worker_serves(
    declare: Declared, cache: Cache, context: str, request: Any
) -> None:
    request.getfixturevalue("db" if context == "test" else "transactional_db")
    declare("page", 1)
    for wrong in (-1, 10, 10**6, 1.0, 1.5, "high", True):
        with (
            transaction.atomic() if context == "atomic" else nullcontext(),
            pytest.raises(ValueError, match="priority is a lane, a whole number from 0 to 9"),
        ):
            cache.request_refresh("page", priority=wrong)  # type: ignore[arg-type]
    assert not Refresh.objects.exists()
    assert not Pending.objects.exists()
    assert cache.request_refresh("page", priority=9)
    assert run_worker().keys == ["page"]


# -- a mapping that raises


@pytest.mark.parametrize("then", ["stale", "refresh", "augment"])
def test_a_mapping_that_raises_neither_fails_the_writer_nor_loses_the_change(
    declare: Declared, cache: Cache, caplog: Any, then: Any
) -> None:
    declare(
        "page",
        lambda key: Author.objects.count(),
        parameters=[IntegerParameter("n")],
        depends_on=[On(Author, key=lambda change: change.new.no_such_column, then=then)],
        augment=lambda self, key, value, changes: value,
    )
    cache.get_many(["page/1", "page/2"])
    Author.objects.create(name="a")
    assert cache.get_many(["page/1", "page/2"]) == {"page/1": 1, "page/2": 1}
    assert "mapping.failed family=page" in caplog.text
    assert "no_such_column" in caplog.text


def test_a_mapping_that_looks_at_values_is_told_of_an_invalidation_without_any(
    declare: Declared, cache: Cache, caplog: Any
) -> None:
    declare("up", {"of": 1}, prime_on_cache_miss=True)
    declare(
        "down",
        lambda key: key.params["n"],
        parameters=[IntegerParameter("n")],
        depends_on=[On("up", key=lambda change: change.new["of"])],
    )
    cache.get("up")
    cache.get_many(["down/1", "down/2"])
    cache.invalidate("up")
    assert cache.get("down/1", "gone", prime_on_cache_miss=False) == "gone"
    assert cache.get("down/2", "gone", prime_on_cache_miss=False) == "gone"
    assert "mapping.failed" not in caplog.text
