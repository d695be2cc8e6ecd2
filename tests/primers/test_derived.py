"""Ratios, percentages, funnels and moving averages: numbers made of other numbers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.checks import run_checks

from kck_flow import Cache, Metric, Primer, StringParameter
from kck_flow.changes import triggers
from kck_flow.models import ConfiguredMetric
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, reset
from primers import derived
from tests.accounts.models import Account

NOW = datetime(2026, 4, 2, 15, 30, tzinfo=UTC)  # the clocks of Berlin were put four days ago
HELD: dict[str, Any] = {}


class Above(Primer):
    key_base, parameters = "dv_above", [StringParameter("shop", default="all")]

    def compute(self, key: Any) -> Any:
        return HELD.get(f"above {key.params['shop']}")


class Below(Above):
    key_base = "dv_below"

    def compute(self, key: Any) -> Any:
        return HELD.get(f"below {key.params['shop']}")


class PerShop(derived.Ratio):
    key_base, parameters = "dv_ratio", [StringParameter("shop")]
    of, to = "dv_above/{shop}", "dv_below/{shop}"


class Part(derived.Percentage):
    key_base, of, to, of_path = "dv_part", "dv_above", "dv_below", "plan.pro"


@pytest.fixture
def cache() -> Iterator[Cache]:
    reset()
    HELD.clear()
    with registered(Above, Below, PerShop, Part):
        yield Cache.get_instance()
    reset()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("above", "below", "told"),
    [
        (3, 4, Decimal("0.75")),
        (Decimal("0.1"), Decimal("0.3"), Decimal("0.1") / Decimal("0.3")),
        (0.1, 0.2, Decimal("0.5")),
        (timedelta(minutes=1), 4, Decimal(15)),
        ({"value": 6, "facets": {}}, 3, Decimal(2)),
        (0, 5, Decimal(0)),
        (5, 0, None),
        (None, 5, None),
        (5, None, None),
    ],
)
def test_a_ratio_of_nothing_is_none_and_no_zero(cache: Cache, above: Any, below: Any, told: Any) -> None:
    HELD.update({"above x": above, "below x": below})
    assert cache.get("dv_ratio/x") == told


@pytest.mark.django_db
def test_a_ratio_follows_both_of_its_parts_whatever_their_key_says(cache: Cache) -> None:
    odd = registry.primer("dv_ratio").build_key(shop="a/b %~")
    HELD.update({"above a/b %~": 1, "below a/b %~": 2, "above x": 1, "below x": 1})
    assert (cache.get(odd), cache.get("dv_ratio/x")) == (Decimal("0.5"), 1)
    cache.set(registry.primer("dv_below").build_key(shop="a/b %~"), 4)
    assert cache.get(odd) == Decimal("0.25")
    assert cache.get("dv_ratio/x") == 1
    HELD.update({"above all": {"plan": {"pro": 1}}, "below all": 8})
    assert cache.get("dv_part") == Decimal("0.125")
    assert Part.number_format == "percent"


@pytest.mark.parametrize(
    ("base", "attributes", "said"),
    [
        (derived.Ratio, {"of": "dv_above"}, "to is ''"),
        (derived.Ratio, {"of": "dv_above/{shpo}", "to": "dv_below"}, "{shpo} is no parameter of it"),
        (derived.Funnel, {"steps": ["one"]}, "name two flows or more"),
        (derived.Funnel, {"steps": ["one", "two"], "days": 0}, "give a number of days"),
    ],
)
def test_what_is_wrong_is_told_by_the_checks(base: Any, attributes: dict[str, Any], said: str) -> None:
    wrong = type("Wrong", (base,), {"key_base": "dv_wrong", "__module__": __name__, **attributes})
    registry.register(wrong)
    try:
        told = [one.msg for one in run_checks(tags=["kck"]) if one.id == "kck_flow.E003"]
        assert len(told) == 1
        assert said in told[0]
    finally:
        registry.withdraw(wrong)


class Through(derived.Funnel):
    key_base, steps, days = "dv_funnel", ["signing_up", "converting", "departing"], 7


@pytest.mark.django_db(transaction=True)
def test_a_funnel_counts_what_went_through_each_step() -> None:
    reset()
    with registered(Through):
        triggers.install("default")
        made = Account.objects.bulk_create([Account(state="trial") for _ in range(8)])
        Account.objects.filter(pk__in=[one.pk for one in made[:2]]).update(state="active")
        cache = Cache.get_instance()
        told = cache.get("dv_funnel")
        assert [(row["step"], row["count"]) for row in told] == [
            ("signing_up", 8), ("converting", 2), ("departing", 0),
        ]  # fmt: skip
        assert [row["of_before"] for row in told] == [1, Decimal("0.25"), 0]
        assert [row["of_first"] for row in told] == [1, Decimal("0.25"), 0]
        assert not any(row["complete"] for row in told), "of six days nothing is known"
    reset()


class Daily(Metric):
    key_base, tz = "dv_daily", "Europe/Berlin"

    def compute(self, key: Any, span: Any) -> int:
        return span.start.astimezone(UTC).timetuple().tm_yday


class Mean(Metric):
    key_base, tz, type = "dv_mean", "Europe/Berlin", derived.Rolling
    properties = {"key": "dv_daily", "periods": 7}


@pytest.mark.django_db
@pytest.mark.parametrize("function", ["mean", "sum", "min", "max"])
def test_a_moving_average_is_that_of_so_many_periods_across_a_change_of_the_clocks(function: str) -> None:
    reset()
    with registered(Daily, Mean), freeze_time(NOW):
        daily, mean = registry.primer("dv_daily"), registry.primer("dv_mean")
        collecting.fill(registry.key("dv_daily"), daily, NOW - timedelta(days=12), NOW)  # type: ignore[arg-type]
        registry.primers["dv_mean"].properties = {"key": "dv_daily", "periods": 7, "function": function}  # type: ignore[attr-defined]
        days = {
            one.start: one.value
            for one in Cache.get_instance().series("dv_daily", NOW - timedelta(days=30), NOW)
        }
        starts = list(days)
        for at, start in enumerate(starts):
            span = mean.span(start)  # type: ignore[attr-defined]
            told = derived.Rolling().measure(span=span, key="dv_daily", periods=7, function=function)  # type: ignore[arg-type]
            seven = [days[one] for one in starts[max(at - 6, 0) : at + 1]]
            if len(seven) < 7 or None in seven:
                assert told is None
            else:
                plain = {
                    "mean": Decimal(sum(seven)) / 7,
                    "sum": sum(seven),
                    "min": min(seven),
                    "max": max(seven),
                }
                assert told == plain[function]
        assert sum(value is not None for value in days.values()) >= 11
    reset()


@pytest.mark.django_db
def test_a_row_of_the_type_fills_in_the_past() -> None:
    reset()
    registry.metric_types["rolling"] = derived.Rolling
    try:
        with registered(Daily), freeze_time(NOW):
            collecting.fill(
                registry.key("dv_daily"), registry.primer("dv_daily"), NOW - timedelta(days=12), NOW
            )  # type: ignore[arg-type]
            row = ConfiguredMetric(
                slug="weekly", type="rolling", tz="Europe/Berlin", properties={"key": "dv_daily"}
            )
            row.save()
            key = registry.key("metric/weekly")
            metric: Any = registry.primer("metric")
            collecting.fill(key, metric.of(key), NOW - timedelta(days=3), NOW)
            points = Cache.get_instance().series("metric/weekly", NOW - timedelta(days=3), NOW)
            assert points[-2].value == Decimal(sum(range(84, 91))) / 7, "the last has not ended"
    finally:
        registry.metric_types.pop("rolling")
        reset()
