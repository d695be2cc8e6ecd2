"""Flows: transitions between stocks, counted in windows, whoever moved the row. Rows 118 to 123, 129 to 131."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from kck_flow import Cache, Facet, Flow
from kck_flow.changes import triggers
from kck_flow.errors import InvalidKey, UnstorableValue
from kck_flow.testing import registered, run_worker
from kck_flow.windows import Window
from tests.accounts.models import Account, Branch
from tests.accounts.primers import Closed, Paying, Trial
from tests.counting.conftest import fold, rolled_back, sql

committed = pytest.mark.django_db(transaction=True)


def counts(*keys: str) -> list[int]:
    cache = Cache.get_instance()
    found = [cache.get(key)["value"] for key in keys]
    assert [value["value"] for value in cache.get_many(keys).values()] == found
    return found


@committed
def test_each_transition_is_counted_once_by_every_flow_that_it_is_one_of_rows_118_119_121_123(
    cache: Cache,
) -> None:
    one = Account.objects.create(state="trial", plan="x")
    for _ in range(3):
        one.save()  # nothing moves
    assert counts("signing_up", "converting", "departing") == [1, 0, 0]
    one.state = "active"
    one.save()
    Account.objects.update(plan="y")
    assert counts("signing_up", "converting", "departing") == [1, 1, 0]
    Account.objects.update(state="odd")  # in no stock: the outside
    Account.objects.update(state="active")
    Account.objects.update(state="closed")
    assert counts("signing_up", "converting", "departing") == [2, 1, 2]
    Account.objects.all().delete()  # Closed is no source of departing
    assert cache.get("departing") == {
        "value": 2,
        "facets": {"plan": {"y": 2}, "source": {"paying": 2}, "sink": {"closed": 1, None: 1}},
    }
    assert cache.get("signing_up")["facets"] == {"plan": {"x": 1, "y": 1}, "sink": {"paying": 1, "trial": 1}}
    before = cache.get_many(["signing_up", "converting", "departing"])
    assert fold() > 0
    assert cache.get_many(["signing_up", "converting", "departing"]) == before


@committed
def test_writes_that_bypass_save_are_seen_and_what_is_rolled_back_is_not_row_120(cache: Cache) -> None:
    Account.objects.bulk_create([Account(state="trial") for _ in range(50)])
    sql("UPDATE accounts_account SET state = 'active' WHERE id % 2 = 0")
    with rolled_back():
        Account.objects.update(state="closed")
        assert counts("departing") == [50]
    with transaction.atomic():
        with rolled_back():
            Account.objects.filter(state="trial").update(state="active")
        Account.objects.filter(state="trial").delete()
    assert counts("signing_up", "converting", "departing") == [50, 25, 25]
    assert cache.get("departing")["facets"]["sink"] == {None: 25}


@committed
def test_a_parametrised_flow_counts_for_each_key_and_a_move_between_keys_for_both_row_118(
    cache: Cache,
) -> None:
    for pk in (1, 2):
        Branch.objects.create(pk=pk, name=str(pk))
    Account.objects.create(state="trial", branch_id=1)
    Account.objects.update(state="active")
    assert counts("branch_arrivals/1", "branch_arrivals/2") == [1, 0]
    Account.objects.update(branch_id=2)
    assert counts("branch_arrivals/1", "branch_arrivals/2") == [1, 1]
    assert cache.get("branch_arrivals/1")["facets"]["source"] == {"trial": 1}
    assert cache.get("branch_arrivals/2")["facets"]["source"] == {None: 1}


@committed
def test_facets_are_what_the_row_was_at_the_time_row_131(cache: Cache) -> None:
    Account.objects.bulk_create([Account(state="trial", plan=plan) for plan in ("pro", None, "")])
    Account.objects.update(plan="later")
    fold()
    assert cache.get("signing_up")["facets"]["plan"] == {"": 1, "pro": 1, None: 1}


@committed
def test_windows_series_and_coarser_steps_row_130(cache: Cache) -> None:
    class Joining(Flow):
        key_base = "joining"
        sources, sinks, at, window = [None], [Trial, Paying], "joined_at", timedelta(minutes=15)
        facets = [Facet("plan")]

    with registered(Joining):
        triggers.install("default")
        sql("UPDATE kck_generation SET made_at = '2025-01-01Z' WHERE key_base = 'joining'")
        first = datetime(2026, 3, 28, 22, 50, tzinfo=UTC)  # in Berlin the 28th, whose next day has 23 hours
        Account.objects.bulk_create(
            [
                Account(state="trial", plan="ab"[n % 2], joined_at=first + timedelta(hours=n))
                for n in range(30)
            ]
        )
        Account.objects.create(state="trial", joined_at=datetime(1500, 1, 1, tzinfo=UTC))  # counts as of now
        Account.objects.create(state="trial", joined_at=None)
        for _ in range(2):
            assert cache.get("joining")["value"] == 32
            assert cache.get("joining/2026-03-28T22:45:00Z") == {
                "value": 1,
                "facets": {"plan": {"a": 1}, "sink": {"trial": 1}},
            }
            end = first + timedelta(hours=3)
            hours = cache.series("joining", first, end, by="hour")
            assert [point.value for point in hours] == [1, 1, 1, 1]
            assert hours[0].start == datetime(2026, 3, 28, 22, tzinfo=UTC)
            assert all(point.complete for point in hours)
            by_plan = cache.series("joining", first, end, by="hour", facet="plan")
            assert [point.value for point in by_plan] == [{"a": 1}, {"b": 1}, {"a": 1}, {"b": 1}]
            fold()
        with pytest.raises(ValueError, match="has no facet 'colour'"):
            cache.series("joining", first, end, facet="colour")
        Joining.tz = "Europe/Berlin"
    with registered(Joining):
        triggers.install("default")
        days = cache.series("joining", first, first + timedelta(days=2), by="day")
        assert [point.end - point.start for point in days] == [
            timedelta(hours=hours) for hours in (24, 23, 24, 24)
        ]
    triggers.install("default")


@committed
def test_where_nothing_was_counted_yet_is_no_zero(cache: Cache) -> None:
    made = sql("SELECT made_at FROM kck_generation WHERE key_base = 'converting'")[0][0]
    points = cache.series("converting", made - timedelta(hours=2), made + timedelta(hours=1))
    assert points[0].value is None
    assert [point.value for point in points if point.end > made] == [0] * sum(
        point.end > made for point in points
    )
    assert not points[-1].complete


@committed
def test_a_flow_cannot_be_set_and_a_window_must_be_one(cache: Cache) -> None:
    with pytest.raises(UnstorableValue, match="cannot be set"):
        cache.set("converting", 3)
    with pytest.raises(InvalidKey, match="the beginning of a window such as 2026-01-01T00"):
        cache.get("converting/2026-01-01T10:30")
    assert cache.get("converting/2026-01-31T10")["value"] == 0
    assert cache.refresh("converting").value["value"] == 0


@committed
def test_a_flow_is_explained_and_listed_and_a_refresh_that_was_queued_does_nothing(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    Account.objects.create(state="trial")
    told = cache.explain("departing")
    assert (told["state"], told["counted"]["sinks"]) == ("fresh", ["closed", None])
    assert cache.is_set("departing")
    Account.objects.update(state="active")
    assert cache.explain("paying")["flows"] == [
        {"flow": "branch_arrivals", "direction": "in", "count": None},
        {"flow": "converting", "direction": "in", "count": 1},
        {"flow": "departing", "direction": "out", "count": 0},
        {"flow": "signing_up", "direction": "in", "count": 0},
    ]
    assert cache.get("paying")["value"] == 1
    call_command("kck", "explain", "paying")
    shown = capsys.readouterr().out
    assert "in         converting: 1 in the last day" in shown
    assert """counts     rows of "accounts_account" where""" in shown
    call_command("kck", "flows", "--format", "json")
    rows = {row["flow"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["signing_up"]["value"] == 1
    assert rows["signing_up"]["sources"] == [None]
    assert "each branch" in rows["branch_arrivals"]["cause"]
    cache.request_refresh("departing")
    assert run_worker().failed == []
    assert sql("SELECT count(*) FROM kck_refresh WHERE due_at IS NOT NULL") == [(0,)]


def test_wrong_flows_are_told_by_the_checks(db: None) -> None:
    class Nowhere(Flow):
        key_base, sources, sinks = "nowhere", [None], [None]

    class Unknown(Flow):
        key_base, sources, sinks = "unknown_flow", ["no_such_stock"], [Paying]

    class Split(Flow):
        key_base, sources, sinks, facets = "split_flow", [Trial], [Closed], [Facet("shade")]

    with registered(Nowhere, Unknown, Split):
        told = {found.obj.rpartition(".")[2]: f"{found.id} {found.msg}" for found in run_checks(tags=["kck"])}
    assert "E010" in told["Nowhere"]
    assert "at least one stock" in told["Nowhere"]
    assert "names 'no_such_stock', which is no stock" in told["Unknown"]
    assert "'shade'" in told["Split"]
    with pytest.raises(Exception, match="window must be a timedelta or one of hour, day, week, month"):
        Window("fortnight")


INSTANTS = st.floats(6e8, 2.1e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "America/St_Johns",
]
WINDOWS = st.one_of(
    st.builds(Window, st.sampled_from(["hour", "day", "week", "month"]), st.sampled_from(ZONES)),
    st.builds(Window, st.integers(1, 40 * 86_400).map(lambda seconds: timedelta(seconds=seconds))),
)


@given(WINDOWS, INSTANTS)
def test_every_instant_is_in_one_window_which_survives_its_text(window: Window, at: datetime) -> None:
    start = window.start_of(at)
    after = window.after(start)
    assert start <= at < after
    assert window.start_of(start) == start
    assert window.start_of(after - timedelta(microseconds=1)) == start
    assert window.start_of(after) == after
    assert window.parse(window.text_of(start)) == start


@pytest.mark.django_db
def test_the_database_puts_instants_into_the_same_windows() -> None:
    autumn, fall = (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 4, 4, 14, tzinfo=UTC),
    )
    instants = [start + timedelta(minutes=13 * n) for start in (autumn, fall) for n in range(60)]
    sizes = [(size, zone) for size in ("hour", "day", "week", "month") for zone in ZONES]
    for window in [*(Window(*one) for one in sizes), Window(timedelta(minutes=7))]:
        rows: list[Any] = sql(f"SELECT {window.sql('at')} FROM unnest(%s::timestamptz[]) AS t (at)", instants)
        assert [row[0] for row in rows] == [window.start_of(at) for at in instants], window
