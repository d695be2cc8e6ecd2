"""Metrics: a number remembered per period (features 18, 19, 21, 161 to 168, 171)."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from hypothesis import given
from hypothesis import strategies as st

from kck_flow import Cache, IntegerParameter, Metric, MetricType, Stock, StringParameter
from kck_flow.cache.facade import Cache as CacheClass
from kck_flow.checks import check_primers
from kck_flow.errors import ComputeFailed, NotPrimed, UnknownPrimer, UnstorableValue
from kck_flow.metric import rolled
from kck_flow.models import ConfiguredMetric, Record, Run
from kck_flow.refresh import collecting
from kck_flow.registry import registry
from kck_flow.testing import count_computes, freeze_time, registered, reset, run_worker
from tests.shop.models import Author, Customer, Order

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Declare = Callable[..., Any]


@pytest.fixture
def cache() -> Iterator[CacheClass]:
    reset()
    yield Cache.get_instance()
    reset()


@pytest.fixture
def declare() -> Iterator[Declare]:
    """Declare a metric for one test: ``declare("name", compute, **attributes)``."""
    with ExitStack() as stack:

        def one(name: str, compute: Any = None, **attributes: Any) -> Any:
            if compute is not None:
                attributes["compute"] = compute
            made = type("Declared", (Metric,), {"key_base": name, "tz": "UTC", **attributes})
            return stack.enter_context(registered(made))[0]

        yield one


def orders(self: Any, key: Any, span: Any) -> int:
    return Order.objects.filter(placed_at__gte=span.start, placed_at__lt=span.end).count()


def ordered(*days: int) -> None:
    """Store an order at noon of each of these days of January 2026."""
    customer = Customer.objects.create(name="c")
    Order.objects.bulk_create(
        Order(customer=customer, placed_at=datetime(2026, 1, day, 12, tzinfo=UTC)) for day in days
    )


def of_days(cache: CacheClass, key: str, first: int, last: int) -> list[Any]:
    """Return the values of the days of January from ``first`` to ``last``, both included."""
    start = datetime(2026, 1, first, tzinfo=UTC)
    return [point.value for point in cache.series(key, start, datetime(2026, 1, last, tzinfo=UTC) + DAY)]


# -- one value per period


def test_collecting_twice_leaves_one_current_record_with_the_newest_value(
    declare: Declare, cache: CacheClass
) -> None:
    numbers = iter([3, 5])
    declare("m_twice", lambda self, key: next(numbers))
    with freeze_time(NOON) as clock:
        assert [one.value for one in collecting.collect(["m_twice"])] == [3]
        clock.move(hours=2)
        assert [one.value for one in collecting.collect(["m_twice"])] == [5]
        assert of_days(cache, "m_twice", 31, 31) == [5]
        assert cache.get("m_twice") == 5
    rows = Record.objects.filter(key="m_twice").order_by("revision")
    assert [(row.revision, row.value) for row in rows] == [(1, 3), (2, 5)]
    assert {(row.start_at.timestamp(), row.end_at.timestamp()) for row in rows} == {
        (datetime(2026, 1, 31, tzinfo=UTC).timestamp(), datetime(2026, 2, 1, tzinfo=UTC).timestamp())
    }


def test_the_same_number_again_is_no_revision_and_the_next_day_has_its_own(
    declare: Declare, cache: CacheClass
) -> None:
    declare("m_same", lambda self, key: 7)
    with freeze_time(NOON - DAY) as clock:
        for _ in range(3):
            list(collecting.collect(["m_same"]))
        clock.move(days=1)
        list(collecting.collect(["m_same"]))
        assert of_days(cache, "m_same", 30, 31) == [7, 7]
    assert Record.objects.filter(key="m_same").count() == 2


@pytest.mark.parametrize(
    ("zone", "local", "day"),
    [
        ("America/New_York", "2026-01-30T23:30", 30),
        ("Asia/Tokyo", "2026-01-31T00:30", 31),
        ("Europe/Paris", "2026-03-29T23:30", 29),  # of 23 hours
        ("Europe/Paris", "2026-10-25T23:30", 25),  # of 25 hours
    ],
)
def test_half_past_eleven_counts_for_the_local_day(
    declare: Declare, cache: CacheClass, zone: str, local: str, day: int
) -> None:
    declare("m_local", lambda self, key: 1, tz=zone)
    at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
    with freeze_time(at):
        list(collecting.collect(["m_local"]))
        (point,) = cache.series("m_local", at - timedelta(minutes=1), at)
    assert point.start.astimezone(ZoneInfo(zone)).day == day
    assert point.value == 1
    assert point.start.astimezone(ZoneInfo(zone)).hour == 0


@pytest.mark.parametrize(
    "number", [0, -3, Decimal("0.5"), Decimal("12345678901234567890.123456789"), 0.25, None, 10**30]
)
def test_numbers_come_back_exactly(declare: Declare, cache: CacheClass, number: Any) -> None:
    declare("m_exact", lambda self, key: number)
    with freeze_time(NOON):
        assert cache.get("m_exact") == number
        (found,) = of_days(cache, "m_exact", 31, 31)
    assert found == number
    assert type(found) is type(number)


def test_a_duration_is_seconds(declare: Declare, cache: CacheClass) -> None:
    declare("m_long", lambda self, key: timedelta(minutes=1, milliseconds=250))
    assert cache.get("m_long") == Decimal("60.25")


@pytest.mark.parametrize("wrong", [True, "12", float("nan"), float("inf"), [1], {"a": 1}])
def test_what_is_no_number_is_refused_and_the_old_one_stays(
    declare: Declare, cache: CacheClass, wrong: Any
) -> None:
    numbers = iter([4, wrong])
    declare("m_wrong", lambda self, key: next(numbers), retries=0)
    with freeze_time(NOON) as clock:
        cache.get("m_wrong")
        clock.move(hours=1)
        with pytest.raises(UnstorableValue, match="is a metric, and was measured as"):
            cache.refresh("m_wrong")
        assert of_days(cache, "m_wrong", 31, 31) == [4]


def test_an_async_compute_measures_too(declare: Declare, cache: CacheClass) -> None:
    async def compute(self: Any, key: Any, span: Any) -> int:
        return (span.end - span.start).days + 4

    declare("m_async", compute)
    assert cache.get("m_async") == 5


# -- missed periods


def test_missed_days_are_filled_in_with_the_next_collection(declare: Declare, cache: CacheClass) -> None:
    ordered(26, 27, 27, 29, 30, 30, 30, 31)
    declare("m_orders", orders)
    with freeze_time(datetime(2026, 1, 26, 12, 30, tzinfo=UTC)) as clock:
        list(collecting.collect(["m_orders"]))
        clock.set(NOON + timedelta(hours=1))
        assert of_days(cache, "m_orders", 26, 31) == [1, None, None, None, None, None]
        (one,) = collecting.collect(["m_orders"])
        assert (one.value, one.filled) == (1, 5)  # the 26th, too: its number was measured while it lasted
        points = cache.series("m_orders", datetime(2026, 1, 26, tzinfo=UTC), NOON)
    assert [point.value for point in points] == [1, 2, 0, 1, 3, 1]
    assert [point.complete for point in points] == [True] * 5 + [False]


def test_the_verb_fills_what_is_missing_and_says_when_it_cannot(declare: Declare, cache: CacheClass) -> None:
    ordered(28, 30)
    declare("m_past", orders, fills=0)
    declare("m_now", lambda self, key: 1)
    with freeze_time(datetime(2026, 1, 27, 12, tzinfo=UTC)) as clock:
        list(collecting.collect(["m_past", "m_now"]))
        clock.set(NOON)
        list(collecting.collect(["m_past", "m_now"]))
        assert of_days(cache, "m_past", 28, 30) == [None, None, None]
        out = io.StringIO()
        call_command(
            "kck", "backfill", "m_past", "--from", "2026-01-28T00:00:00Z", "--format", "json", stdout=out
        )
        assert json.loads(out.getvalue()) == [
            {"metric": "m_past", "missing": 3, "filled": 3, "failed": 0, "error": ""}
        ]
        assert of_days(cache, "m_past", 28, 30) == [1, 0, 1]
        with pytest.raises(Exception, match="'m_now' cannot be filled in: it measures what is now"):
            call_command("kck", "backfill", "m_now", "--missing")
        assert of_days(cache, "m_now", 27, 31) == [1, None, None, None, 1]


def test_a_first_refresh_gives_it_the_last_ninety_days(declare: Declare, cache: CacheClass) -> None:
    def since(self: Any, key: Any, span: Any) -> int:
        return int(span.start.day)

    def only_now(self: Any, key: Any) -> int:
        return 7

    declare("n_dated", since)
    declare("n_now", only_now)
    declare("n_hourly", since, period="hour")
    with freeze_time(datetime(2026, 6, 30, 12, tzinfo=UTC)):
        said = io.StringIO()
        call_command("kck", "refresh", "n_dated", "n_now", "n_hourly", stdout=io.StringIO(), stderr=said)
        assert "n_dated: filled in the 89 periods before" in said.getvalue()
        assert "n_hourly: filled in the 400 periods before" in said.getvalue()
        assert "n_now: filled" not in said.getvalue()
        points = cache.series("n_dated", datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
        assert [one.value for one in points] == [one.start.day for one in points]
        again = io.StringIO()
        call_command("kck", "refresh", "n_dated", stdout=io.StringIO(), stderr=again)
        assert "filled" not in again.getvalue()


def test_filling_in_goes_on_after_one_period_that_fails(declare: Declare, cache: CacheClass) -> None:
    def compute(self: Any, key: Any, span: Any) -> int:
        if span.start.day == 28:
            raise ValueError("no answer for that day")
        return int(span.start.day)

    declare("m_holes", compute)
    with freeze_time(datetime(2026, 1, 26, 12, tzinfo=UTC)) as clock:
        list(collecting.collect(["m_holes"]))
        clock.set(NOON)
        (one,) = collecting.collect(["m_holes"])
        assert "no answer for that day" in one.error
        assert of_days(cache, "m_holes", 26, 31) == [26, 27, None, 29, 30, 31]


def test_a_period_measured_again_is_the_next_revision(declare: Declare, cache: CacheClass) -> None:
    ordered(30)
    declare("m_again", orders)
    with freeze_time(NOON - DAY) as clock:
        list(collecting.collect(["m_again"]))
        clock.move(days=1)
        list(collecting.collect(["m_again"]))
        ordered(30)  # a row that came late
        collecting.fill(registry.key("m_again"), registry.primer("m_again"), NOON - DAY, again=True)
        assert of_days(cache, "m_again", 30, 30) == [2]
    rows = Record.objects.filter(key="m_again", start_at__lt=datetime(2026, 1, 31, tzinfo=UTC))
    assert sorted((row.revision, row.value, row.complete) for row in rows) == [
        (1, 1, False), (2, 1, True), (3, 2, True),
    ]  # fmt: skip


def test_a_worker_collects_and_fills_in_by_itself(declare: Declare, cache: CacheClass) -> None:
    ordered(29, 30, 30)
    declare("m_worker", orders)
    with freeze_time(datetime(2026, 1, 28, 23, 30, tzinfo=UTC)) as clock:
        run_worker(["m_worker"])  # from now on it is due, at each full hour
        clock.move(minutes=40)
        run_worker(["m_worker"])
        clock.set(NOON)
        run_worker(["m_worker"])
        assert of_days(cache, "m_worker", 28, 31) == [None, 1, 2, 0]


# -- one failing metric


def test_one_that_fails_keeps_no_other_from_being_collected(declare: Declare, cache: CacheClass) -> None:
    def fails(self: Any, key: Any) -> int:
        raise RuntimeError("the source is down")

    for number in range(9):
        declare(f"m_good{number}", lambda self, key, number=number: number)
    declare("m_bad", fails)
    names = ["m_bad", *(f"m_good{number}" for number in range(9))]
    out, err = io.StringIO(), io.StringIO()
    with freeze_time(NOON):
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "collect", *names, "--format", "json", stdout=out, stderr=err)
        assert ended.value.code == 1
        assert of_days(cache, "m_bad", 31, 31) == [None]  # never a zero
        assert of_days(cache, "m_good0", 31, 31) == [0]
    rows = json.loads(out.getvalue())
    assert [row["outcome"] for row in rows] == ["failed"] + ["collected"] * 9
    assert "the source is down" in rows[0]["error"]
    assert Record.objects.filter(key_base__startswith="m_good").count() == 9
    assert not Record.objects.filter(key="m_bad").exists()
    assert "the source is down" in Run.objects.get(key="m_bad", outcome="failed").error


def test_a_paused_one_keeps_its_history_and_is_collected_with_an_override(
    declare: Declare, cache: CacheClass
) -> None:
    numbers = itertools.count(1)
    declare("m_paused", lambda self, key: next(numbers))
    with freeze_time(NOON - DAY) as clock:
        list(collecting.collect(["m_paused"]))
        cache.pause("m_paused", "not now")
        clock.move(days=1)
        assert [one.outcome for one in collecting.collect(["m_paused"])] == ["paused"]
        assert of_days(cache, "m_paused", 30, 31) == [1, None]
        assert [one.outcome for one in collecting.collect(["m_paused"], paused=True)] == ["collected"]
        assert of_days(cache, "m_paused", 30, 31) == [1, 2]


# -- a metric per business object


def test_one_record_for_each_customer_and_day(declare: Declare, cache: CacheClass) -> None:
    one, two = Customer.objects.create(name="one"), Customer.objects.create(name="two")
    Order.objects.create(customer=one, cents=100)
    declare(
        "m_open",
        lambda self, key: Order.objects.filter(customer=key.params["customer"]).count(),
        parameters=[IntegerParameter("customer")],
        domain=lambda self: Customer.objects.values_list("pk", flat=True),
    )
    with freeze_time(NOON):
        out = io.StringIO()
        call_command("kck", "collect", "m_open", "--format", "json", stdout=out)
        assert of_days(cache, f"m_open/{one.pk}", 31, 31) == [1]
        assert of_days(cache, f"m_open/{two.pk}", 31, 31) == [0]
    assert Record.objects.filter(key_base="m_open").count() == 2


# -- longer steps


def test_weeks_and_months_are_rolled_up_as_declared(declare: Declare, cache: CacheClass) -> None:
    ordered(1, 1, 5, 31)
    declare("m_sum", orders)
    declare("m_last", lambda self, key: 1, rollup="last")
    declare("m_mean", orders, rollup="mean")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with freeze_time(start) as clock:
        list(collecting.collect(["m_sum", "m_mean"]))
        clock.set(datetime(2026, 2, 1, 12, tzinfo=UTC))
        list(collecting.collect(["m_sum", "m_mean"]))
        (january, february) = cache.series("m_sum", start, clock(), by="month")
        assert (january.value, january.complete) == (4, True)
        assert (february.value, february.complete) == (0, False)
        assert cache.series("m_mean", start, start + DAY, by="month")[0].value == Decimal(4) / 31
        weeks = cache.series("m_sum", datetime(2025, 12, 29, tzinfo=UTC), start + DAY * 10, by="week")
        assert [point.value for point in weeks] == [2, 1]
        with pytest.raises(ValueError, match="is a number per day: by must be one of 'day', 'week', 'month'"):
            cache.series("m_sum", start, clock(), by="hour")
        with pytest.raises(ValueError, match="has no facet"):
            cache.series("m_sum", start, clock(), facet="plan")


@given(
    st.lists(
        st.one_of(st.none(), st.integers(), st.decimals(allow_nan=False, allow_infinity=False, places=2))
    )
)
def test_rolling_up_passes_over_gaps_and_never_makes_a_zero_of_them(values: list[Any]) -> None:
    known = [value for value in values if value is not None]
    for how in ("last", "sum", "mean"):
        found = rolled(values, how)
        assert (found is None) == (not known)
    if known:
        assert rolled(values, "last") == known[-1]
        with localcontext(prec=500):
            assert rolled(values, "sum") == sum(known)


def test_the_value_at_an_instant_is_that_of_its_period(declare: Declare, cache: CacheClass) -> None:
    declare("m_at", lambda self, key: 8)
    with freeze_time(NOON):
        list(collecting.collect(["m_at"]))
        assert cache.value_at("m_at", NOON - timedelta(hours=11)) == 8
        with pytest.raises(NotPrimed, match="cannot be asked for the past"):
            cache.value_at("m_at", NOON - DAY)


def test_another_version_breaks_the_series(declare: Declare, cache: CacheClass) -> None:
    declared = declare("m_version", lambda self, key: 1)
    with freeze_time(NOON - DAY) as clock:
        list(collecting.collect(["m_version"]))
        clock.move(days=1)
        declared.version = 2
        list(collecting.collect(["m_version"]))
        points = cache.series("m_version", NOON - DAY, NOON)
    assert [point.generation for point in points] == [1, 2]


# -- metrics that are stored as rows


def test_a_row_makes_a_new_series_collect_at_the_next_run(cache: CacheClass) -> None:
    Author.objects.create(name="Ann")
    Author.objects.create(name="Bob")
    with freeze_time(NOON):
        Metric.create(
            "count_rows",
            "anns",
            model="shop.Author",
            filter={"name": "Ann"},
            unit="author",
            unit_plural="authors",
        )
        run_worker(["metric"])
        assert cache.get("metric/anns") == 1
        assert of_days(cache, "metric/anns", 31, 31) == [1]
    row = ConfiguredMetric.objects.get()
    assert row.properties == {"model": "shop.Author", "filter": {"name": "Ann"}, "exclude": {}, "at": ""}
    assert registry.primer("metric").of(registry.key("metric/anns")).unit_plural == "authors"


def test_rows_are_collected_by_their_slug_and_paused_ones_are_not(cache: CacheClass) -> None:
    Metric.create("count_rows", "one", model="shop.Author")
    Metric.create("count_rows", "two", model="shop.Author", paused=True)
    with freeze_time(NOON):
        assert [(str(one.key), one.outcome) for one in collecting.collect(["one", "two"])] == [
            ("metric/one", "collected"),
            ("metric/two", "paused"),
        ]
        assert [str(key) for key, _ in collecting.metrics() if key.key_base == "metric"] == ["metric/one"]


def test_rows_answer_for_the_past_where_they_are_told_a_column(cache: CacheClass) -> None:
    ordered(28, 30, 30)
    Metric.create("count_rows", "placed", model="shop.Order", at="placed_at", tz="UTC")
    Metric.create(
        "aggregate", "paid", model="shop.Order", function="sum", column="cents", at="placed_at", tz="UTC"
    )
    Order.objects.filter(placed_at__day=30).update(cents=250)
    with freeze_time(datetime(2026, 1, 28, 13, tzinfo=UTC)) as clock:
        list(collecting.collect(["placed", "paid"]))
        clock.set(NOON)
        list(collecting.collect(["placed", "paid"]))
        assert of_days(cache, "metric/placed", 28, 31) == [1, 0, 2, 0]
        assert of_days(cache, "metric/paid", 28, 31) == [0, 0, 500, 0]


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"type": "count_row", "model": "shop.Order"}, "type", "Did you mean 'count_rows'?"),
        (
            {"model": "shop.Order", "filtre": {}},
            "properties",
            "has no property 'filtre'. Did you mean 'filter'?",
        ),
        ({"model": "shop.Nothing"}, "properties", "must be a model, such as shop.Order"),
        ({}, "properties", "needs the property 'model'"),
        ({"model": "shop.Order", "filter": [1]}, "properties", "must be a JSON object"),
        ({"model": "shop.Order", "tz": "Europe/Pariss"}, "tz", "must be a time zone"),
        ({"model": "shop.Order", "period": "fortnight"}, "period", "not a valid choice"),
        ({"model": "shop.Order", "slug": "no slug"}, "slug", "slug"),
    ],
)
def test_a_wrong_row_is_refused_when_it_is_saved(given: dict[str, Any], field: str, said: str) -> None:
    given = {"type": "count_rows", "slug": "fine", **given}
    with pytest.raises(ValidationError) as refused:
        Metric.create(given.pop("type"), given.pop("slug"), **given)
    assert said in str(refused.value.message_dict[field])
    assert not ConfiguredMetric.objects.exists()


def test_a_row_that_is_gone_says_so(cache: CacheClass) -> None:
    with pytest.raises(ComputeFailed, match="No metric is stored under the slug 'nobody'"):
        cache.get("metric/nobody")
    with pytest.raises(UnknownPrimer):
        collecting.metrics(["nobody"])


def test_shares_and_products_are_remembered(cache: CacheClass) -> None:
    class Open(Stock):
        key_base, model, members = "m_stock_open", Order, {"state": "open"}

    cache.set("m_part", Decimal(1))
    cache.set("m_whole", {"n": {"all": 4}})
    Metric.create("share", "part", key="m_part", base="m_whole", base_path="n.all")
    Metric.create("product", "remembered", key="m_whole", path="n.all")
    Metric.create("product", "wrong", key="m_whole", path="n.none")
    with freeze_time(NOON):
        found = {one.key: one for one in collecting.collect(["part", "remembered", "wrong"])}
    assert found["metric/part"].value == Decimal("0.25")
    assert found["metric/remembered"].value == 4
    assert "has no 'n.none'" in found["metric/wrong"].error
    assert registry.primer("metric").of(registry.key("metric/part")).number_format == "percent"


def test_a_type_of_ones_own(declare: Declare, cache: CacheClass) -> None:
    class Lengths(MetricType):
        """How long a word is."""

        properties = [StringParameter("word"), IntegerParameter("times", default=1)]

        def measure(self, *, word: str, times: int) -> int:
            return len(word) * times

    declare("m_typed", type=Lengths, properties={"word": "four", "times": 2})
    assert cache.get("m_typed") == 8
    assert Lengths.known_as() == "lengths"
    assert Lengths.text() == "How long a word is"
    assert not registry.primer("m_typed").answers_for_the_past
    declare("m_mistyped", type=Lengths, properties={"word": "four", "time": 2})
    told = [one for one in check_primers() if one.id == "kck_flow.E016"]
    assert ["has no property 'time'. Did you mean 'times'?" in one.msg for one in told] == [True]


def test_a_metric_that_measures_nothing_is_told_by_the_checks(declare: Declare) -> None:
    declare("m_nothing")
    told = [one for one in check_primers() if one.id == "kck_flow.E016"]
    assert ["neither compute nor a type" in one.msg for one in told] == [True]


def test_computes_of_metrics_are_counted_with_a_period_or_without(
    declare: Declare, cache: CacheClass
) -> None:
    declare("m_now_counted", lambda self, key: 1)
    declare("m_past_counted", lambda self, key, span: 2)
    with count_computes("m_now_counted", "m_past_counted") as computes:
        assert cache.get_many(["m_now_counted", "m_past_counted"]) == {
            "m_now_counted": 1,
            "m_past_counted": 2,
        }
    assert (computes.of("m_now_counted"), computes.of("m_past_counted")) == (1, 1)


def test_the_checks_take_a_compute_with_a_period_or_without_and_no_other(declare: Declare) -> None:
    declare("m_now_checked", lambda self, key: 1)
    declare("m_past_checked", lambda self, key, span: 1)
    declare("m_neither_checked", lambda self: 1)
    told = [one.msg for one in check_primers() if "_checked" in one.msg]
    assert [("m_neither_checked" in one, "compute takes (self)" in one) for one in told] == [(True, True)]


def test_the_line_for_cron_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    from cronsim import CronSim

    out = io.StringIO()
    call_command("kck", "collect", "--print-cron", stdout=out)
    (line,) = out.getvalue().splitlines()
    minute, *rest = line.split(" ", 5)
    assert next(CronSim(" ".join([minute, *rest[:4]]), NOON)) == NOON + timedelta(minutes=5)
    assert rest[4].startswith("cd ")
    assert rest[4].endswith("kck collect -v0")


def test_one_that_was_not_collected_in_time_is_stale_and_then_failed(
    declare: Declare, cache: CacheClass
) -> None:
    numbers: list[Any] = [1, RuntimeError("down"), RuntimeError("down")]

    def compute(self: Any, key: Any) -> int:
        found = numbers.pop(0)
        if isinstance(found, Exception):
            raise found
        return int(found)

    declare("m_late", compute, retries=0)
    assert declare("m_never", lambda self, key: 1, soft_expire=None).soft_expire is None
    with freeze_time(NOON) as clock:
        list(collecting.collect(["m_late"]))
        clock.move(minutes=80)
        assert cache.get_entry("m_late").state == "fresh"
        clock.move(minutes=11)
        list(collecting.collect(["m_late"]))
        held = cache.get_entry("m_late")
        assert (held.value, held.state) == (1, "failed")
