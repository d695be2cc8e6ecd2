"""Stocks under workers of their own processes: records once a period, and what is derived told of raw SQL."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from kck_flow.changes import triggers
from kck_flow.testing import registered
from tests.accounts.models import Account, Branch
from tests.stage.directing import Theatre, one, sql, until, value_of
from tests.stage.fixtures import house, theatre
from tests.stage.primers import Roll, RollOf

__all__ = ["house", "theatre"]
pytestmark = pytest.mark.django_db(transaction=True)
INSERT = "INSERT INTO accounts_account (state, vip, points, balance, note) VALUES ('active', false, 0, 0, '')"


@pytest.fixture
def captured(transactional_db: None) -> Iterator[None]:
    """The stocks of the stage are captured in the test's database."""
    with registered(Roll, RollOf):
        triggers.install("default")
        yield
    triggers.install("default")


def test_each_period_is_recorded_once_however_many_workers_row_102(captured: None, theatre: Theatre) -> None:
    branches = [Branch.objects.create(name=str(n)) for n in range(3)]
    Account.objects.bulk_create([Account(state="active", plan="a", branch=branch) for branch in branches])
    env = {"KCK_TEST_TIMED": json.dumps({"roll": 1, "roll_of": 1})}
    workers = [theatre.worker("--executor", "thread", env=env) for _ in range(3)]
    until(lambda: one("SELECT count(*) FROM kck_record WHERE key = 'roll'") >= 5, "five periods", limit=60.0)
    sql(INSERT)
    now = one("SELECT count(*) FROM kck_record WHERE key = 'roll'")
    until(
        lambda: one("SELECT count(*) FROM kck_record WHERE key = 'roll'") >= now + 2, "two more", limit=60.0
    )
    for worker in workers:
        worker.stop()
    rows = sql("SELECT key, start_at, end_at, revision FROM kck_record")
    assert set(Counter((key, start) for key, start, *_ in rows).values()) == {1}
    assert all(start.microsecond == 0 and (end - start).total_seconds() == 1 for _, start, end, _ in rows)
    values = [
        json.loads(row[0])
        for row in sql("SELECT value::text FROM kck_record WHERE key = 'roll' ORDER BY start_at")
    ]
    assert [row["value"] for row in values] == sorted(row["value"] for row in values)
    assert {values[0]["value"], values[-1]["value"]} == {3, 4}
    periods = [
        row[0] for row in sql("SELECT start_at FROM kck_record WHERE key LIKE '!%%' ORDER BY start_at")
    ]
    for branch in branches:
        own = "SELECT start_at FROM kck_record WHERE key = %s ORDER BY start_at"
        assert [row[0] for row in sql(own, f"roll_of/{branch.pk}")] == periods


AT_REST = """SELECT (SELECT count(*) FROM kck_delta) + (SELECT count(*) FROM kck_pending)
    + (SELECT count(*) FROM kck_refresh WHERE want > have OR lease_until IS NOT NULL)"""


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_raw_sql_reaches_what_is_derived_by_way_of_a_worker(
    captured: None, theatre: Theatre, executor: str
) -> None:
    worker = theatre.worker("--executor", executor)
    reader = theatre.reader()
    assert reader.get("billing") == reader.get("billing_refreshed") == 0
    sql(INSERT)
    until(lambda: value_of("billing_refreshed") == 1, "the product to be refreshed", limit=60.0)
    until(lambda: reader.get("billing") == 1, "the product to be computed anew", limit=60.0)
    # What was computed between a write and its fold is told of it once more.
    until(lambda: one(AT_REST) == 0, "the worker to come to rest", limit=60.0)
    begun = theatre.stage.begun()
    sql("UPDATE accounts_account SET points = points + 1")
    sql(
        "BEGIN; UPDATE accounts_account SET state = 'trial'; UPDATE accounts_account SET state = 'active'; COMMIT"
    )
    until(lambda: one(AT_REST) == 0, "all to be folded and told", limit=60.0)
    assert theatre.stage.begun() == begun
    worker.stop()
