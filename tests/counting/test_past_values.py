"""A stock's value at an instant that nobody recorded, from its flows: what the test has seen, or nothing at all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import transaction
from django.db.models import Q

from kck_flow import Cache, Facet, Flow, ModelParameter, Process, Stock, every
from kck_flow.changes import triggers
from kck_flow.errors import NotPrimed
from kck_flow.testing import freeze_time, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import fold, sql

committed = pytest.mark.django_db(transaction=True)

STATES = ("new", "open", "done")


@pytest.fixture(autouse=True)
def _as_declared(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "transactional_db" in request.fixturenames:
        triggers.install("default")


def stock(state: str, **given: Any) -> type[Stock]:
    return type(
        f"Past{state.title()}",
        (Stock,),
        {
            "__doc__": "Accounts of one state.",
            "key_base": f"past_{state}",
            "model": Account,
            "members": Q(state=state),
            "facets": [Facet("plan")],
            **given,
        },
    )


def declared(
    pairs: dict[tuple[str | None, ...], tuple[str | None, ...]] | None = None,
    *,
    complete: bool = False,
    stocks: dict[str, Any] | None = None,
    process: dict[str, Any] | None = None,
    **given: Any,
) -> list[Any]:
    """Return stocks of the states, flows between (all, where no pairs of sources and sinks are given) and a process."""
    own = [stock(state, **(stocks or {})) for state in STATES]
    if pairs is None:
        pairs = {
            (None,): ("new", "open", "done"),
            ("new",): ("open", "done", None),
            ("open",): ("new", "done"),
            ("done",): ("new", "open"),
            ("open", "done"): (None,),
        }
    name = {state: f"past_{state}" for state in STATES} | {None: None}
    flows = [
        type(
            f"Move{number}",
            (Flow,),
            {
                "__doc__": "Accounts that move.",
                "key_base": f"past_move_{number}",
                "sources": [name[one] for one in sources],
                "sinks": [name[one] for one in sinks],
                **given,
            },
        )
        for number, (sources, sinks) in enumerate(pairs.items())
    ]
    whole = type(
        "Past",
        (Process,),
        {
            "__doc__": "All of it.",
            "key_base": "past_process",
            "stocks": own,
            "flows": flows,
            "complete": complete,
            **(process or {}),
        },
    )
    return [*own, *flows, whole]


def counts(**of: Any) -> dict[str, int]:
    return {state: Account.objects.filter(state=state, **of).count() for state in STATES}


def primed(*extra: str) -> None:
    for state in STATES:
        Cache.get_instance().refresh(f"past_{state}{''.join(extra)}")


def backdate(days: int) -> None:
    """As if its flows had been captured for some days."""
    sql(
        "UPDATE kck_generation SET made_at = now() - %s * interval '1 day' WHERE starts_with(key_base, 'past_move')",
        days,
    )


def move(chosen: random.Random, **given: Any) -> None:
    """Do one thing, whatever it moves."""
    rows = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    some = chosen.sample(rows, min(len(rows), chosen.randrange(1, 5)))
    state = chosen.choice([*STATES, "elsewhere"])
    match chosen.randrange(6):
        case 0 | 1:
            Account.objects.bulk_create(Account(state=state, **given) for _ in range(chosen.randrange(1, 6)))
        case 2:
            with transaction.atomic():
                Account.objects.filter(pk__in=some).update(state=state, **given)
                transaction.set_rollback(chosen.random() < 0.3)
        case 3 if not given:
            Account.objects.filter(pk__in=some[:2]).delete()
        case _:
            Account.objects.filter(pk__in=some).update(state=state, **given)


def told(key: str, at: datetime) -> int:
    found = Cache.get_instance().value_at(key, at)
    assert found["facets"] == {}
    value: int = found["value"]
    return value


def refused(key: str, at: datetime) -> str:
    with pytest.raises(NotPrimed) as raised:
        Cache.get_instance().value_at(key, at)
    return str(raised.value)


def clock() -> datetime:
    found: datetime = sql("SELECT clock_timestamp()")[0][0]
    return found


@committed
@pytest.mark.parametrize("seed", [1, 2])
def test_with_events_any_instant_is_told_as_the_test_has_seen_it(seed: int) -> None:
    chosen = random.Random(seed)
    with registered(*declared(record_events=True)):
        triggers.install("default")
        Account.objects.bulk_create(Account(state=chosen.choice(STATES)) for _ in range(9))
        primed()
        seen = []
        for number in range(40):
            seen.append((clock(), counts()))
            move(chosen)
            if number % 11 == 7:
                fold()
            if number == 25:
                primed()  # a count changes nothing
        seen.append((clock(), counts()))
        assert len({tuple(one.values()) for _, one in seen}) > 20
        for at, truth in seen:
            assert {state: told(f"past_{state}", at) for state in STATES} == truth
        at = clock() + timedelta(hours=1)
        assert "yet to come" in refused("past_new", at)


@committed
@pytest.mark.parametrize("seed", [3, 4])
def test_where_windows_begin_values_follow_from_counts_alone_and_series_are_filled(
    seed: int, cache: Cache
) -> None:
    chosen = random.Random(seed)
    with registered(*declared(at="joined_at", stocks={"schedule": every(days=1)})):
        triggers.install("default")
        backdate(5)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
        first, truth = hour, {}
        for number in range(60):
            if number % 2 == 0:
                truth[hour] = counts()
                hour += timedelta(hours=1)
            # Instants within the hour that has begun; whatever order they are written in.
            move(chosen, joined_at=hour - timedelta(minutes=chosen.randrange(1, 59)))
            if number == 31:
                primed()
        truth[hour] = counts()
        for at, found in truth.items():
            assert {state: told(f"past_{state}", at) for state in STATES} == found, at
        for state in STATES:
            points = cache.series(f"past_{state}", first, hour + timedelta(hours=1), by="hour")
            assert [point.value for point in points] == [found[state] for found in truth.values()]
            assert all(point.generation is not None for point in points)
            by_plan = cache.series(f"past_{state}", first, hour, by="hour", facet="plan")
            assert {point.value for point in by_plan} == {None}
        hours = sorted(truth)
        busy = next(one for one, after in pairwise(hours) if truth[one] != truth[after])
        said = refused("past_open", busy + timedelta(minutes=20))
        assert f"What can be told is {busy.isoformat()}" in said
        assert "record_events" in said
        before = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=6)
        assert "counts since" in refused("past_open", before)
        assert [
            point.value for point in cache.series("past_open", before, before + timedelta(hours=2), by="hour")
        ] == [
            None,
            None,
        ]


@committed
def test_a_key_of_a_parametrised_stock_has_a_past_of_its_own() -> None:
    chosen = random.Random(5)
    by_branch = {"parameters": [ModelParameter("branch", Branch, field="branch_id")]}
    for pk in (1, 2):
        Branch.objects.create(pk=pk, name=str(pk))
    with registered(*declared(record_events=True, stocks=by_branch, process=by_branch, **by_branch)):
        triggers.install("default")
        primed("/1")
        seen = []
        for _ in range(30):
            seen.append((clock(), {pk: counts(branch=pk) for pk in (1, 2)}))
            move(chosen)
            Account.objects.filter(branch=None).update(branch=chosen.choice([1, 2]))
            Account.objects.filter(pk__in=Account.objects.values("pk")[:2]).update(
                branch=chosen.choice([1, 2])
            )
        for at, truth in seen:
            for pk in (1, 2):
                assert {state: told(f"past_{state}/{pk}", at) for state in STATES} == truth[pk]


@committed
def test_a_way_that_no_flow_counts_is_no_matter_as_long_as_nobody_takes_it_row_117(cache: Cache) -> None:
    pairs = {(None,): ("new",), ("new",): ("open", "done", None)}
    with registered(*declared(pairs, record_events=True)):
        triggers.install("default")
        Account.objects.create(state="new")
        before = clock()
        primed()
        opened = clock()
        Account.objects.bulk_create([Account(state="new") for _ in range(3)])
        between = clock()
        Account.objects.filter(pk__in=Account.objects.values("pk")[:1]).update(state="done")
        # What comes into it from open or done, nobody counts; what leaves it, somebody does.
        assert [told("past_new", at) for at in (opened, between, clock())] == [1, 4, 3]
        assert "its book was opened at" in refused("past_new", before)
        # Of these nobody counts what leaves them, nor all that comes in: both may cancel out.
        assert "no flow counts what comes into it from" in refused("past_open", between)
        Account.objects.filter(state="done").update(state="new")
        assert "1 rows came or went that no flow has counted" in refused("past_new", between)
        Account.objects.filter(state="new").update(state="open")
        assert "came or went that no flow has counted" in refused("past_new", between)


@committed
def test_a_process_that_says_it_is_complete_is_believed_as_long_as_its_books_balance() -> None:
    pairs = {(None,): ("new",), ("new",): ("open",), ("open",): ("done",)}
    with registered(*declared(pairs, complete=True, record_events=True)):
        triggers.install("default")
        primed()
        Account.objects.bulk_create([Account(state="new") for _ in range(4)])
        one = clock()
        Account.objects.update(state="open")
        two = clock()
        assert [told("past_open", at) for at in (one, two)] == [0, 4]
        Account.objects.filter(pk__in=Account.objects.values("pk")[:1]).delete()
        assert "1 rows came or went that no flow has counted" in refused("past_open", two)


@committed
def test_what_was_missed_cannot_be_told_before_and_can_be_after(cache: Cache) -> None:
    with registered(*declared(record_events=True)):
        triggers.install("default")
        primed()
        Account.objects.bulk_create([Account(state="new") for _ in range(4)])
        before = clock()
        assert told("past_new", before) == 4
        sql("ALTER TABLE accounts_account DISABLE TRIGGER kck_capture_update")
        Account.objects.filter(pk__in=Account.objects.values("pk")[:1]).update(state="open")
        triggers.install("default")
        primed()
        assert "found what no trigger had told" in refused("past_new", before)
        after = clock()
        Account.objects.filter(state="new").update(state="done")
        assert told("past_new", after) == 3
        sql("UPDATE kck_book SET corrected_at = NULL")
        assert "were missed since" in refused("past_new", before)
        sql("TRUNCATE accounts_account CASCADE")
        primed()
        assert cache.get("past_done")["value"] == 0
        refused("past_done", after)


@committed
def test_events_that_are_gone_make_an_instant_within_their_window_untold() -> None:
    with registered(*declared(record_events=True)):
        triggers.install("default")
        primed()
        at = clock()
        Account.objects.bulk_create([Account(state="new") for _ in range(4)])
        assert told("past_new", at) == 0
        sql("DELETE FROM kck_event WHERE id = (SELECT max(id) FROM kck_event WHERE key_base LIKE 'past%')")
        assert "are not all kept as events" in refused("past_new", at)


@committed
def test_without_a_process_or_with_one_whose_stocks_overlap_nothing_is_told() -> None:
    *parts, _ = declared(record_events=True)
    with registered(*parts):
        triggers.install("default")
        primed()
        assert "no Process has all of past_done, past_new, past_open" in refused("past_new", clock())
    with registered(*declared(record_events=True, process={"overlapping": True})):
        assert "no Process has all of" in refused("past_new", clock())


@committed
def test_a_record_is_what_it_says_and_what_lies_between_records_is_told_by_flows(cache: Cache) -> None:
    with registered(*declared(at="joined_at", stocks={"schedule": every(hours=1)})):
        triggers.install("default")
        backdate(5)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=4)
        Account.objects.create(state="new", joined_at=hour - timedelta(minutes=30))
        primed()
        with freeze_time((hour - timedelta(minutes=59)).isoformat()) as clock_:
            run_worker(["past_new"])
            clock_.move(hours=1)
            run_worker(["past_new"])
        Account.objects.create(state="new", joined_at=hour + timedelta(minutes=90))
        assert sql("SELECT count(*) FROM kck_record WHERE key_base = 'past_new'")[0][0] >= 1
        recorded = cache.value_at("past_new", hour + timedelta(minutes=5))
        assert recorded == {"value": 1, "facets": {"plan": {None: 1}}}
        points = cache.series("past_new", hour, hour + timedelta(hours=4), by="hour")
        assert [point.value for point in points] == [1, 1, 2, 2]


@pytest.mark.django_db
def test_inside_a_test_case_it_is_told_too() -> None:
    with registered(*declared(at="joined_at")):
        triggers.install("default")
        backdate(3)
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        Account.objects.create(state="new", joined_at=hour - timedelta(minutes=90))
        primed()
        assert [told("past_new", hour - timedelta(hours=n)) for n in (0, 1, 2)] == [1, 1, 0]
