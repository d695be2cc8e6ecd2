"""Edges of metrics: other periods, other zones, what can never be measured, who comes between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from kck_flow import Cache, IntegerParameter, Metric, On
from kck_flow.checks import check_primers
from kck_flow.errors import NotPrimed, UnstorableValue
from kck_flow.metric import rolled
from kck_flow.models import ConfiguredMetric
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.store import measures
from kck_flow.store.session import caller
from kck_flow.testing import freeze_time, registered, reset
from tests.metrics.test_metrics import DAY, NOON, of_days, ordered
from tests.shop.models import Order

pytestmark = pytest.mark.django_db


@pytest.fixture
def cache() -> Iterator[Any]:
    reset()
    yield Cache.get_instance()
    reset()


@pytest.fixture
def declare() -> Iterator[Any]:
    with ExitStack() as stack:

        def one(name: str, compute: Any = None, **attributes: Any) -> Any:
            if compute is not None:
                attributes["compute"] = compute
            made = type("Declared", (Metric,), {"key_base": name, "tz": "UTC", **attributes})
            return stack.enter_context(registered(made))[0]

        yield one


def test_a_metric_that_becomes_one_of_weeks_takes_no_day_for_a_week(cache: Any) -> None:
    ordered(26, 27, 27, 28)
    Metric.create("count_rows", "placed", model="shop.Order", at="placed_at", tz="UTC")
    key = "metric/placed"
    with freeze_time(datetime(2026, 1, 26, 12, tzinfo=UTC)) as clock:
        list(collecting.collect(["placed"]))
        clock.set(NOON + DAY * 3)
        list(collecting.collect(["placed"]))
        row = ConfiguredMetric.objects.get()
        row.period = "week"
        row.save()
        week = datetime(2026, 1, 26, tzinfo=UTC)
        assert [point.value for point in cache.series(key, week, week + DAY)] == [None]
        with pytest.raises(NotPrimed):
            cache.value_at(key, week)
        collecting.fill(
            registry.key(key), registry.primer("metric").of(registry.key(key)), week, NOON + DAY * 3
        )
        assert [point.value for point in cache.series(key, week, week + DAY)] == [4]
        row.period = "day"
        row.save()
        assert of_days(cache, key, 26, 28) == [1, 2, 1]  # the days are there still


def test_days_that_can_never_be_measured_hold_up_no_later_ones(declare: Any, cache: Any) -> None:
    def compute(self: Any, key: Any, span: Any) -> int:
        if span.start.day in (26, 27, 28):
            raise ValueError("gone for good")
        return int(span.start.day)

    declare("m_gone", compute)
    with freeze_time(datetime(2026, 1, 25, 12, tzinfo=UTC)) as clock:
        list(collecting.collect(["m_gone"]))
        clock.set(NOON)
        list(collecting.collect(["m_gone"]))
        assert of_days(cache, "m_gone", 29, 31) == [29, 30, 31]


@pytest.mark.parametrize(("function", "month"), [("sum", 900), ("avg", 300), ("min", 100), ("max", 500)])
def test_an_aggregate_rolls_up_as_its_function_does(cache: Any, function: str, month: int) -> None:
    ordered(28, 29, 30)
    for day, cents in ((28, 100), (29, 300), (30, 500)):
        Order.objects.filter(placed_at__day=day).update(cents=cents)
    Metric.create(
        "aggregate", "cents", model="shop.Order", function=function, column="cents", at="placed_at", tz="UTC"
    )
    with freeze_time(datetime(2026, 1, 28, 13, tzinfo=UTC)) as clock:
        list(collecting.collect(["cents"]))
        clock.set(datetime(2026, 1, 31, 13, tzinfo=UTC))
        key = registry.key("metric/cents")
        collecting.fill(key, registry.primer("metric").of(key))
        (point,) = cache.series("metric/cents", clock() - DAY, clock(), by="month")
    assert point.value == month


def test_hours_are_those_of_the_zone(declare: Any, cache: Any) -> None:
    declare("m_hours", lambda self, key, span: 1, period="hour", tz="Asia/Kolkata")
    start = datetime(2026, 1, 29, 18, 30, tzinfo=UTC)  # where a day begins in Kolkata
    with freeze_time(start + DAY * 3) as clock:
        key = registry.key("m_hours")
        collecting.fill(key, registry.primer("m_hours"), start, clock())
        points = cache.series("m_hours", start, start + DAY * 2, by="day")
    assert [point.value for point in points] == [24, 24]


@pytest.mark.parametrize("wrong", ["abc", True, float("nan"), [1]])
def test_what_is_no_number_is_not_set_either(declare: Any, cache: Any, wrong: Any) -> None:
    declare("m_set", lambda self, key: 1)
    with freeze_time(NOON):
        cache.set("m_set", 5)
        with pytest.raises(UnstorableValue):
            cache.set("m_set", wrong)
        assert of_days(cache, "m_set", 31, 31) == [5]


def test_a_number_that_comes_between_is_followed_by_ours(declare: Any, cache: Any, monkeypatch: Any) -> None:
    metric = declare("m_between", lambda self, key, span: 99)
    key, span = registry.key("m_between"), metric.span(NOON - DAY)
    append, came = measures.append, []

    def first_somebody_else(*arguments: Any, **options: Any) -> Any:
        if not came:  # between our look and our insert
            came.append(
                append(
                    caller("default"),
                    key,
                    span.start,
                    span.end,
                    "5",
                    version=0,
                    primer_version=1,
                    complete=False,
                )
            )
            return None
        return append(*arguments, **options)

    monkeypatch.setattr(measures, "append", first_somebody_else)
    with freeze_time(NOON):
        assert collecting.measure(key, metric, span) is not None
        assert of_days(cache, "m_between", 30, 30) == [99]


def test_an_error_of_the_database_in_one_period_ends_nobodys_transaction(declare: Any, cache: Any) -> None:
    def compute(self: Any, key: Any, span: Any) -> int:
        if span.start.day == 29:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1/0")
        return int(span.start.day)

    metric = declare("m_sql", compute)
    with freeze_time(NOON):
        found = collecting.fill(registry.key("m_sql"), metric, NOON - DAY * 4, NOON)
        assert (found.filled, found.failed) == (2, 1)
        assert of_days(cache, "m_sql", 28, 30) == [28, None, 30]


def test_a_domain_that_raises_is_one_failure_among_the_others(declare: Any, cache: Any) -> None:
    def domain(self: Any) -> Any:
        raise RuntimeError("no domain today")

    declare("m_domain", lambda self, key: 1, parameters=[IntegerParameter("n")], domain=domain)
    declare("m_fine", lambda self, key: 1)
    with freeze_time(NOON):
        found = {str(one.key): one for one in collecting.collect() if str(one.key).startswith("m_")}
    assert found["m_fine"].outcome == "collected"
    assert (found["m_domain"].outcome, "no domain today" in found["m_domain"].error) == ("failed", True)


def test_a_domain_that_is_a_product_is_read(declare: Any, cache: Any) -> None:
    cache.set("m_listed", [1, 2])
    declare(
        "m_of_list", lambda self, key: key.params["n"], parameters=[IntegerParameter("n")], domain="m_listed"
    )
    with freeze_time(NOON):
        assert [one.value for one in collecting.collect(["m_of_list"])] == [1, 2]


def test_a_metric_is_not_augmented(declare: Any) -> None:
    declare("m_augmented", lambda self, key: 1, depends_on=[On(Order, then="augment")], augment=lambda *_: 1)
    assert ["augments it" in one.msg for one in check_primers() if one.id == "kck_flow.E016"] == [True]


def test_sums_of_decimals_are_exact_and_large_ints_no_floats() -> None:
    values = [Decimal(10) ** 40, Decimal("0.0000000001"), Decimal(-(10**40))]
    assert rolled(values, "sum") == Decimal("0.0000000001")
    assert rolled([10**400, 0.5], "sum") == Decimal(f"1{'0' * 400}.5")
    assert rolled([0.1] * 10, "sum") == 1.0
    assert (rolled([3, 1, 2], "min"), rolled([3, 1, 2], "max")) == (1, 3)
