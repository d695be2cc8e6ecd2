"""Events of flows in a model of the project's own. Rows 118 to 122, 126 to 128, 133."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connection, models, transaction
from django.db.migrations import Migration
from django.db.migrations.operations import RenameField
from django.db.migrations.state import ModelState
from django.db.models import F, Q
from django.test import override_settings
from django.test.utils import isolate_apps

from kck_flow import Cache, Facet, Flow, ModelParameter, Stock, recorded
from kck_flow.changes import triggers
from kck_flow.definition import event_mistakes
from kck_flow.management.verbs import pruning
from kck_flow.models import Event, FlowEvent, Generation, Refresh
from kck_flow.refresh import calls
from kck_flow.store import events as store
from kck_flow.store import refreshes
from kck_flow.store.session import caller
from kck_flow.testing import registered, run_worker
from tests.accounts.models import Account, AccountEvent, Branch, ForgetfulEvent, Kettle, OrderEvent, Probe
from tests.counting.conftest import Session, rolled_back, sql
from tests.harness.wait import until
from tests.shop.models import Customer, Order, Parcel, ShippingEvent

committed = pytest.mark.django_db(transaction=True)
CALLED: list[Any] = []


class First(Stock):
    key_base, model, members = "ty_first", Account, Q(state="a")


class Second(Stock):
    key_base, model, members = "ty_second", Account, Q(state="b")


class Moving(Flow):
    """Accounts that come, move and go."""

    key_base = "ty_moving"
    sources, sinks = [None, First, Second], [First, Second, None]
    facets = [
        Facet("plan"),
        Facet("vip"),
        Facet("balance"),
        Facet("branch"),
        Facet("day", "joined_at__date"),
        Facet("score", "points"),
        Facet("plan") * Facet("vip"),
    ]
    record_events = AccountEvent


class Telling(Flow):
    """Accounts that become the second, told to somebody."""

    key_base = "ty_telling"
    sources, sinks = [First], [Second]
    backoff = backoff_cap = timedelta(0)
    retries = 2
    record_events: Any = AccountEvent


class Waiting(Stock):
    key_base, model, members = "ty_waiting", Order, Q(state="open")


class Gone(Stock):
    key_base, model, members = "ty_gone", Order, Q(state="sent")


class Shipping(Flow):
    key_base, sources, sinks = "ty_shipping", [Waiting], [Gone]
    facets = [Facet("customer")]
    record_events: Any = "accounts.OrderEvent"


@contextmanager
def declared(*primers: type[Flow] | type[Stock]) -> Iterator[None]:
    """Have flows captured for the length of a block."""
    with registered(First, Second, Waiting, Gone, *primers):
        triggers.install("default")
        yield
    triggers.install("default")


@pytest.fixture
def telling() -> Iterator[type[Telling]]:
    """Return a flow whose callables a test gives."""
    CALLED.clear()
    yield Telling
    Telling.event_callables, Telling.record_events = (), AccountEvent


@contextmanager
def altered(there: str, back: str) -> Iterator[None]:
    """Have a table of events otherwise for the length of a block."""
    sql(there)
    try:
        yield
    finally:
        sql(back)


def ends(kept: type[FlowEvent] = AccountEvent, **more: Any) -> list[tuple[str | None, str | None]]:
    found: Any = kept
    return list(found.objects.filter(**more).order_by("id").values_list("source", "sink"))


def drained() -> list[str]:
    """Do what a worker would, until nothing is due; returns what failed."""
    return run_worker(["ty_telling"]).failed


def told(*primers: type[Flow] | type[Stock], check: str = "kck_flow.E012") -> dict[str, str]:
    """Return what a check says of each class, by its name."""
    with registered(First, Second, Waiting, Gone, *primers):
        found = [one for one in run_checks(tags=["kck"]) if one.id == check]
    return {str(one.obj).rpartition(".")[2]: f"{one.msg} {one.hint}" for one in found}


# -- what is kept
# ----------------------------------------------------------------------------------------------------


@committed
def test_each_transition_is_a_row_of_the_model_once_and_stays_when_its_subject_goes_rows_121_126_127() -> (
    None
):
    with declared(Moving):
        begun = datetime.now(UTC)
        with transaction.atomic():
            one = Account.objects.create(state="a", plan="x")
            now, xact = sql("SELECT transaction_timestamp(), pg_current_xact_id()::text::bigint")[0]
        for _ in range(3):
            one.save()  # nothing moves
        Account.objects.update(state="b", plan="y")
        other = Account.objects.create(state="a")
        assert list(one.events.order_by("id").values_list("source", "sink", "plan")) == [
            (None, "ty_first", "x"),
            ("ty_first", "ty_second", "y"),
        ]
        assert one.events.filter(at__gte=begun).count() == 2
        assert one.events.filter(at__gte=datetime.now(UTC) + timedelta(hours=1)).count() == 0
        first = AccountEvent.objects.select_related("subject").filter(key_base="ty_moving").earliest("id")
        assert (first.at, first.xact, first.args, first.callback_state) == (now, xact, {}, "")
        assert first.generation == Generation.objects.get(key_base="ty_moving", live=True).generation
        assert (first.subject, first.facets["plan"]) == (one, "x")
        assert str(first) == "ty_moving: outside to ty_first"

        key = one.pk
        one.delete()
        sql("DELETE FROM accounts_account WHERE id = %s", other.pk)
        assert ends(subject_id=key) == [(None, "ty_first"), ("ty_first", "ty_second"), ("ty_second", None)]
        assert ends(subject_id=other.pk) == [(None, "ty_first"), ("ty_first", None)]
        assert AccountEvent.objects.filter(subject__isnull=False).count() == 5
        assert [event.subject for event in AccountEvent.objects.select_related("subject")] == [None] * 5
        of_one = AccountEvent.objects.filter(subject=key).prefetch_related("subject")
        assert [event.subject for event in of_one] == [None] * 3
        assert Cache.get_instance().get("ty_moving")["value"] == 5
        assert not Event.objects.exists()


@committed
def test_facets_fill_the_columns_that_are_named_like_them_as_they_were() -> None:
    long = "é" * 700  # more than an index takes: as facets have it
    with declared(Moving):
        branch = Branch.objects.create(name="one")
        joined = datetime(2025, 5, 1, 23, 30, tzinfo=UTC)
        Account.objects.create(
            state="a",
            plan=long,
            vip=True,
            balance=Decimal("12.50"),
            branch=branch,
            joined_at=joined,
            points=7,
        )
        Account.objects.update(state="b", plan=None, vip=False, balance=-1, branch=None)
        Account.objects.all().delete()
        came, moved, went = AccountEvent.objects.order_by("id")
        assert (came.vip, came.balance, came.branch, came.day) == (
            True,
            Decimal("12.50"),
            branch,
            date(2025, 5, 1),
        )
        assert came.plan == came.facets["plan"]
        assert came.plan.startswith("é" * 100 + "#")
        assert came.score == came.facets["score"] == 7
        for event in (moved, went):  # as it came into the sink; as it left
            assert (event.plan, event.vip, event.balance, event.branch_id) == (None, False, Decimal(-1), None)
            assert (event.day, event.score, event.note) == (date(2025, 5, 1), 7, None)


@committed
def test_whoever_writes_and_what_is_rolled_back_is_kept_by_nobody_row_120(cache: Cache) -> None:
    with declared(Moving):
        branch = Branch.objects.create(name="one")
        Account.objects.bulk_create([Account(state="a", branch=branch) for _ in range(20)])
        sql("UPDATE accounts_account SET state = 'b' WHERE id % 2 = 0")
        with rolled_back():
            Account.objects.update(state="c")
        sql("INSERT INTO accounts_account (state, vip, balance, points, note) "
            "SELECT 'b', false, 0, 0, '' FROM generate_series(1, 3)")  # fmt: skip
        Branch.objects.all().delete()  # its accounts with it
        found = ends()
        assert {pair: found.count(pair) for pair in set(found)} == {
            (None, "ty_first"): 20, ("ty_first", "ty_second"): 10, (None, "ty_second"): 3,
            ("ty_first", None): 10, ("ty_second", None): 10,
        }  # fmt: skip
        assert cache.get("ty_moving")["value"] == len(found)
        sql("TRUNCATE accounts_account CASCADE")
        assert AccountEvent.objects.count() == len(found)


@committed
def test_two_sessions_that_move_one_row_are_a_chain_row_122(sessions: Callable[[], Session]) -> None:
    with declared(Moving):
        one = Account.objects.create(state="a")
        first, second = sessions(), sessions()
        second.sql("BEGIN")
        second.sql("SELECT pg_current_xact_id()")  # began before the other, and writes after it
        first.sql("BEGIN")
        first.sql("UPDATE accounts_account SET state = 'b'")
        second.tell(lambda: sql("UPDATE accounts_account SET state = 'a'"))
        first.sql("COMMIT")
        second.answer()
        second.sql("COMMIT")
        assert list(one.events.order_by("id").values_list("source", "sink")) == [
            (None, "ty_first"),
            ("ty_first", "ty_second"),
            ("ty_second", "ty_first"),
        ]


@committed
def test_flows_of_one_model_share_a_model_of_events_beside_one_that_shares_the_table(cache: Cache) -> None:
    class Leaving(Flow):
        key_base, sources, sinks, record_events = "ty_leaving", [First, Second], [None], AccountEvent
        parameters = [ModelParameter("branch", Branch, field="branch_id")]

    class Coming(Flow):
        key_base, sources, sinks, record_events = "ty_coming", [None], [First], True

    with declared(Moving, Leaving, Coming):
        branches = [Branch.objects.create(name=name) for name in "xy"]
        one = Account.objects.create(state="a", branch=branches[0])
        Account.objects.update(branch=branches[1])  # from one key to the other
        one.delete()
        assert ends(key_base="ty_moving") == [(None, "ty_first"), ("ty_first", None)]
        assert list(
            AccountEvent.objects.filter(key_base="ty_leaving")
            .order_by("id")
            .values_list("args", "branch_id", "sink")
        ) == [({"branch": branch.pk}, branch.pk, None) for branch in branches]
        subject = str(AccountEvent.objects.earliest("id").subject_id)
        assert list(Event.objects.values_list("key_base", "subject_id")) == [("ty_coming", subject)]
        assert cache.get(f"ty_leaving/{branches[0].pk}")["value"] == 1


@committed
def test_odd_names_and_events_that_forget_their_subject(telling: type[Telling]) -> None:
    class Odd(Flow):
        key_base, sources, sinks, record_events = "ty_odd", [None, First], [First, None], ForgetfulEvent

    telling.event_callables = [lambda account, source, sink: CALLED.append((account, source, sink))]
    telling.record_events = ForgetfulEvent
    with declared(Odd, telling):
        one = Account.objects.create(state="a")
        Account.objects.update(state="b")
        key = one.pk
        one.delete()
        # Django forgets what there was; what the deletion itself makes an event of comes after that.
        assert set(ForgetfulEvent.objects.values_list("key_base", "subject_id")) == {
            ("ty_odd", None),
            ("ty_telling", None),
        }
        assert drained() == []
        assert CALLED == [(None, "ty_first", "ty_second")]
        sql(
            "INSERT INTO accounts_account (id, state, vip, balance, points, note) VALUES (%s, 'a', false, 0, 0, '')",
            key,
        )
        sql("DELETE FROM accounts_account")
        assert list(ForgetfulEvent.objects.order_by("-id").values_list("subject_id", flat=True)[:2]) == [
            key,
            key,
        ]


@committed
def test_another_schema() -> None:
    with isolate_apps("tests.accounts"):

        class Elsewhere(FlowEvent):
            subject = models.ForeignKey(Account, models.DO_NOTHING, db_constraint=False, related_name="+")

            class Meta:
                app_label = "accounts"
                db_table = '"Odd schema"."kept events"'

        class Leaving(Flow):
            key_base, sources, sinks, record_events = "ty_elsewhere", [First], [None], Elsewhere

        sql('CREATE SCHEMA "Odd schema"')
        try:
            with connection.schema_editor() as editor:
                editor.create_model(Elsewhere)
            with declared(Leaving):
                one = Account.objects.create(state="a")
                sql("DELETE FROM accounts_account")
                assert list(Elsewhere.objects.values_list("subject_id", "sink")) == [(one.pk, None)]
        finally:
            sql('DROP SCHEMA "Odd schema" CASCADE')


@committed
@isolate_apps("tests.accounts")
def test_columns_of_every_kind_and_keys_that_are_no_numbers() -> None:
    class Everything(FlowEvent):
        subject = models.ForeignKey(Probe, models.DO_NOTHING, db_constraint=False, related_name="+")
        degrees = models.PositiveIntegerField(null=True)  # of another name than a facet
        warmth = models.BigIntegerField()
        name = models.UUIDField()

        class Meta:
            app_label = "accounts"

    class Kinds(FlowEvent):
        subject = models.ForeignKey(Account, models.DO_NOTHING, db_constraint=False, related_name="+")
        state = models.CharField(max_length=20)
        points = models.BigIntegerField()
        joined_at = models.DateTimeField(null=True)
        born_on = models.DateField(null=True)
        balance = models.DecimalField(max_digits=20, decimal_places=4)
        plan = models.CharField(null=True)  # as long as you like
        vip = models.BooleanField()

        class Meta:
            app_label = "accounts"

    class Hot(Stock):
        key_base, model, members = "ty_hot", Probe, Q(degrees__gt=50)

    class Heating(Flow):
        key_base, sources, sinks, record_events = "ty_heating", [None], [Hot], Everything
        facets = [Facet("warmth", "degrees"), Facet("name", "id")]

    class Sorts(Flow):
        key_base, sources, sinks, record_events = "ty_sorts", [None, First], [First, None], Kinds
        facets = [
            Facet(name) for name in ("state", "points", "joined_at", "born_on", "balance", "plan", "vip")
        ]

    with connection.schema_editor() as editor:
        editor.create_model(Everything)
        editor.create_model(Kinds)
    try:
        with declared(Hot, Heating, Sorts):
            assert triggers.unkept("default") == []
            probe = Probe.objects.create(degrees=90)
            event = Everything.objects.get()
            assert (event.subject_id, event.warmth, event.name, event.degrees) == (
                probe.pk,
                90,
                probe.pk,
                None,
            )
            then = datetime(2025, 5, 1, 12, 30, 0, 7, tzinfo=UTC)
            given: dict[str, Any] = {
                "state": "a", "points": -5, "joined_at": then, "born_on": date(1990, 2, 3),
                "balance": Decimal("-12.30"), "plan": "p%s'\\", "vip": True,
            }  # fmt: skip
            Account.objects.create(**given)
            assert Kinds.objects.values(*given).get() == given
            sql(
                "UPDATE accounts_account SET joined_at = 'infinity', born_on = '-infinity', balance = 'NaN', plan = ''"
            )
            sql("DELETE FROM accounts_account")
            assert Kinds.objects.filter(sink=None, plan="").count() == 1
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Everything)
            editor.delete_model(Kinds)


@committed
def test_a_parent_of_the_model_may_be_the_subject_in_another_app() -> None:
    class Heavy(Stock):
        key_base, model, members = "ty_heavy", Parcel, Q(weight__gt=10)

    class Growing(Flow):
        key_base, sources, sinks, record_events = "ty_growing", [None], [Heavy], OrderEvent

    with declared(Heavy, Growing, Shipping):
        customer = Customer.objects.create(name="Dora")
        parcel = Parcel.objects.create(customer=customer, weight=20)
        Order.objects.update(state="sent")
        moves = Order.objects.get().moves.order_by("id").values_list("key_base", "subject_id", "customer_id")
        assert list(moves) == [("ty_growing", parcel.pk, None), ("ty_shipping", parcel.pk, customer.pk)]


@committed
def test_they_are_listed_and_pruned_and_the_series_stays_row_133(
    cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    with declared(Moving):
        Account.objects.bulk_create([Account(state="a") for _ in range(5)])
        AccountEvent.objects.filter(pk__in=AccountEvent.objects.order_by("id")[:3].values("pk")).update(
            at=datetime.now(UTC) - timedelta(days=91)
        )
        now = datetime.now(UTC)
        before = cache.get("ty_moving"), cache.series("ty_moving", now - timedelta(hours=1), now)
        call_command("kck", "flows", "ty_moving", "--events", "--limit", "2", "--format", "json")
        rows = json.loads(capsys.readouterr().out)
        assert {row["model"] for row in rows} == {"accounts.AccountEvent"}
        assert len(rows) == 2
        call_command("kck", "prune", "--events", "90d", "--dry-run", "--format", "json")
        found = {(row["what"], row["product"]): row for row in json.loads(capsys.readouterr().out)}
        assert (found["events", "ty_moving"]["rows"], AccountEvent.objects.count()) == (3, 5)
        call_command("kck", "prune", "--events", "90d", "--product", "ty_moving")
        assert AccountEvent.objects.count() == 2
        assert before == (cache.get("ty_moving"), cache.series("ty_moving", now - timedelta(hours=1), now))
    AccountEvent.objects.update(at=datetime.now(UTC) - timedelta(days=91))
    sum(gone for _, _, gone in pruning.prune("default", older_events=86400))  # of a flow that was taken out
    assert not AccountEvent.objects.exists()


def test_the_model_has_its_indexes_whatever_its_meta_and_migrations_know_them(db: None) -> None:
    for kept in (AccountEvent, ForgetfulEvent, ShippingEvent):
        names = {index.name for index in ModelState.from_model(kept).options["indexes"]}
        table = kept._meta.db_table
        there = dict(sql("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", table))
        assert names <= there.keys()
        assert any("(key_base, id) WHERE" in text and "'due'" in text for text in there.values())
        assert any("(key_base, at)" in text for text in there.values())
    assert "account_event_day" in {index.name for index in AccountEvent._meta.indexes}
    for kept in (AccountEvent, ForgetfulEvent, ShippingEvent):
        assert kept.check() == []


# -- what could refuse an event
# ----------------------------------------------------------------------------------------------------


def _wrong_models() -> dict[str, tuple[type[models.Model], str]]:
    """Return models of events, each wrong in one way, with what is said of it."""
    made: dict[str, tuple[type[models.Model], str]] = {}

    def wrong(name: str, says: str, base: Any = FlowEvent, meta: Any = None, **fields: Any) -> Any:
        subject = models.ForeignKey(Account, models.DO_NOTHING, db_constraint=False, related_name="+")
        given = {"subject": subject, **fields}
        attributes = {key: value for key, value in given.items() if value is not None}
        options = type("Meta", (), {"app_label": "accounts", **(meta or {})})
        made[name] = type(name, (base,), {"__module__": __name__, "Meta": options, **attributes}), says
        return made[name][0]

    def key(to: Any = Account, on_delete: Any = models.DO_NOTHING, **more: Any) -> Any:
        return models.ForeignKey(to, on_delete, **{"db_constraint": False, "related_name": "+", **more})

    wrong(
        "None_",
        "has no field 'subject' Write: subject = models.ForeignKey(\"accounts.Account\"",
        subject=None,
    )
    wrong("Number", "has a subject that is no foreign key", subject=models.IntegerField())
    wrong("Other", "subject refers to accounts.Kettle, and the flow's rows are", subject=key(Kettle))
    wrong("Once", "subject is unique, and a row has many events", subject=models.OneToOneField(
        Account, models.DO_NOTHING, db_constraint=False, related_name="+"))  # fmt: skip
    wrong("Constrained", "subject has a foreign key constraint", subject=key(db_constraint=True))
    wrong("Protecting", "subject has on_delete=PROTECT", subject=key(on_delete=models.PROTECT))
    wrong("Restricting", "subject has on_delete=RESTRICT", subject=key(on_delete=models.RESTRICT))
    wrong("Cascading", "subject has on_delete=CASCADE", subject=key(on_delete=models.CASCADE))
    wrong(
        "Branched", "branch has a foreign key constraint", branch=key(Branch, null=True, db_constraint=True)
    )
    wrong(
        "Astray",
        "branch is a foreign key to accounts.Kettle, and cannot hold all",
        branch=key(Kettle, null=True),
    )
    wrong("Wanting", "note cannot be NULL, and nothing fills it", note=models.TextField())
    wrong("Hollow", "plan cannot be NULL, and its value can", plan=models.TextField())
    wrong(
        "Short",
        "plan is a CharField of 20, and cannot hold all",
        plan=models.CharField(max_length=20, null=True),
    )
    small = models.DecimalField(max_digits=6, decimal_places=2, null=True)
    wrong(
        "Small",
        "balance is a DecimalField of 6 digits, 2 of them decimals, and cannot hold all",
        balance=small,
    )
    wrong("Narrow", "branch is a IntegerField, and cannot hold all", branch=models.IntegerField(null=True))
    wrong("Torn", "score is a TextField, and cannot hold all", score=models.TextField(null=True))
    wrong("Unique", "vip is unique, and events are not", vip=models.BooleanField(null=True, unique=True))
    few = models.UniqueConstraint(fields=["subject"], name="few")
    wrong("Narrowed", "has the constraint 'few'", meta={"constraints": [few]})
    some = models.CheckConstraint(name="some", condition=Q(source=None))
    wrong("Doubted", "has the constraint 'some'", meta={"constraints": [some]})
    wrong("Changed", "has changed the field 'at' of FlowEvent", at=models.DateTimeField(db_column="when"))
    wrong("Lacking", "has changed the field 'facets' of FlowEvent", facets=models.TextField())
    half = models.GeneratedField(
        expression=1 / F("xact"), output_field=models.IntegerField(), db_persist=True
    )
    wrong("Computed", "half is computed by the database", half=half)
    wrong(
        "Nowhere",
        "branch refers to accounts.Nothing, which is no model",
        branch=key("accounts.Nothing", null=True),
    )
    wrong("Lost", "subject refers to accounts.Nothing", subject=key("accounts.Nothing"))
    wrong("Plain", "is no subclass of kck_flow.models.FlowEvent", base=models.Model)
    wrong("Blurred", "which is abstract", meta={"abstract": True})
    child = type(
        "Child",
        (AccountEvent,),
        {"__module__": __name__, "Meta": type("Meta", (), {"app_label": "accounts"})},
    )
    made["Child"] = child, "keeps its events in two tables"
    return made


@isolate_apps("tests.accounts")
def test_what_could_refuse_an_event_is_told_and_what_to_do(db: None) -> None:
    found = _wrong_models()
    with registered(First, Second, Moving):
        for name, (model, says) in found.items():
            flow = type(name, (Flow,), {"key_base": "ty_wrong", "sources": [None], "sinks": [First],
                                        "facets": Moving.facets, "record_events": model})()  # fmt: skip
            said = [f"{what} {hint}" for what, hint in event_mistakes(flow, "default", [First()])]
            assert any(says in one for one in said), (name, said)


@isolate_apps("tests.accounts")
@pytest.mark.django_db
def test_a_flow_whose_model_could_refuse_an_event_counts_on_without() -> None:
    class Protecting(FlowEvent):
        subject = models.ForeignKey(Account, models.PROTECT, related_name="+")

        class Meta:
            app_label = "accounts"

    class Wrong(Flow):
        key_base, sources, sinks, record_events = "ty_wrong", [None], [First], Protecting

    said = told(Wrong)["Wrong"]
    assert "accounts.Protecting: subject has a foreign key constraint" in said
    assert "Until then none of its events is kept. Write db_constraint=False" in said
    with declared(Wrong):
        Account.objects.create(state="a")
        assert Cache.get_instance().get("ty_wrong")["value"] == 1
        sql("SET CONSTRAINTS ALL IMMEDIATE")


def test_names_of_models_and_other_databases_are_told_by_the_checks(db: None) -> None:
    class Nameless(Flow):
        key_base, sources, sinks, record_events = "ty_nameless", [None], [First], "accounts.Nothing"

    class Router:
        def db_for_write(self, model: Any, **_: Any) -> str | None:
            return "elsewhere" if model is AccountEvent else None

    assert told(Moving, Shipping, Telling) == {}
    overlooked = told(Moving, Shipping, Telling, check="kck_flow.W004")
    assert overlooked.keys() == {"Shipping"}
    assert (
        "select_related('subject') leaves those out whose row is gone. Write null=True"
        in overlooked["Shipping"]
    )
    assert "record_events names 'accounts.Nothing', and there is no such model" in told(Nameless)["Nameless"]
    with override_settings(DATABASE_ROUTERS=[Router()]):
        says = told(Moving)["Moving"]
    assert "accounts.AccountEvent lives in the database 'elsewhere', and the flow in 'default'" in says


def test_an_augment_of_its_own_wants_the_shared_table(db: None) -> None:
    class Own(Moving):
        key_base = "ty_own"

        def augment(self, key: Any, value: Any, changes: Any) -> Any:
            return super().augment(key, value, changes)

    says = told(Own, check="kck_flow.E010")["Own"]
    assert (
        "events are all that it is told of. Set record_events = True, for the table that flows share" in says
    )


@committed
def test_before_the_table_is_migrated_writes_go_on_and_are_counted(
    cache: Cache, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(AccountEvent)
    try:
        with declared(Moving):
            assert (
                "events.refused family=ty_moving model=accounts.AccountEvent why='its table is not there"
                in caplog.text
            )
            Account.objects.create(state="a")
            assert cache.get("ty_moving")["value"] == 1
            assert triggers.missing("default") == []
            call_command("kck", "flows", "--events", "--format", "json")
            with pytest.raises(SystemExit):
                call_command("kck", "check", "--setup")
            assert (
                "ty_moving: accounts.AccountEvent keeps no event: its table is not there"
                in capsys.readouterr().out
            )
            with connection.schema_editor() as editor:
                editor.create_model(AccountEvent)
            assert triggers.missing("default") == ['"accounts_account"']
            assert triggers.install("default") == ['"accounts_account"']
            Account.objects.update(state="b")
            assert ends() == [("ty_first", "ty_second")]
            assert (cache.get("ty_moving")["value"], triggers.unkept("default")) == (2, [])
    finally:
        if not sql("SELECT to_regclass('accounts_accountevent')")[0][0]:
            with connection.schema_editor() as editor:
                editor.create_model(AccountEvent)


@committed
@pytest.mark.parametrize(
    ("there", "back", "why"),
    [
        (
            "ALTER COLUMN plan TYPE varchar(3)",
            "ALTER COLUMN plan TYPE text",
            "plan is character varying(3), and text is",
        ),
        (
            "ALTER COLUMN plan SET NOT NULL",
            "ALTER COLUMN plan DROP NOT NULL",
            "plan is NOT NULL, and the value may be",
        ),
        (
            "RENAME COLUMN day TO days",
            "RENAME COLUMN days TO day",
            "has no column day: manage.py makemigrations",
        ),
        ("ADD COLUMN more int NOT NULL", "DROP COLUMN more", "more is NOT NULL, and nothing fills it"),
        (
            "ADD CONSTRAINT real FOREIGN KEY (subject_id) REFERENCES accounts_account DEFERRABLE INITIALLY DEFERRED",
            "DROP CONSTRAINT real",
            "has the constraint real, which could refuse an event",
        ),
        ("ADD CONSTRAINT once UNIQUE (subject_id)", "DROP CONSTRAINT once", "has the constraint once, which"),
    ],
)
def test_a_table_that_is_not_as_declared_refuses_no_write(
    there: str,
    back: str,
    why: str,
    cache: Cache,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alter = "ALTER TABLE accounts_accountevent"
    with altered(f"{alter} {there}", f"{alter} {back}"), declared(Moving):
        assert why in caplog.text
        Account.objects.create(state="a", plan="long").delete()
        assert (cache.get("ty_moving")["value"], AccountEvent.objects.count()) == (2, 0)
        assert why in triggers.unkept("default")[0][2]
        call_command("kck", "flows", "ty_moving", "--events")
        assert why in capsys.readouterr().out
    with declared(Moving):
        Account.objects.create(state="a")
        assert ends() == [(None, "ty_first")]


@committed
@pytest.mark.parametrize("with_ours", [False, True], ids=["alone", "with ours"])
def test_while_its_app_is_migrated_writes_go_on(with_ours: bool, cache: Cache) -> None:
    plan = [(Migration("0002_later", "accounts"), False)]
    if with_ours:
        plan.append((Migration("0099_later", "kck_flow"), False))
    for migration, _ in plan:
        migration.operations = [RenameField("OrderEvent", "customer", "buyer")]
    last = [config for config in apps.get_app_configs() if config.models_module is not None][-1]
    with declared(Shipping):
        customer = Customer.objects.create(name="Dora")
        Order.objects.create(customer=customer)
        triggers._before_migrate(last, "default", plan=plan)
        rename = "ALTER TABLE accounts_orderevent RENAME COLUMN {} TO {}"
        with altered(rename.format("customer_id", "buyer_id"), rename.format("buyer_id", "customer_id")):
            Order.objects.update(state="sent")
        assert cache.get("ty_shipping")["value"] == (0 if with_ours else 1)
        triggers._after_migrate(last, "default")
        Order.objects.update(state="open")
        Order.objects.update(state="sent")
        assert list(OrderEvent.objects.values_list("customer_id", "sink")) == [(customer.pk, "ty_gone")]


# -- callables
# ----------------------------------------------------------------------------------------------------


@committed
def test_callables_are_called_in_order_and_the_event_stays_row_128(telling: type[Telling]) -> None:
    telling.event_callables = [
        lambda account, source, sink: CALLED.append((account and account.note, source, sink))
    ]
    with declared(telling):
        one, two = Account.objects.create(state="a"), Account.objects.create(state="a")
        with rolled_back():
            Account.objects.update(state="b")
        assert (drained(), CALLED) == ([], [])
        Account.objects.filter(pk=one.pk).update(state="b")
        Account.objects.filter(pk=two.pk).update(state="b")
        Account.objects.filter(pk=one.pk).update(note="later")
        two.delete()
        old = pruning.prune("default", "ty_telling", older_events=0)
        assert [(found, gone) for _, found, gone in old] == [(0, 0)]  # what is waited for stays
        assert drained() == []
        assert CALLED == [("later", "ty_first", "ty_second"), (None, "ty_first", "ty_second")]
        assert set(AccountEvent.objects.values_list("callback_state", flat=True)) == {"done"}
        drained()
        assert len(CALLED) == 2


@committed
def test_one_that_fails_is_tried_again_alone_and_parked(telling: type[Telling]) -> None:
    def first(account: Any, source: Any, sink: Any) -> None:
        CALLED.append(("first", account.plan))

    def second(account: Any, source: Any, sink: Any) -> None:
        Account.objects.filter(pk=account.pk).update(note="half done")
        if account.plan == "bad":
            raise ValueError("no such plan")
        CALLED.append(("second", account.plan))

    telling.event_callables = [first, second]
    with declared(telling):
        Account.objects.bulk_create([Account(state="a", plan=plan) for plan in ("bad", "good")])
        Account.objects.update(state="b")
        drained()
        assert sorted(CALLED) == [("first", "bad"), ("first", "good"), ("second", "good")]
        assert Account.objects.get(plan="bad").note == ""
        failed = AccountEvent.objects.get(callback_state="failed")
        slot = Refresh.objects.get(key=f"!events:ty_telling/{failed.pk}/accounts.AccountEvent")
        assert (slot.parked_why, slot.last_error[:24]) == ("failed", "ValueError: no such plan")
        Account.objects.filter(plan="bad").update(plan="mended")
        call_command("kck", "retry", slot.key)
        assert drained() == []
        assert CALLED[-1] == ("second", "mended")
        assert not Refresh.objects.filter(pk=slot.pk).exists()
        assert list(AccountEvent.objects.values_list("callback_state", "called")) == [("done", None)] * 2


@committed
@pytest.mark.parametrize("kept", [True, AccountEvent])
def test_where_the_row_cannot_be_read_the_event_is_tried_again_by_itself(
    telling: type[Telling], kept: Any
) -> None:
    telling.event_callables = [lambda account, source, sink: CALLED.append(account.pk)]
    telling.record_events = kept
    with declared(telling):
        one = Account.objects.create(state="a")
        Account.objects.update(state="b")
        rename = "ALTER TABLE accounts_account RENAME COLUMN {} TO {}"
        with altered(rename.format("note", "notes"), rename.format("notes", "note")):
            assert len(drained()) == 2  # and before that, once in passing
        event: Any = (Event if kept is True else AccountEvent).objects.get()
        assert (event.callback_state, event.called, CALLED) == ("failed", [], [])
        slot = Refresh.objects.get(key__startswith=f"!events:ty_telling/{event.pk}")
        assert slot.parked_why == "failed"
        assert "note" in slot.last_error
        assert Refresh.objects.get(key="!events:ty_telling").attempts == 0  # nobody else waits for it
        call_command("kck", "retry", slot.key)
        assert (drained(), CALLED) == ([], [one.pk])


@committed
@pytest.mark.parametrize(
    ("before", "after"), [(True, AccountEvent), (AccountEvent, True), (AccountEvent, ForgetfulEvent)]
)
def test_what_waits_where_a_flow_kept_its_events_before_is_called_for_first(
    telling: type[Telling], before: Any, after: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(account: Any, source: Any, sink: Any) -> None:
        if account.plan == "bad" and account.note != "mended":
            raise ValueError("no such plan")
        CALLED.append(account.plan)

    telling.event_callables, telling.record_events = [call], before
    with declared(telling):
        Account.objects.create(state="a", plan="bad")
        Account.objects.update(state="b")
        drained()  # parked in a slot of its own
        Account.objects.create(state="a", plan="one")
        Account.objects.update(state="b")
        telling.record_events = after
    with declared(telling):
        Account.objects.create(state="a", plan="two")
        Account.objects.update(state="b")
        assert drained() == []
        assert CALLED == ["one", "two"]
        Account.objects.filter(plan="bad").update(note="mended")
        call_command("kck", "retry", Refresh.objects.get(key__startswith="!events:ty_telling/").key)
        assert (drained(), CALLED) == ([], ["one", "two", "bad"])
        for kept, number in ((before, 2), (after, 1)):
            rows: Any = (Event if kept is True else kept).objects
            assert list(rows.values_list("callback_state", flat=True)) == ["done"] * number
        capsys.readouterr()
        call_command("kck", "flows", "ty_telling", "--events", "--format", "json")
        assert len(json.loads(capsys.readouterr().out)) == 3
        assert [found for _, found, _ in pruning.prune("default", "ty_telling", older_events=0)] == [3]


@committed
def test_a_worker_of_a_release_that_does_not_know_the_model_calls_its_own_functions(
    telling: type[Telling], monkeypatch: pytest.MonkeyPatch
) -> None:
    telling.event_callables = [lambda account, source, sink: CALLED.append(account.pk)]
    with declared(telling):
        one = Account.objects.create(state="a")
        Account.objects.update(state="b")
        telling.record_events = False  # as it was declared then
        monkeypatch.setattr(recorded, "event_models", list)
        assert drained() == []
        assert ([one.pk], ["done"]) == (
            CALLED,
            list(AccountEvent.objects.values_list("callback_state", flat=True)),
        )


# -- two at once
# ----------------------------------------------------------------------------------------------------


class _Held(logging.Handler):
    """Holds whoever logs that callables failed, until it is let on."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.on = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("events.failed") and not self.there.is_set():
            self.there.set()
            assert self.on.wait(20)


