"""Cases step by step that want more than a session or two: 20, 22 to 24, 28, 29."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import F

import postgres
from kck_flow import Cache, Facet, Flow, Stock, every
from kck_flow.cache import counted as reading
from kck_flow.changes import triggers
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.accounts.primers import COUNTRY, Paying, Trial
from tests.counting.conftest import Session, counted, equal, fold, primed, sql
from tests.counting.steps import first_reads, prepared_over_folds
from tests.harness.processes import Crew

committed = pytest.mark.django_db(transaction=True)
ALL = ("active", "everyone", "money", "branch_accounts/1", "branch_accounts/2", "holding/active/0")


@pytest.mark.slow
def test_20_a_prepared_transaction_that_is_open_over_twenty_folds() -> None:
    with postgres.server(options={"max_prepared_transactions": 5}) as server, Crew(server.url) as crew:
        assert crew.manage("migrate", "--run-syncdb", "-v0").wait() == 0
        told = crew.spawn(prepared_over_folds).result(limit=120)
        assert len(told) == 2 * 24
        for step in told:
            assert step[: len(step) // 2] == step[len(step) // 2 :]


@pytest.mark.once("oldest")
@pytest.mark.slow
@committed
def test_22_and_23_first_reads_while_eight_writers_run_at_each_isolation_level(crew: Crew) -> None:
    Branch.objects.bulk_create([Branch(pk=pk, name=str(pk)) for pk in range(1, 9)])
    children = [crew.spawn(first_reads, pk, 8.0) for pk in range(1, 9)]
    for child in children:
        told = child.result(limit=120)
        assert told["wrong"] == []
        assert told["checks"] > 10
    equal(*(f"branch_accounts/{pk}" for pk in range(1, 9)))


# -- 24: in one transaction


def _written(pick: random.Random) -> None:
    state, plan = pick.choice(["active", "trial", "closed"]), pick.choice(["a", "b", "", None])
    some = list(Account.objects.order_by("?").values_list("pk", flat=True)[: pick.randint(0, 6)])
    match pick.randint(0, 7):
        case 0:
            Account(state=state, plan=plan, branch_id=pick.choice([1, 2, None])).save()
        case 1:
            Account.objects.bulk_create([Account(state=state, plan=plan, balance=n) for n in range(5)])
        case 2:
            Account.objects.filter(pk__in=some).update(state=state, plan=plan)
        case 3:
            Account.objects.filter(pk__in=some).delete()
        case 4:
            rows = [Account(pk=pk, state=state) for pk in {*some[:2], 10_000 + pick.randint(0, 9)}]
            Account.objects.bulk_create(
                rows, update_conflicts=True, unique_fields=["id"], update_fields=["state"]
            )
        case 5:
            sql("UPDATE accounts_account SET branch_id = %s, id = id + 100000 WHERE id = ANY(%s)", 1, some)
        case 6:
            Branch.objects.create(pk=pick.randint(100, 10**9), name="passing").accounts.create(state="active")
            Branch.objects.filter(name="passing").delete()
        case _:
            if pick.random() < 0.2:
                sql("SET CONSTRAINTS ALL IMMEDIATE")  # a table with waiting constraints cannot be emptied
                sql("TRUNCATE accounts_account")
                sql("SET CONSTRAINTS ALL DEFERRED")


@pytest.mark.parametrize("seed", range(4))
def test_24_random_writes_savepoints_counts_and_folds_inside_one_test_case(
    db: None, cache: Cache, seed: int
) -> None:
    pick = random.Random(seed)
    Branch.objects.bulk_create([Branch(pk=pk, name=str(pk)) for pk in (1, 2)])
    for _ in range(40):
        try:
            with transaction.atomic():
                _written(pick)
                if pick.random() < 0.3:
                    with transaction.atomic():
                        _written(pick)
                        if pick.random() < 0.5:
                            transaction.set_rollback(True)
                equal(*pick.sample(ALL, 2))
                if pick.random() < 0.2:
                    raise ZeroDivisionError
        except (ZeroDivisionError, IntegrityError):
            pass
        match pick.randint(0, 5):
            case 0:
                run_worker()
            case 1:
                cache.refresh(pick.choice(ALL))
            case 2:
                cache.invalidate(pick.choice(ALL))
        equal(*pick.sample(ALL, 2))
    equal(*ALL)
    balance = cache.get("signing_up")["value"]
    Account.objects.create(state="trial")
    assert cache.get("signing_up")["value"] == balance + 1


# -- 28: days of 23 and of 25 hours


def arriving(zone: str) -> type[Flow]:
    class Arriving(Flow):
        key_base, sources, sinks, at = "arriving_daily", [None], [Trial, Paying], "joined_at"
        window, tz = "day", zone
        facets = [Facet("plan")]

    return Arriving


@committed
@pytest.mark.parametrize(
    ("place", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-06-15", 24),
        # Midnight itself is skipped, or comes twice.
        ("America/Havana", "2026-03-08", 23),
        ("America/Havana", "2026-11-01", 25),
    ],
)
def test_28_daily_flows_on_both_days_that_clocks_change(
    cache: Cache, place: str, day: str, hours: int
) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(place))
    with registered(arriving(place)):
        triggers.install("default")
        sql("UPDATE kck_generation SET made_at = '2025-01-01Z' WHERE key_base = 'arriving_daily'")
        begins = midnight.astimezone(UTC)
        # Each half hour of three days, and the last and the first tick of the day itself.
        ticks = [begins - timedelta(days=1) + timedelta(minutes=30 * n) for n in range(3 * 48)]
        edges = [begins - timedelta(microseconds=1), begins + timedelta(hours=hours, microseconds=-1)]
        for zone in ("Asia/Kathmandu", "America/New_York"):  # whatever the writer's session thinks
            sql(f"SET timezone = '{zone}'")
            Account.objects.bulk_create(
                [Account(state="trial", plan=zone, joined_at=at) for at in (*ticks, *edges)]
            )
        sql("SET timezone = 'UTC'")
        expected = 2 * (2 * hours + 1)
        for _ in range(2):
            found = cache.get(f"arriving_daily/{day}")
            assert found["value"] == expected
            assert set(found["facets"]["plan"].values()) == {expected // 2}
            points = cache.series("arriving_daily", begins, begins + timedelta(hours=1))
            assert [(point.value, point.end - point.start) for point in points] == [
                (expected, timedelta(hours=hours))
            ]
            rows = sql(
                "SELECT count(*) FROM accounts_account WHERE (joined_at AT TIME ZONE %s)::date = %s",
                place,
                day,
            )
            assert rows == [(expected,)]
            fold()
    reading.forget()
    triggers.install("default")


# -- 29: by a column of another table


class ByCountry(Stock):
    """Active accounts by the country of their branch, which is another table's column."""

    key_base, model = "by_country", Account
    capture, schedule = None, every(hours=1)
    facets = [COUNTRY.through("branch")]


