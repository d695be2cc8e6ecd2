"""What the package gives to the suites of others (feature 226), and what of it is asked wrongly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import TestCase

from kck_flow import Cache, IntegerParameter, Primer, every, testing
from kck_flow.cache import behind
from kck_flow.errors import DeclarationError, UnknownPrimer
from kck_flow.registry import registry
from kck_flow.testing import kck_cache, kck_clock, kck_worker  # noqa: F401  (the fixtures)
from tests.core.conftest import Declared

pytestmark = pytest.mark.django_db


def test_the_three_fixtures_together(
    declare: Declared,
    kck_cache: Cache,  # noqa: F811
    kck_clock: testing.Clock,  # noqa: F811
    kck_worker: Callable[..., testing.Ran],  # noqa: F811
) -> None:
    declare("page", lambda key: len(declare.calls), schedule=every(minutes=10), domain=None)
    assert len(kck_worker()) == 0, "its first period has not come"
    kck_clock.move(minutes=10)
    ran = kck_worker()
    assert (ran.keys, ran.outcomes, ran.failed, len(ran)) == (["page"], ["done"], [], 1)
    assert kck_cache.get_entry("page").age == timedelta(0)
    kck_clock.set(kck_clock() + timedelta(hours=1))
    assert kck_cache.get_entry("page").age == timedelta(hours=1)


def test_a_clock_stands_still_and_goes_back_to_the_one_around_it(declare: Declared, cache: Cache) -> None:
    declare("page", 1)
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with testing.freeze_time(at) as outer:
        with testing.freeze_time("2026-02-01T12:00:00+01:00") as inner:
            cache.get("page")
            assert cache.get_entry("page").computed_at == inner() == datetime(2026, 2, 1, 11, tzinfo=UTC)
        assert outer() == at
        assert cache.refresh("page").computed_at == at
    assert abs(cache.refresh("page").computed_at - datetime.now(UTC)) < timedelta(minutes=1)  # type: ignore[operator]


def test_a_naive_instant_is_no_instant() -> None:
    for wrong in ("2026-01-31", "2026-01-31T12:00:00", datetime(2026, 1, 31)):  # noqa: DTZ001
        with pytest.raises(ValueError, match="aware instant"), testing.freeze_time(wrong):
            pass
    with testing.freeze_time() as clock:
        before = clock()
        with pytest.raises(ValueError, match="aware instant"):
            clock.set(datetime(2026, 1, 31))  # noqa: DTZ001
        assert clock() == before


def test_a_worker_serves_what_it_is_told_and_refuses_what_is_no_product(
    declare: Declared, cache: Cache
) -> None:
    for name in ("one", "two", "three"):
        declare(name, 1)
        cache.request_refresh(name)
    assert testing.run_worker(["two"]).keys == ["two"]
    assert len(testing.run_worker(most=1)) == 1
    with pytest.raises(UnknownPrimer, match="Did you mean 'three'"):
        testing.run_worker(["thre"])
    with pytest.raises(TypeError, match="list of key bases"):
        testing.run_worker("three")
    assert len(testing.run_worker()) == 1


def test_computes_are_counted_in_blocks_within_blocks(declare: Declared, cache: Cache) -> None:
    declare("page", 1, parameters=[IntegerParameter("n")])
    declare("other", 1)
    with testing.count_computes() as all_of_them, testing.count_computes("page") as pages:
        cache.get("page/1")
        with testing.assert_computes(1, "page") as inner:
            cache.get_many(["page/1", "page/2", "other"])
        cache.get("page/3")
    assert (all_of_them.total, all_of_them.of("page"), all_of_them.of("other")) == (4, 3, 1)
    assert (pages.total, inner.counts) == (3, {"page/2": 1})
    cache.refresh("page/1")
    assert pages.total == 3, "after the block nothing is counted"
    with (
        pytest.raises(AssertionError, match=r"computed 1 products, not 0: \{'page/4': 1\}"),
        testing.assert_computes(0),
    ):
        cache.get("page/4")
    with pytest.raises(UnknownPrimer), testing.count_computes("nosuch"):
        pass


def test_assertions_say_what_they_found(declare: Declared, cache: Cache) -> None:
    declare("page", 1)
    testing.assert_state("page", "empty")
    assert declare.calls == [], "asking for the state computes nothing"
    testing.assert_value("page", 1)
    testing.assert_fresh("page")
    testing.assert_augment_equals_compute("page")
    with pytest.raises(AssertionError, match="'page' is 1, not 2"):
        testing.assert_value("page", 2)
    cache.set("page", 5, soft_expire=timedelta(0))
    with pytest.raises(AssertionError, match=r"'page' is stale .*, not fresh"):
        testing.assert_fresh("page")
    with pytest.raises(AssertionError, match="'page' is 5; computed afresh it is 1"):
        testing.assert_augment_equals_compute("page")


def test_primers_are_registered_for_a_block_and_those_that_were_there_stay(cache: Cache) -> None:
    class Passing(Primer):
        key_base = "passing"

        def compute(self, key: object) -> int:
            return 1

    book_count = type(registry.primers["book_count"])
    with testing.registered(Passing, book_count) as (passing, _):
        assert cache.get("passing") == 1
        assert registry.primers["passing"] is passing
    assert "passing" not in registry.primers
    assert type(registry.primers["book_count"]) is book_count
    assert testing.alias_of("passing") == testing.alias_of("book_count") == "default"


def test_primers_that_cannot_be_registered_are_told_and_leave_nothing() -> None:
    class Twin(Primer):
        key_base = "book_count"

        def compute(self, key: object) -> int:
            return 1

    class Broken(Primer):
        key_base = "broken"
        parameters = 5

        def compute(self, key: object) -> int:
            return 1

    before = dict(registry.primers)
    with (
        pytest.raises(DeclarationError, match="the name 'book_count' is taken by BookCount"),
        testing.registered(Twin),
    ):
        pass
    with pytest.raises(DeclarationError, match="Broken cannot be set up"), testing.registered(Broken):
        pass
    assert registry.primers == before
    assert (registry.broken, registry.duplicates) == ([], [])


def test_a_fresh_cache_remembers_nothing_of_this_process(declare: Declared) -> None:
    declare("page", 1, soft_expire=timedelta(0), max_entries=1)
    with testing.fresh_cache() as cache:
        cache.get("page")
        assert behind._read
    assert not behind._read


class APlainTestCase(TestCase):
    """Django's own works unchanged: what a test stores is gone in the next."""

    def test_one(self) -> None:
        self._first_read()

    def test_two(self) -> None:
        self._first_read()

    def _first_read(self) -> None:
        testing.assert_state("book_count", "empty")
        with testing.assert_computes(1):
            testing.assert_value("book_count", 0)
            testing.assert_value("book_count", 0)
