"""Stocks as people use them: in a TestCase, in one statement, explained, listed, their members; declared wrongly; on
odd tables. Rows 101, 103 to 108, 112, 135.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection, models
from django.db.models import Avg, Count, Exists, F, OuterRef, Q, StdDev, Sum
from django.db.models.functions import Cast, Now
from django.test.utils import CaptureQueriesContext

from kck_flow import Cache, Facet, IntegerParameter, ModelParameter, Stock
from kck_flow.cache import counted as reading
from kck_flow.changes import triggers
from kck_flow.definition import NotCaptured, definition
from kck_flow.errors import NotPrimed, UnstorableValue
from kck_flow.store import generations
from kck_flow.store.session import caller
from kck_flow.testing import count_computes, registered, run_worker
from tests.accounts.models import Account, Branch
from tests.counting.conftest import at_rest, counted, equal, fold, primed, sql

committed = pytest.mark.django_db(transaction=True)


def test_24_all_of_it_inside_one_testcase_transaction(db: None, cache: Cache) -> None:
    assert cache.get("active")["value"] == 0
    branch = Branch.objects.create(name="x")
    Account.objects.bulk_create([Account(state="active", plan="pro", branch=branch) for _ in range(3)])
    assert cache.get("active")["facets"]["plan"] == {"pro": 3}
    Account.objects.filter(pk=Account.objects.latest("pk").pk).update(state="closed")
    equal("active", "everyone", "money", f"branch_accounts/{branch.pk}", "holding/active/0")
    run_worker()
    assert sql("SELECT count(*) FROM kck_delta") == [(0,)]
    equal("active", "everyone", "money", f"branch_accounts/{branch.pk}", "holding/active/0")
    Account.objects.all().delete()
    assert cache.get("active")["value"] == 0


def test_a_testcase_before_has_left_nothing(db: None, cache: Cache) -> None:
    assert sql("SELECT count(*) FROM kck_level") == [(0,)]
    assert cache.get("everyone")["value"] == 0


@committed
def test_many_stocks_are_read_in_one_statement_row_105(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CAPTURED_SECONDS", 60.0)  # else a slow machine asks once more what captures
    Branch.objects.create(pk=1, name="x")
    Account.objects.bulk_create(
        [Account(state="active", plan=f"p{n % 50}", vip=n % 2 == 0, branch_id=1) for n in range(200)]
    )
    keys = ["active", "branch_accounts/1", "branch_accounts/2", "everyone", "holding/active/0", "money"]
    primed("active", "branch_accounts/1", "everyone", "holding/active/0", "money")
    cache.get("active")
    with CaptureQueriesContext(connection) as asked:
        found = cache.get_many([*keys, "active"])
    assert len(asked) == 1
    assert list(found) == keys
    assert found == {key: counted(key) for key in keys}
    with CaptureQueriesContext(connection) as asked:
        facets = cache.get("active")["facets"]
    assert len(asked) == 1
    assert sum(facets["plan"].values()) == sum(facets["vip"].values()) == 200


@committed
def test_the_first_read_has_a_small_family_counted_for_good(cache: Cache) -> None:
    Account.objects.create(state="active")
    assert cache.get("active")["value"] == 1
    assert cache.is_set("active")
    assert sql("SELECT count(*) FROM kck_level") != [(0,)]


@committed
def test_a_stock_that_was_never_counted_answers_all_the_same(cache: Cache) -> None:
    Account.objects.create(state="active")
    assert cache.get_many(["active", "everyone"])["active"]["value"] == 1
    assert cache.get("active", prime_on_cache_miss=False, default="none") in (
        "none",
        {"value": 1, "facets": counted("active")["facets"]},
    )
    at_rest()
    primed("active")
    sql("UPDATE kck_generation SET primed_at = NULL")
    with pytest.raises(NotPrimed, match="kck refresh active"):
        cache.get("active", prime_on_cache_miss=False)
    assert cache.get_entry("active", "none", prime_on_cache_miss=False).state == "empty"


@committed
def test_facet_values_have_their_types_and_null_false_zero_and_empty_are_values_row_106(cache: Cache) -> None:
    class Kinds(Stock):
        key_base = "kinds"
        model = Account
        facets = [
            Facet("points"), Facet("balance"), Facet("born_on"), Facet("joined_at"), Facet("branch"), Facet("vip"),
            Facet("month", "born_on__month"), Facet("day", "joined_at__date"),
        ]  # fmt: skip

    branch = Branch.objects.create(name="x")
    at = datetime(2026, 1, 31, 10, 0, 0, 5, tzinfo=UTC)
    with registered(Kinds):
        triggers.install("default")
        primed("kinds")
        Account.objects.create(
            points=0, balance="1.50", born_on="2000-02-29", joined_at=at, branch=branch, vip=False
        )
        Account.objects.create(points=0, balance="1.5")
        found = cache.get("kinds")
        assert found["facets"] == {
            "points": {0: 2},
            "balance": {Decimal("1.5"): 2},
            "born_on": {datetime(2000, 2, 29, tzinfo=UTC).date(): 1, None: 1},
            "joined_at": {at: 1, None: 1},
            "branch": {branch.pk: 1, None: 1},
            "vip": {False: 2},
            "month": {2: 1, None: 1},
            "day": {at.date(): 1, None: 1},
        }
        equal("kinds")
        fold()
        equal("kinds")
        assert cache.members("kinds", born_on=None).count() == 1
    triggers.install("default")


@committed
def test_given_facet_values_limit_order_and_show_zeros_row_104(cache: Cache) -> None:
    primed("money")
    Account.objects.create(state="trial", balance="-2.25")
    Account.objects.create(state="odd", balance="1")
    facets = cache.get("money")["facets"]["state"]
    assert list(facets.items()) == [("active", 0), ("trial", Decimal("-2.25")), ("never", 0)]
    assert cache.get("money")["value"] == Decimal("-1.25")
    # A new value of a facet whose values are found appears without a deploy.
    primed("active")
    Account.objects.create(state="active", plan="brand new")
    assert cache.get("active")["facets"]["plan"] == {"brand new": 1}


@committed
def test_a_measure_may_be_a_sum_a_count_of_a_column_or_what_is_only_recounted_row_108(cache: Cache) -> None:
    class Named(Stock):
        key_base, model, measure = "named", Account, Count("plan")
        facets = [Facet("state")]

    class Mean(Stock):
        key_base, model, measure, capture = "mean", Account, Avg("points"), None
        facets = [Facet("state")]

    class Plans(Stock):
        key_base, model, measure, capture = "plans", Account, Count("plan", distinct=True), None

    class Earned(Stock):
        key_base, model, measure = "earned", Account, Sum(F("balance") * 2, filter=Q(vip=True))

    with registered(Named, Mean, Plans, Earned):
        triggers.install("default")
        primed("named", "earned")
        Account.objects.bulk_create(
            [
                Account(plan=plan, points=n, balance=n, vip=n > 1)
                for n, plan in enumerate(["a", "a", None, "b"])
            ]
        )
        assert cache.get("named") == {"value": 3, "facets": {"state": {"trial": 3}}}
        assert cache.get("earned")["value"] == 2 * (2 + 3)
        assert why_not(measure=Sum(F("points") * 2)) != ""  # an int that overflows would fail the write
        assert why_not(members=Q(note=Cast("points", models.TextField()))) != ""
        equal("named", "earned")
        assert cache.get("mean")["value"] == Decimal("1.5")
        assert cache.get("plans")["value"] == 2
        Account.objects.filter(plan="a").update(plan=None)
        equal("named", "earned")
        assert cache.get("named")["value"] == 1
    triggers.install("default")


@committed
def test_members_are_walked_by_key_while_some_leave_row_112(cache: Cache) -> None:
    Account.objects.bulk_create([Account(state="active", plan="pro" if n % 2 else None) for n in range(40)])
    wanted = list(Account.objects.filter(plan="pro").order_by("pk").values_list("pk", flat=True))
    seen: list[int] = []
    while page := list(cache.members("active", plan="pro").filter(pk__gt=seen[-1] if seen else 0)[:7]):
        seen += [one.pk for one in page]
        # Those that were seen leave, and one that was not, too.
        Account.objects.filter(pk__in=seen[-3:]).update(state="closed")
    assert seen == wanted
    assert {one.plan for one in cache.members("active", plan=None)} == {None}
    with pytest.raises(ValueError, match=r"has no facet 'colour'\. Its facets are: plan, vip"):
        cache.members("active", colour="red")
    with pytest.raises(ValueError, match="is no stock"):
        cache.members("book_count")


@committed
def test_a_stock_cannot_be_set_and_is_counted_anew_when_told_so(cache: Cache) -> None:
    primed("active")
    for change in (lambda: cache.set("active", 5), lambda: cache.patch("active", "value", 5)):
        with pytest.raises(UnstorableValue, match="cannot be set: change the rows"):
            change()
    assert cache.invalidate("active") == 1
    assert cache.explain("active")["state"] == "empty"
    assert "counts" in cache.explain("active")["cause"]
    assert cache.get("active")["value"] == 0
    at_rest()
    primed("active")
    told = cache.explain("active")
    assert (told["state"], told["counted"]["table"]) == ("fresh", '"accounts_account"')
    assert told["last_run"]["outcome"] == "done"
    # A drift that no trigger saw (a superuser's doing) is mended by a refresh.
    Account.objects.create(state="active")
    fold()
    sql("UPDATE kck_level SET n = n + 3 WHERE facet = 0")
    assert cache.get("active")["value"] == 4
    cache.refresh("active")
    assert cache.get("active")["value"] == 1


@committed
def test_books_are_compared_with_the_rows_and_what_differs_is_named_row_110(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*stocks: str) -> tuple[int, str]:
        try:
            call_command("kck", "check", "--balance", *stocks)
        except SystemExit as ended:
            return int(str(ended.code)), capsys.readouterr().out
        return 0, capsys.readouterr().out

    Branch.objects.create(pk=7, name="x")
    Account.objects.bulk_create(
        [Account(state="active", plan="pro", balance="1.50", branch_id=7) for _ in range(5)]
    )
    primed("active", "everyone", "branch_accounts/7", "money")
    Account.objects.create(state="active", plan="free", branch_id=7)  # waits to be folded
    code, said = check("active", "everyone", "branch_accounts", "money", "abroad", "trial")
    assert code == 0, said
    assert "✓ active: what it holds is what its rows say" in said
    assert "! abroad: not captured: capture is None" in said
    assert "! trial: never counted" in said
    assert "6 stocks compared: 4 equal, 0 not, 2 skipped." in said
    # A write that nobody saw: the read notices that the triggers were off, and so does the check.
    sql("ALTER TABLE accounts_account DISABLE TRIGGER kck_capture_update")
    Account.objects.filter(plan="free").update(plan="gone", balance=2)
    code, said = check("active")
    assert code == 1
    assert "✗ active: not captured in this database, or not whole" in said
    sql("ALTER TABLE accounts_account ENABLE ALWAYS TRIGGER kck_capture_update")
    # Even if the capture looked as before: the numbers do not.
    for generation, *_ in generations.in_force(caller("default")):
        captured = generations.captured_by(caller("default"), '"accounts_account"', generation)
        sql("UPDATE kck_generation SET captured = %s WHERE generation = %s", captured, generation)
    code, said = check()
    assert code == 1
    assert "✗ active of plan 'free': holds 1, its rows say 0" in said
    assert "✗ active of plan 'gone': holds 0, its rows say 1" in said
    assert "✗ branch_accounts/7 of plan 'free': holds 1, its rows say 0" in said
    assert "✗ money: holds 7.50, its rows say 9.50" in said
    assert "→ manage.py kck refresh active counts anew" in said
    call_command("kck", "refresh", "active", "branch_accounts/7", "money")
    assert check("active", "branch_accounts", "money")[0] == 0
    with pytest.raises(CommandError, match="'departing' is no stock"):
        call_command("kck", "check", "--balance", "departing")


@committed
def test_a_worker_folds_and_counts_what_was_queued(cache: Cache) -> None:
    primed("active")
    Account.objects.bulk_create([Account(state="active") for _ in range(5)])
    assert sql("SELECT count(*) FROM kck_delta WHERE kind = 'add'")[0][0] > 0
    sql("UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'everyone'")
    cache.request_refresh("everyone")
    with count_computes() as computes:
        ran = run_worker()
    assert ran.keys == ["everyone"]
    assert computes.total == 0
    left = sql(
        "SELECT g.key_base, g.token, g.primed_at, d.kind, d.n FROM kck_delta d JOIN kck_generation g USING (generation)"
    )
    assert left == []
    assert sql(
        "SELECT count(*) FROM kck_generation WHERE key_base = 'everyone' AND primed_at IS NOT NULL"
    ) == [(1,)]
    equal("active", "everyone")


@committed
def test_what_is_listed_and_checked_on_the_command_line_row_135(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    primed("active")
    Account.objects.create(state="active")
    out = StringIO()
    call_command("kck", "stocks", "--format", "json", stdout=out)
    rows = {row["stock"]: row for row in json.loads(out.getvalue() or capsys.readouterr().out)}
    assert rows["active"]["value"] == 1
    assert rows["active"]["captured"] is True
    assert rows["abroad"]["captured"] is False
    assert "capture is None" in rows["abroad"]["why_not"]
    assert triggers.missing("default") == []
    for change in (
        "ALTER TABLE accounts_account DISABLE TRIGGER kck_capture_update",
        "DROP TRIGGER kck_capture_delete ON accounts_account",
        "UPDATE kck_generation SET live = false WHERE key_base = 'active'",
    ):
        sql(change)
        assert triggers.missing("default") == ['"accounts_account"'], change
        with pytest.raises(SystemExit) as ended:
            call_command("kck", "check", "--setup")
        assert ended.value.code == 1
        assert "accounts_account" in capsys.readouterr().out
        triggers.install("default")
        assert triggers.missing("default") == []
    assert triggers.install("default") == []


# -- definitions
# ---------------------------------------------------------------------------------------------------------


def why_not(**attributes: Any) -> str:
    stock = type("Tried", (Stock,), {"key_base": "tried", "model": Account, **attributes})()
    try:
        definition(stock, "default")
    except NotCaptured as error:
        return str(error)
    return ""


@pytest.mark.django_db
def test_what_is_no_expression_of_the_row_alone_says_why() -> None:
    assert why_not(members=Q(branch__name="x")) == "members reaches into another table"
    assert "other rows" in why_not(members=Q(Exists(Branch.objects.filter(pk=OuterRef("branch")))))
    assert "other rows" in why_not(members=Q(branch__in=Branch.objects.filter(name="x")))
    assert why_not(members=~Q(joined_at__lt=Now())).startswith("Now changes without a write")
    assert "into another table" in why_not(facets=[Facet("country", "branch__country")])
    assert "distinct sum" in why_not(measure=Sum("points", distinct=True))
    assert "StdDev" in why_not(measure=StdDev("points"))
    assert "slice" in why_not(model=None, queryset=Account.objects.all()[:5])
    assert "distinct" in why_not(model=None, queryset=Account.objects.distinct())
    assert "combination" in why_not(model=None, queryset=Account.objects.all().union(Account.objects.all()))
    assert "joined" in why_not(model=None, queryset=Account.objects.filter(branch__name="x"))


@committed
def test_a_queryset_of_the_row_alone_is_captured_exclude_and_all_row_101(cache: Cache) -> None:
    class Rest(Stock):
        key_base = "rest"
        queryset = (
            Account.objects.filter(points__gte=1).exclude(plan="pro").exclude(state__in=["closed", "trial"])
        )
        facets = [Facet("plan")]

    class Spelt(Stock):
        key_base, model = "spelt", Account
        members = (
            Q(note__startswith="50%_")
            | Q(note__contains="it's \\ odd")
            | Q(balance__range=(Decimal("-1.5"), 7))
        )

    with registered(Rest, Spelt):
        assert definition(Rest(), "default").member
        triggers.install("default")
        primed("rest", "spelt")
        for plan in ("pro", None, "free"):
            for state in ("active", "closed"):
                for points in (0, 1):
                    Account.objects.create(plan=plan, state=state, points=points, balance=100)
        assert cache.get("rest")["value"] == 2
        for note in ("50%_off", "50x off", "so it's \\ odd", "its odd"):
            Account.objects.create(note=note, balance=100)
        assert cache.get("spelt")["value"] == 2
        equal("rest", "spelt")
    triggers.install("default")


@committed
def test_30_a_changed_definition_stands_beside_the_old_one_while_old_processes_read(cache: Cache) -> None:
    class Old(Stock):
        key_base, model, members = "changing", Account, Q(points__gt=0)

    class New(Stock):
        key_base, model, members = "changing", Account, Q(points__gt=5)

    with registered(Old):
        triggers.install("default")
        primed("changing")
        Account.objects.create(points=3)
        old = reading.definition_of(Cache.get_instance().primer("changing"), "default")  # type: ignore[arg-type]
        assert old is not None
    with registered(New):
        reading.forget()
        triggers.install("default")
        primed("changing")
        Account.objects.create(points=3)
        Account.objects.create(points=9)
        assert cache.get("changing")["value"] == 1
    with registered(Old):
        reading.forget()
        assert cache.get("changing")["value"] == 3  # a process with yesterday's code reads its own
        equal("changing")
    reading.forget()
    triggers.install("default")
    assert sql("SELECT count(*) FROM kck_generation WHERE key_base = 'changing' AND live") == [(0,)]


def test_wrong_stocks_are_told_by_the_checks(db: None) -> None:
    class Wrong(Stock):
        key_base, model = "wrong", Account
        members = Q(colour="red")
        facets = [Facet("shade"), Facet("plan"), Facet("plan", "state")]
        parameters = [IntegerParameter("shop")]
        measure = Sum("weight")

    class Both(Stock):
        key_base, model, queryset = "both", Account, Account.objects.all()

    class Lost(Stock):
        key_base, model = "lost", "accounts.Missing"

    class Joined(Stock):
        key_base, model, members = "joined", Account, Q(branch__name="x")

    with registered(Wrong, Both, Lost, Joined):
        told = {(found.id, found.obj.rpartition(".")[2]): [] for found in run_checks(tags=["kck"])}
        for found in run_checks(tags=["kck"]):
            told[found.id, found.obj.rpartition(".")[2]].append(f"{found.msg} {found.hint}")
    wrong = "\n".join(told["kck_flow.E010", "Wrong"])
    for what in (
        "has no 'shade'",
        "two facets are named 'plan'",
        "has no column 'shop'",
        "'colour'",
        "'weight'",
        "Its fields are: balance",
    ):
        assert what in wrong, what
    assert "both a model and a queryset" in told["kck_flow.E010", "Both"][0]
    assert "no model 'accounts.Missing'" in told["kck_flow.E010", "Lost"][0]
    assert "because members reaches into another table" in told["kck_flow.W002", "Joined"][0]
    assert "schedule or a soft_expire" in told["kck_flow.W002", "Joined"][0]


@committed
def test_a_column_that_is_dropped_takes_no_write_with_it(cache: Cache) -> None:
    """Yesterday's definition is in force still, and speaks of a column that is not there any more."""

    class Noted(Stock):
        key_base, model, members = "noted", Account, Q(note="x")

    with registered(Noted):
        triggers.install("default")
        primed("noted")
    reading.forget()
    sql("UPDATE kck_generation SET live = true, made_at = clock_timestamp() WHERE key_base = 'noted'")
    sql("ALTER TABLE accounts_account RENAME COLUMN note TO remark")
    try:
        triggers.install("default")
        sql(
            "INSERT INTO accounts_account (state, vip, balance, points, remark) VALUES ('active', false, 1, 0, 'x')"
        )
        assert sql("SELECT live FROM kck_generation WHERE key_base = 'noted'") == [(False,)]
    finally:
        sql("ALTER TABLE accounts_account RENAME COLUMN remark TO note")
        triggers.install("default")
    assert cache.get("active")["value"] == 1
    equal("active", "everyone")


