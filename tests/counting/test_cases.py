"""The cases of exactness, each step by step: whatever a writer does, and through whatever door, what is read is what a
count says. Rows 101, 105, 106, 109, 120.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import F, Q

from kck_flow import Cache, Stock
from kck_flow.cache import counted as reading
from kck_flow.changes import triggers
from kck_flow.store import generations, levels
from kck_flow.store.session import caller
from kck_flow.testing import registered
from tests.accounts.models import Account, Branch
from tests.counting.conftest import Session, at_rest, counted, equal, fold, primed, rolled_back, sql
from tests.harness.wait import until

pytestmark = pytest.mark.django_db(transaction=True)
ALL = ("active", "everyone", "holding/active/0", "holding/trial/0", "money")


@pytest.fixture(autouse=True)
def _primed(db: None) -> None:
    """A branch, and every family counted while there is nothing yet."""
    Branch.objects.create(pk=1, name="one")
    primed("active", "everyone", "holding/active/0", "money", "branch_accounts/1")


def active(number: int = 1, **more: object) -> list[Account]:
    return Account.objects.bulk_create([Account(state="active", **more) for _ in range(number)])


def value(key: str = "active") -> object:
    return Cache.get_instance().get(key)["value"]


def test_1_a_row_in_a_transaction_that_rolls_back_is_seen_inside_and_gone_after() -> None:
    active(3)
    with rolled_back():
        active(1)
        assert value() == 4
    assert value() == 3
    equal(*ALL)


def test_2_and_3_of_savepoints_only_what_survives_counts() -> None:
    with transaction.atomic():
        active(2)
        with rolled_back():
            active(5)
            assert value() == 7
        assert value() == 2
        try:
            with transaction.atomic():
                active(3)
                with transaction.atomic():
                    active(4)
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        active(1)
        assert value() == 3
    assert value() == 3
    equal(*ALL)


def test_4_bulk_writes_raw_sql_and_copy_are_seen_after_each_statement_row_120() -> None:
    Account.objects.bulk_create([Account(state="active", plan=f"p{n % 7}") for n in range(1000)])
    equal(*ALL)
    assert value() == 1000
    Account.objects.filter(pk__in=Account.objects.order_by("pk").values("pk")[:400]).update(state="closed")
    assert value() == 600
    equal(*ALL)
    Account.objects.filter(
        pk__in=list(Account.objects.order_by("-pk").values_list("pk", flat=True)[:100])
    ).delete()
    assert value() == 500
    equal(*ALL)
    some = list(Account.objects.order_by("pk")[:50])
    for one in some:
        one.state, one.balance = "active", Decimal("1.25")
    Account.objects.bulk_update(some, ["state", "balance"])
    equal(*ALL)
    sql(
        "INSERT INTO accounts_account (state, vip, balance, points, note) "
        "SELECT 'active', true, g, 0, '' FROM generate_series(1, 10) g"
    )
    sql("UPDATE accounts_account SET plan = 'raw' WHERE state = 'active' AND id % 2 = 0")
    equal(*ALL)
    with connection.cursor() as cursor:
        rows = "".join(f"active\tf\t{n}.5\t0\t\n" for n in range(20))
        raw = cursor.cursor
        if hasattr(raw, "copy_expert"):
            raw.copy_expert(
                "COPY accounts_account (state, vip, balance, points, note) FROM STDIN", io.StringIO(rows)
            )
        else:
            with raw.copy("COPY accounts_account (state, vip, balance, points, note) FROM STDIN") as copy:
                copy.write(rows)
    equal(*ALL)
    assert value() == 550 + 10 + 20


def test_5_an_upsert_counts_what_it_adds_and_what_it_changes() -> None:
    old = active(3)
    rows = [Account(pk=one.pk, state="closed") for one in old] + [
        Account(pk=9001, state="active"),
        Account(pk=9002),
    ]
    Account.objects.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=["state"])
    assert value() == 1
    equal(*ALL)


def test_6_a_merge_that_deletes_updates_and_inserts() -> None:
    active(6, plan="old")
    first = Account.objects.order_by("pk").first()
    assert first is not None
    sql(
        "MERGE INTO accounts_account a USING (SELECT generate_series(%s::bigint, %s::bigint) g) s ON a.id = s.g "
        "WHEN MATCHED AND a.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET plan = 'new' "
        "WHEN NOT MATCHED THEN INSERT (state, vip, balance, points, note) VALUES ('active', false, 1, 0, '')".replace(
            "a.id % 2", "a.id %% 2"
        ),
        first.pk,
        first.pk + 9,
    )
    equal(*ALL)


def test_7_a_facet_that_goes_to_null_and_back_row_106(cache: Cache) -> None:
    (one,) = active(1, plan="pro")
    active(2, plan="")
    for plan in (None, "pro", None, ""):
        Account.objects.filter(pk=one.pk).update(plan=plan)
        found = cache.get("active")["facets"]["plan"]
        assert found == counted("active")["facets"]["plan"]
        assert found[plan] == (3 if plan == "" else 1)
        fold()
        assert cache.get("active")["facets"]["plan"] == found


def test_8_a_changed_primary_key_changes_nothing() -> None:
    active(3)
    Account.objects.update(id=F("id") + 1000)
    assert value() == 3
    equal(*ALL)


def test_9_soft_delete_and_undelete() -> None:
    active(3)
    Account.objects.update(deleted_at="2026-01-01T00:00:00Z")
    assert value() == 0
    Account.objects.update(deleted_at=None)
    assert value() == 3
    equal(*ALL)


def test_11_a_cascade_by_deleting_two_parents_in_sql() -> None:
    Branch.objects.create(pk=2, name="two")
    active(3, branch_id=1)
    active(2, branch_id=2)
    active(1)
    sql("ALTER TABLE accounts_account DROP CONSTRAINT IF EXISTS by_sql")
    sql(
        "ALTER TABLE accounts_account ADD CONSTRAINT by_sql FOREIGN KEY (branch_id) REFERENCES accounts_branch "
        "ON DELETE CASCADE"
    )
    try:
        names = sql(
            "SELECT conname FROM pg_constraint "
            "WHERE conrelid = 'accounts_account'::regclass AND contype = 'f' AND conname <> 'by_sql'"
        )
        for (name,) in names:
            sql(f'ALTER TABLE accounts_account ALTER CONSTRAINT "{name}" DEFERRABLE INITIALLY DEFERRED')
        sql("DELETE FROM accounts_branch")
        assert value() == 1
        equal(*ALL, "branch_accounts/1", "branch_accounts/2")
    finally:
        sql("ALTER TABLE accounts_account DROP CONSTRAINT by_sql")


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_14_a_truncate_empties_the_count_under_whatever_role(role: str) -> None:
    active(5)
    assert value() == 5
    with transaction.atomic():
        sql(f"SET LOCAL session_replication_role = {role}")
        sql("TRUNCATE accounts_account")
        assert value() == 0
    assert value() == 0
    at_rest()
    active(2)
    assert value() == 2
    equal(*ALL)


def test_a_write_under_the_replica_role_is_seen_too() -> None:
    with transaction.atomic():
        sql("SET LOCAL session_replication_role = replica")
        active(2)
    assert value() == 2
    equal(*ALL)


def test_15_triggers_that_were_disabled_meanwhile_make_a_miss_and_the_right_number() -> None:
    active(2)
    assert value() == 2
    sql("ALTER TABLE accounts_account DISABLE TRIGGER USER")
    active(5)
    sql("ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_insert")
    for operation in ("update", "delete", "truncate"):
        sql(f"ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_{operation}")
    until(lambda: value() == 7, "what captured it meanwhile to be looked at again")
    at_rest()
    time.sleep(reading.CAPTURED_SECONDS)
    assert value() == 7
    primed_again = sql("SELECT primed_at FROM kck_generation WHERE key_base = 'active'")
    assert primed_again[0][0] is not None
    active(1)
    assert value() == 8
    equal(*ALL)


def test_without_its_triggers_nothing_is_stored_and_each_read_counts() -> None:
    active(2)
    assert value() == 2
    for operation in ("insert", "update", "delete", "truncate"):
        sql(f"DROP TRIGGER kck_capture_{operation} ON accounts_account")
    reading.forget()
    for number in range(3, 7):
        active(1)
        assert value() == number
        at_rest()
    triggers.install("default")
    reading.forget()
    assert value() == 6
    at_rest()
    active(1)
    assert value() == 7
    equal(*ALL)


def test_a_definition_that_was_counted_before_its_trigger_served_it_is_counted_again(cache: Cache) -> None:
    """It is in force as soon as it is declared, and captured a moment later: what is written between is not."""
    active(2)
    with registered(Late):
        found = reading.definition_of(cache.primer("late"), "default")  # type: ignore[arg-type]
        assert found is not None
        generations.declare(caller("default"), found.generation, "late", found.relation, found.to_json())
        cache.refresh("late")
        active(1)  # the functions know nothing of it
        assert value("late") == 3
        triggers.install("default")
        reading.forget()
        assert value("late") == 3
        at_rest()
        active(1)
        equal("late", *ALL)
    triggers.install("default")


class Late(Stock):
    key_base, model, members = "late", Account, Q(state="active")


def test_16_a_writer_that_is_open_across_a_count(sessions: Callable[[], Session], cache: Cache) -> None:
    writer = sessions()
    writer.sql("BEGIN")
    writer.sql(
        "INSERT INTO accounts_account (state, vip, balance, points, note) VALUES ('active', false, 1, 0, '')"
    )
    cache.refresh("active")
    cache.refresh("money")
    assert value() == 0
    writer.sql("COMMIT")
    assert value() == 1
    equal(*ALL)


def test_17_a_writer_that_is_open_across_three_folds(sessions: Callable[[], Session]) -> None:
    writer = sessions()
    writer.sql("BEGIN")
    writer.sql(
        "INSERT INTO accounts_account (state, vip, balance, points, note) VALUES ('active', false, 1, 0, '')"
    )
    for _ in range(3):
        active(2)
        fold()
        equal(*ALL)
    writer.sql("COMMIT")
    equal(*ALL)
    fold()
    assert value() == 7
    equal(*ALL)


def test_18_folds_while_a_count_is_under_way(
    sessions: Callable[[], Session], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = levels.publish

    def slowly(*arguments: object) -> bool:
        active(1)
        for _ in range(10):
            fold()
        until(lambda: value() == 1, "the writer's row to be read while the count is under way")
        return published(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(levels, "publish", slowly)
    counter = sessions()
    counter.do(lambda: cache.refresh("active"))
    monkeypatch.setattr(levels, "publish", published)
    equal(*ALL)
    fold()
    assert value() == 1
    equal(*ALL)


def test_19_a_reader_with_an_old_snapshot_reads_what_it_would_count(sessions: Callable[[], Session]) -> None:
    active(3)
    reader = sessions()
    reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert reader.do(lambda: counted("active")) == counted("active")
    active(4)
    fold()
    Account.objects.all().delete()
    fold()
    read = reader.do(value)
    assert read == 3 == reader.do(lambda: counted("active"))["value"]
    reader.sql("COMMIT")
    assert reader.do(value) == 0


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_22_a_first_read_at_each_isolation_level(level: str) -> None:
    active(3)
    sql("UPDATE kck_generation SET primed_at = NULL")
    with transaction.atomic():
        sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        assert value() == 3
        active(1)
        assert value() == 4
    at_rest()
    assert value() == 4
    equal(*ALL)


def test_23_a_first_read_inside_a_transaction_that_has_written() -> None:
    sql("UPDATE kck_generation SET primed_at = NULL")
    with transaction.atomic():
        active(2)
        assert value() == 2
    at_rest()
    assert value() == 2
    equal(*ALL)


def test_a_deltas_and_levels_that_hold_nothing_any_more_are_gone() -> None:
    active(3, plan="pro")
    Account.objects.all().delete()
    fold()
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    assert sql("SELECT count(*) FROM kck_level WHERE n = 0") == [(0,)]
    equal(*ALL)


def test_an_update_that_touches_no_counted_column_writes_nothing() -> None:
    active(100)
    fold()
    Account.objects.update(note="new")
    Account.objects.update(state="active")
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]


def test_an_absent_key_of_a_family_is_zero_and_creates_no_row_row_101(cache: Cache) -> None:
    before = sql("SELECT count(*) FROM kck_level")
    for key in ("branch_accounts/77", "holding/none/5"):
        assert cache.get(key)["value"] == 0
    assert sql("SELECT count(*) FROM kck_level") == before


def test_a_row_that_moves_between_keys_leaves_one_and_comes_to_the_other() -> None:
    Branch.objects.create(pk=2, name="two")
    active(2, branch_id=1, plan="pro")
    Account.objects.filter(pk=Account.objects.latest("pk").pk).update(branch_id=2, plan="free")
    assert value("branch_accounts/1") == value("branch_accounts/2") == 1
    equal("branch_accounts/1", "branch_accounts/2")