class ByBranch(Stock):
    """The same, factored at the foreign key: captured."""

    key_base, model, facets = "by_branch", Account, [Facet("branch")]


@committed
def test_29_a_stock_by_a_joined_country_is_recounted_on_schedule_and_says_so_while_customers_move(
    cache: Cache, sessions: Callable[[], Session], capsys: pytest.CaptureFixture[str]
) -> None:
    Branch.objects.bulk_create([Branch(pk=pk, name=str(pk), country="DE") for pk in range(1, 5)])
    Account.objects.bulk_create([Account(branch_id=1 + n % 4) for n in range(40)])
    with registered(ByCountry, ByBranch), freeze_time(datetime(2030, 1, 1, 9, 30, tzinfo=UTC)) as clock:
        triggers.install("default")
        primed("by_branch")
        run_worker()
        assert cache.get("by_country") == {"value": 40, "facets": {"country": {"DE": 40}}}
        mover = sessions()
        for country in ("FR", None, ""):
            # Who moves while the count is under way is in it, or will be in the next.
            mover.sql("BEGIN")
            mover.sql("UPDATE accounts_branch SET country = %s WHERE id <= 2", country)
            clock.move(hours=1)
            run_worker()
            before = cache.get("by_country")
            assert before["value"] == 40
            mover.sql("COMMIT")
            assert cache.get("by_country") == before  # it lags until the schedule comes
            clock.move(hours=1)
            run_worker()
            assert cache.get("by_country") == counted("by_country")
            assert cache.get("by_country")["facets"]["country"] == {country: 20, "DE": 20}
            # Factored at the foreign key there is no lag: countries are looked up as they are now.
            by_branch = cache.get("by_branch")["facets"]["branch"]
            countries: dict[Any, int] = {}
            for pk, name in Branch.objects.values_list("pk", "country"):
                countries[name] = countries.get(name, 0) + by_branch[pk]
            assert countries == counted("by_country")["facets"]["country"]
            Account.objects.filter(branch_id=3).update(points=F("points") + 1)
        assert cache.explain("by_country")["not_captured"] == (
            "capture is None; it is counted anew on schedule (every hour)"
        )
        capsys.readouterr()
        call_command("kck", "explain", "by_country")
        assert (
            "counts     not captured: capture is None; it is counted anew on schedule"
            in capsys.readouterr().out
        )
        ByCountry.capture = "triggers"  # as if nobody had said that it is meant
        try:
            reading.forget()
            assert "reaches into another table" in cache.explain("by_country")["not_captured"]
            assert "not_captured" not in cache.explain("by_branch")
        finally:
            ByCountry.capture = None
    reading.forget()
    triggers.install("default")


@committed
@pytest.mark.parametrize("zone", ["America/New_York", "America/Havana"])
def test_weekly_flows_begin_where_the_projects_weeks_do(cache: Cache, settings: Any, zone: str) -> None:
    settings.KCK_FLOW = {**getattr(settings, "KCK_FLOW", {}), "WEEK_START": "sunday"}

    class Weekly(Flow):
        key_base, sources, sinks, at = "arriving_weekly", [None], [Trial], "joined_at"
        window, tz = "week", zone

    sunday = datetime.fromisoformat("2026-11-01").replace(tzinfo=ZoneInfo(zone))  # of 25 hours
    with registered(Weekly):
        triggers.install("default")
        sql("UPDATE kck_generation SET made_at = '2025-01-01Z' WHERE key_base = 'arriving_weekly'")
        begins = sunday.astimezone(UTC)
        hours = [begins + timedelta(hours=number) for number in range(-3, 7 * 24 + 3)]
        Account.objects.bulk_create([Account(state="trial", joined_at=at) for at in hours])
        for _ in range(2):
            assert cache.get("arriving_weekly/2026-11-01")["value"] == 7 * 24 + 1
            points = cache.series("arriving_weekly", begins - timedelta(days=1), begins + timedelta(days=8))
            assert [point.value for point in points] == [3, 7 * 24 + 1, 2]
            fold()