@committed
def test_a_stock_of_a_table_that_is_not_there_yet_is_captured_once_it_is(cache: Cache) -> None:
    with registered(Readings):
        assert triggers.install("default") == []
        assert triggers.missing("default") == ['"Odd readings"']
        sql(f"CREATE TABLE {TABLE} (id bigint GENERATED BY DEFAULT AS IDENTITY, place int, {KIND} text)")
        try:
            assert triggers.install("default") == ['"Odd readings"']
            primed("readings/1")
            Reading.objects.create(place=1)
            equal("readings/1", "readings/2")
        finally:
            sql(f"DROP TABLE {TABLE}")
    triggers.install("default")


# -- odd tables
# ----------------------------------------------------------------------------------------------------------


TABLE = '"Odd readings"'
KIND = '"odd kind"'


class Reading(models.Model):
    """A partitioned table, of a name that has to be quoted."""

    place = models.IntegerField()
    kind = models.TextField(db_column="odd kind", null=True)

    class Meta:
        app_label = "accounts"
        managed = False
        db_table = "Odd readings"


class Readings(Stock):
    key_base, model = "readings", Reading
    parameters = [IntegerParameter("place")]
    facets = [Facet("kind")]


@pytest.fixture
def partitioned(transactional_db: None) -> Iterator[None]:
    sql(
        "CREATE EXTENSION IF NOT EXISTS citext;"
        f"CREATE TABLE {TABLE} (id bigint GENERATED BY DEFAULT AS IDENTITY, place int, {KIND} citext) "
        "PARTITION BY RANGE (place);"
        f"CREATE TABLE near PARTITION OF {TABLE} FOR VALUES FROM (0) TO (10);"
        f"CREATE TABLE far PARTITION OF {TABLE} FOR VALUES FROM (10) TO (20);"
    )
    with registered(Readings):
        triggers.install("default")
        primed("readings/1")
        yield
    sql(f"DROP TABLE {TABLE}; DROP TABLE IF EXISTS far; DROP EXTENSION citext")
    triggers.install("default")


