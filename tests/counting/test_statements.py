"""One row in a statement, or several: counted in two ways, and the same comes of both."""

from __future__ import annotations

import pytest

from tests.accounts.models import Account, Branch
from tests.counting.conftest import equal, fold, primed, sql

pytestmark = pytest.mark.django_db(transaction=True)
CHANGES = (
    "plan = 'pro'",
    "plan = NULL, vip = NOT vip",
    "balance = balance + 0.25",
    "balance = -balance, branch_id = NULL",
    "state = 'closed'",
    "state = 'active', joined_at = now()",
    "state = 'trial', deleted_at = now()",
    "note = note || '.'",
    "points = points + 1, id = id + 1000",
)


def deltas(key_base: str) -> list[tuple[int, int]]:
    """Return (facet, n) of what waits for a stock."""
    rows = sql(
        "SELECT d.facet, d.n FROM kck_delta d JOIN kck_generation g USING (generation) WHERE g.key_base = %s "
        "ORDER BY 1, 2",
        key_base,
    )
    return [(row[0], row[1]) for row in rows]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_each_change_of_so_many_rows_is_counted(rows: int) -> None:
    branches = [Branch.objects.create(name=name) for name in "ab"]
    Account.objects.bulk_create(
        [
            Account(state="active", plan="free", balance=n, points=n % 2, branch=branches[n % 2])
            for n in range(6)
        ]
    )
    keys = ["active", "everyone", "money", "trial", "closed", "holding/closed/1"]
    keys += [f"branch_accounts/{branch.pk}" for branch in branches]
    primed("active", "everyone", "money", "trial", "closed", "holding/closed/1", keys[-1])
    some = f"id IN (SELECT id FROM accounts_account ORDER BY id LIMIT {rows})"
    for change in CHANGES:
        sql(f"UPDATE accounts_account SET {change} WHERE {some}")
        equal(*keys)
    sql(
        "INSERT INTO accounts_account (state, plan, vip, balance, points, note) "
        f"SELECT 'active', 'new', true, 7, 1, '' FROM generate_series(1, {rows})"
    )
    equal(*keys)
    fold()
    equal(*keys)
    sql(f"DELETE FROM accounts_account WHERE {some}")
    equal(*keys)


@pytest.mark.parametrize("rows", [1, 3])
def test_only_what_changed_is_appended(rows: int) -> None:
    Account.objects.bulk_create([Account(state="active", plan="free", balance=1) for _ in range(3)])
    primed("active", "everyone", "money")
    fold()
    some = f"id IN (SELECT id FROM accounts_account ORDER BY id LIMIT {rows})"
    sql(f"UPDATE accounts_account SET note = 'read', state = state WHERE {some}")
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    sql(f"UPDATE accounts_account SET plan = 'pro' WHERE {some}")
    assert deltas("active") == [(1, -rows), (1, rows), (3, -rows), (3, rows)]  # plan, and plan with vip
    assert deltas("everyone") == deltas("money") == []
    sql(f"UPDATE accounts_account SET balance = balance + 1 WHERE {some}")
    assert deltas("money") == [(0, 0), (1, 0)]  # no row more, or less: a sum