def _waits_for_a_lock() -> bool:
    return bool(
        sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR UPDATE%%'")
    )


@committed
@pytest.mark.parametrize("kept", [True, AccountEvent])
def test_an_event_whose_own_slot_is_claimed_before_it_is_set_apart_is_called_for_once_by_each_function(
    telling: type[Telling], kept: Any, sessions: Callable[[], Session]
) -> None:
    """Its slot is committed first. Whoever takes it waits for the event, and calls what is left to call."""

    def fine(account: Any, source: Any, sink: Any) -> None:
        CALLED.append("fine")

    def fails_once(account: Any, source: Any, sink: Any) -> None:
        CALLED.append("fails" if "fails" not in CALLED else "good")
        if CALLED[-1] == "fails":
            raise ValueError("not yet")

    telling.event_callables, telling.record_events = [fine, fails_once], kept
    held = _Held()
    logger = logging.getLogger("kck_flow")
    logger.addHandler(held)
    try:
        with declared(telling):
            Account.objects.create(state="a")
            Account.objects.update(state="b")
            one, other = sessions(), sessions()
            one.tell(drained)
            assert held.there.wait(20)
            assert Refresh.objects.filter(key__startswith="!events:ty_telling/").exists()
            other.tell(drained)
            until(_waits_for_a_lock, "the slot's own worker waits for the event")
            assert CALLED == ["fine", "fails"]
            held.on.set()
            one.answer()
            other.answer()
            drained()
            assert CALLED == ["fine", "fails", "good"]
            events: Any = (Event if kept is True else AccountEvent).objects
            assert list(events.values_list("callback_state", "called")) == [("done", None)]
            assert not Refresh.objects.filter(key__startswith="!events:ty_telling/").exists()
    finally:
        held.on.set()
        logger.removeHandler(held)


