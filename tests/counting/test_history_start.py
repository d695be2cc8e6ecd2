"""Flows that start from history: what was before their triggers stood, counted once, and no more than is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection, transaction

from kck_flow import Cache, Facet, Flow, ModelParameter, Process
from kck_flow.changes import triggers
from kck_flow.testing import registered
from tests.accounts.models import Account, Branch
from tests.accounts.primers import Closed, Paying, Trial
from tests.counting.conftest import Session, fold, sql
from tests.harness.wait import until

committed = pytest.mark.django_db(transaction=True)

FIRST = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _as_declared(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "transactional_db" in request.fixturenames:
        triggers.install("default")


class Paid(Flow):
    """Accounts that begin to pay, since ever."""

    key_base = "paid_since_ever"
    sources, sinks, window, tz, at = [Trial], [Paying], "day", "Europe/Berlin", "joined_at"
    facets = [Facet("plan")]
    from_history = True


def fill(number: int = 40) -> None:
    chosen = random.Random(3)
    Account.objects.bulk_create(
        Account(
            state=chosen.choice(["trial", "active", "active", "closed"]),
            plan=chosen.choice(["pro", "free", None, ""]),
            joined_at=chosen.choice([None, FIRST + timedelta(hours=7 * n), datetime(1500, 1, 1, tzinfo=UTC)]),
        )
        for n in range(number)
    )


@committed
def test_rows_that_are_in_a_sink_now_have_come_there_when_their_column_says(cache: Cache) -> None:
    fill()
    with registered(Paid):
        triggers.install("default")
        rows = list(Account.objects.filter(state="active", joined_at__year__gte=1900))
        expected = {"value": len(rows), "facets": {"plan": dict(Counter(row.plan for row in rows))}}
        assert 0 < len(rows) < 20
        assert cache.get("paid_since_ever") == expected
        days = cache.series("paid_since_ever", FIRST, FIRST + timedelta(days=12), by="day")
        assert sum(point.value or 0 for point in days) == len(rows)
        # One may have come and gone again since: none of them is known to be whole, and none is zero.
        assert not any(point.complete for point in days)
        assert 0 not in [point.value for point in days]
        assert "from history" in cache.explain("paid_since_ever")["cause"]
        # What comes later, its triggers see.
        one = Account.objects.filter(state="trial").first()
        assert one is not None
        one.state, one.joined_at = "active", FIRST
        one.save()
        assert cache.get("paid_since_ever")["value"] == len(rows) + 1
        triggers.install("default")
        fold()
        assert cache.get("paid_since_ever")["value"] == len(rows) + 1


@committed
def test_sinks_and_parameters_are_told_from_the_row(cache: Cache) -> None:
    class Arrived(Flow):
        key_base = "arrived_since_ever"
        parameters = [ModelParameter("branch", Branch, field="branch_id")]
        sources, sinks, window, at = [None], [Trial, Paying], timedelta(minutes=15), "joined_at"
        facets = [Facet("plan") * Facet("vip")]
        from_history = True

    for pk in (1, 2):
        Branch.objects.create(pk=pk, name=str(pk))
    for n in range(12):
        state = ("trial", "active", "closed")[n % 3]
        Account.objects.create(state=state, plan="p", vip=n > 5, branch_id=1 + n % 2, joined_at=FIRST)
    with registered(Arrived):
        triggers.install("default")
        assert cache.get("arrived_since_ever/1") == {
            "value": 4,
            "facets": {"plan*vip": {("p", False): 2, ("p", True): 2}, "sink": {"paying": 2, "trial": 2}},
        }
        assert cache.get(f"arrived_since_ever/2/{FIRST:%Y-%m-%dT%H:%M:%S}Z")["value"] == 4


@committed
def test_no_transition_is_missed_or_counted_twice_while_somebody_writes(
    sessions: Callable[[], Session], cache: Cache
) -> None:
    fill()
    writer, installer = sessions(), sessions()
    writer.sql("BEGIN")
    writer.sql("UPDATE accounts_account SET state = 'active', joined_at = %s WHERE state = 'trial'", FIRST)
    with registered(Paid):
        installer.tell(lambda: triggers.install("default"))
        until(
            lambda: bool(sql("SELECT 1 FROM pg_locks WHERE NOT granted")),
            "the install to wait for the writer",
        )
        writer.sql("COMMIT")
        installer.answer()
        paid = Account.objects.filter(state="active", joined_at__year__gte=1900).count()
        assert cache.get("paid_since_ever")["value"] == paid
        sql("UPDATE accounts_account SET state = 'trial' WHERE id %% 2 = %s", 0)
        sql("UPDATE accounts_account SET state = 'active' WHERE state = 'trial' AND id %% 4 = %s", 0)
        again = sql("SELECT count(*) FROM accounts_account WHERE state = 'active' AND id %% 4 = %s", 0)[0][0]
        assert cache.get("paid_since_ever")["value"] == paid + again


@committed
def test_readers_go_on_while_history_is_read(sessions: Callable[[], Session], cache: Cache) -> None:
    fill()
    installer, reader = sessions(), sessions()

    def held() -> None:
        transaction.set_autocommit(False)
        triggers.install("default")

    def end() -> None:
        connection.commit()
        transaction.set_autocommit(True)

    with registered(Paid):
        installer.do(held)
        reader.sql("SET lock_timeout = '2s'")
        assert reader.sql("SELECT count(*) FROM accounts_account") == [(40,)]
        installer.do(end)
        assert cache.get("paid_since_ever")["value"] > 0


@committed
def test_history_is_before_the_opening_of_the_books(cache: Cache) -> None:
    class Since(Process):
        key_base = "since_ever"
        stocks, flows = [Trial, Paying], [Paid]

    fill()
    with registered(Paid, Since):
        triggers.install("default")
        paying = Account.objects.filter(state="active").count()
        cache.refresh("since_ever")
        one = cache.get("since_ever")["stocks"]["paying"]
        assert (one["opening"], one["in"], one["count"]) == (paying, 0, paying)
        Account.objects.filter(state="trial").update(state="active", joined_at=FIRST)
        told = cache.get("since_ever")
        one = told["stocks"]["paying"]
        assert one["opening"] + one["in"] == one["count"]
        assert told["balanced"]


def moving(name: str, **given: Any) -> type[Flow]:
    """Return a flow that keeps events, or a changed definition of it."""
    return type(
        "Moving",
        (Flow,),
        {
            "__doc__": "Accounts that move, each kept.",
            "key_base": name,
            "sources": [None, Trial, Paying],
            "sinks": [Trial, Paying, Closed, None],
            "facets": [Facet("plan"), Facet("vip")],
            "record_events": True,
            "from_history": True,
            **given,
        },
    )


def move(times: int, seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(times):
        match chosen.randrange(4):
            case 0:
                Account.objects.create(
                    state=chosen.choice(["trial", "active"]), plan=chosen.choice(["a", "b", None])
                )
            case 1:
                Account.objects.filter(pk__in=list(Account.objects.values_list("pk", flat=True)[:2])).delete()
            case _:
                rows = list(Account.objects.order_by("?").values_list("pk", flat=True)[:3])
                Account.objects.filter(pk__in=rows).update(
                    state=chosen.choice(["trial", "active", "closed"]), vip=chosen.random() < 0.5
                )


def levels_of(name: str) -> list[tuple[Any, ...]]:
    return sql(
        "SELECT l.start_at, l.args, l.facet, l.facet_value, l.n FROM kck_level l "
        "JOIN kck_generation g USING (generation) "
        "WHERE g.key_base = %s AND l.n <> 0 ORDER BY 1, 2, 3, 4",
        name,
    )


@committed
def test_a_changed_window_counts_again_what_events_say_and_is_complete_where_they_are_whole(
    cache: Cache,
) -> None:
    with registered(moving("moving_hours")):
        triggers.install("default")
        move(30, seed=1)
        fold()
        by_hours = cache.get("moving_hours")
        hours = levels_of("moving_hours")
        sql("UPDATE kck_generation SET made_at = now() - interval '3 days' WHERE key_base = 'moving_hours'")
        since = sql("SELECT made_at FROM kck_generation WHERE key_base = 'moving_hours'")[0][0]
    with registered(moving("moving_hours", window="day", tz="Asia/Kolkata", facets=[Facet("vip")])):
        triggers.install("default")
        by_days = cache.get("moving_hours")
        assert by_days["value"] == by_hours["value"] > 0
        assert by_days["facets"] == {
            name: found for name, found in by_hours["facets"].items() if name != "plan"
        }
        now = datetime.now(UTC)
        days = cache.series("moving_hours", since - timedelta(days=1), now, by="day")
        # Before the first definition nothing is known; since then all but the day that it began in, and today.
        assert [point.value is None for point in days] == [True] * 1 + [False] * (len(days) - 1)
        assert [point.complete for point in days][2:-1] == [True] * (len(days) - 3)
        assert not any(point.complete for point in days[:2])
        move(20, seed=2)
        total = cache.get("moving_hours")["value"]
        assert total == sql("SELECT count(*) FROM kck_event WHERE key_base = 'moving_hours'")[0][0]
    with registered(moving("moving_hours", version=2, facets=[])):
        triggers.install("default")
        assert cache.get("moving_hours")["value"] == total
        assert sum(point.value for point in cache.series("moving_hours", since, datetime.now(UTC))) == total
    assert hours


@committed
def test_where_events_are_gone_windows_are_shown_and_not_complete(cache: Cache) -> None:
    with registered(moving("moving_pruned")):
        triggers.install("default")
        move(10, seed=5)
        fold()
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        sql("UPDATE kck_generation SET made_at = now() - interval '9 hours' WHERE key_base = 'moving_pruned'")
        # Two windows that were whole, of one of which no event is left.
        for hours, kept in ((6, 0), (4, 2)):
            at = now - timedelta(hours=hours)
            sql(
                "INSERT INTO kck_level (generation, args_digest, facet, value_digest, start_at, args, facet_value, n) "
                "SELECT generation, kck_digest('{}'), 0, kck_digest('null'), %s, '{}', 'null', 2 FROM kck_generation "
                "WHERE key_base = 'moving_pruned'",
                at,
            )
            for _ in range(kept):
                sql(
                    "INSERT INTO kck_event "
                    "(key_base, generation, args, subject_type, subject_id, sink, at, xact, facets) "
                    "SELECT key_base, generation, '{}', 'accounts.Account', '1', 'trial', %s, 1, "
                    "'{\"plan\": null, \"vip\": true}' FROM kck_generation WHERE key_base = 'moving_pruned'",
                    at + timedelta(minutes=5),
                )
    with registered(moving("moving_pruned", version=2)):
        triggers.install("default")
        points = cache.series("moving_pruned", now - timedelta(hours=8), now)
        assert [point.complete for point in points] == [False] * 4 + [True] * 4
        assert [point.value for point in points] == [None] * 4 + [2, 0, 0, 0]


@committed
def test_events_that_do_not_say_what_is_asked_are_left_out(cache: Cache) -> None:
    with registered(moving("moving_less", facets=[Facet("plan")])):
        triggers.install("default")
        move(8, seed=7)
        assert cache.get("moving_less")["value"] > 0
    with registered(moving("moving_less", facets=[Facet("plan"), Facet("vip")])):
        triggers.install("default")
        assert cache.get("moving_less")["value"] == 0
        assert not cache.series("moving_less", FIRST, FIRST + timedelta(hours=1))[0].complete
    with registered(moving("moving_less", facets=[Facet("plan")])):
        triggers.install("default")  # it is in force still, for a day: nothing is counted again
        assert cache.get("moving_less")["value"] > 0


@committed
def test_what_no_history_can_tell_is_refused_by_the_checks() -> None:
    class Nowhere(Flow):
        """Neither column nor events."""

        key_base, from_history = "from_nowhere", True
        sources, sinks = [None], [Trial]

    class Many(Flow):
        """Of which source, no column says."""

        key_base, from_history, at = "from_many", True, "joined_at"
        sources, sinks = [Trial, Paying], [Closed]

    class Gone(Flow):
        """Rows that are not there."""

        key_base, from_history, at = "from_gone", True, "joined_at"
        sources, sinks = [Trial], [None]

    with registered(Nowhere, Many, Gone, moving("from_events")):
        said = sorted(
            found.msg.partition("key_base ")[2]
            for found in run_checks(tags=["kck"])
            if found.id == "kck_flow.E010"
        )
        assert len(said) == 3, said
        assert "rows that went outside are not there" in said[0]
        assert "from which of its sources a row came" in said[1]
        assert "has neither a column (at) nor events" in said[2]