def test_12_and_10_a_partitioned_table_its_leaves_and_a_type_that_knows_no_case(
    partitioned: None, cache: Cache
) -> None:
    Reading.objects.bulk_create(
        [Reading(place=1, kind="A"), Reading(place=1, kind="a"), Reading(place=11, kind="b")]
    )
    sql(f"INSERT INTO near (place, {KIND}) VALUES (1, %s), (2, NULL)", "c")
    assert cache.get("readings/1") == {"value": 3, "facets": {"kind": {"A": 1, "a": 1, "c": 1}}}
    Reading.objects.filter(place=1, kind="c").update(place=12)  # from one partition to another
    sql(f"UPDATE near SET {KIND} = upper({KIND}) WHERE place = 1")  # nothing new, thinks the type
    assert cache.get("readings/1") == {"value": 2, "facets": {"kind": {"A": 2}}}
    equal(*(f"readings/{place}" for place in (1, 2, 11, 12)))
    fold()
    equal(*(f"readings/{place}" for place in (1, 2, 11, 12)))
    sql("DELETE FROM far")
    equal("readings/11", "readings/12")


def test_13_a_partition_that_is_detached_makes_a_miss(partitioned: None, cache: Cache) -> None:
    Reading.objects.bulk_create([Reading(place=11), Reading(place=1)])
    assert cache.get("readings/11")["value"] == 1
    sql(f"ALTER TABLE {TABLE} DETACH PARTITION far")
    reading._captured.clear()  # as a second later
    assert cache.get("readings/11")["value"] == 0
    assert cache.get("readings/1")["value"] == 1
    at_rest()


def test_a_stock_of_a_model_with_a_parent_table_counts_its_own_rows(
    transactional_db: None, cache: Cache
) -> None:
    from tests.shop.models import Customer, OpenOrder, Parcel

    class Parcels(Stock):
        key_base, model, members = "parcels", Parcel, Q(weight__gt=5)
        capture = "triggers"

    class Orders(Stock):
        key_base, model = "orders_of", OpenOrder
        parameters = [ModelParameter("customer", Customer)]
        facets = [Facet("state")]

    class Costly(Stock):
        key_base, model, members, capture = "costly", Parcel, Q(cents__gt=5), None

    with registered(Parcels, Orders, Costly):
        triggers.install("default")
        customer = Customer.objects.create(name="x")
        primed("parcels", f"orders_of/{customer.pk}")
        Parcel.objects.create(customer=customer, weight=9, cents=10)
        Parcel.objects.create(customer=customer, weight=1)
        assert cache.get("parcels")["value"] == 1
        assert cache.get(f"orders_of/{customer.pk}")["value"] == 2
        assert cache.get("costly")["value"] == 1
        key = f"orders_of/{customer.pk}"
        customer.delete()
        assert cache.get("parcels")["value"] == 0
        equal("parcels", key)
    triggers.install("default")