@committed
@pytest.mark.parametrize("kept", [True, AccountEvent])
def test_an_event_that_is_in_two_slots_is_called_for_by_whoever_comes_first(
    telling: type[Telling], kept: Any, sessions: Callable[[], Session]
) -> None:
    """As it is where a worker ended after the slot of its own was committed, and before the event was set apart."""
    there, on = threading.Event(), threading.Event()

    def call(account: Any, source: Any, sink: Any) -> None:
        CALLED.append(account.plan)
        there.set()
        assert on.wait(20)

    telling.event_callables, telling.record_events = [call], kept
    try:
        with declared(telling):
            Account.objects.create(state="a", plan="x")
            Account.objects.update(state="b")
            session = caller("default")
            place = next(one for one in store.places(session) if one.model == calls._keeper(telling()))
            (number,) = store.due(session, place, "ty_telling", 10)
            one, other = sessions(), sessions()
            one.tell(drained)
            assert there.wait(20)
            key = store.event_slot("ty_telling", place, number)
            refreshes.request(session, key, {}, lane=refreshes.TRIGGERED, reason="events")
            other.tell(drained)
            until(_waits_for_a_lock, "the slot's own worker waits for the event")
            on.set()
            one.answer()
            other.answer()
            drained()
            assert CALLED == ["x"]
            assert not Refresh.objects.filter(key__startswith="!events:ty_telling/").exists()
    finally:
        on.set()
