"""check: --setup, --stale, --workers, --augment."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from kck_flow import Cache, Change, IntegerParameter, On, Primer
from kck_flow.changes import rows
from kck_flow.entry import Row
from kck_flow.management.verbs.checking import compare, difference, shuffled
from kck_flow.registry import registry
from kck_flow.testing import freeze_time, registered, run_worker
from tests.commands.conftest import kck
from tests.shop.models import Order

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]


@pytest.fixture(autouse=True)
def looked_again() -> Iterator[None]:
    """Triggers that a test puts in place go with its transaction, and so must the belief that they are there."""
    yield
    rows.forget()


def found(said: Any) -> dict[str, dict[str, str]]:
    return {row["what"]: row for row in said.rows}


# -- setup ------------------------------------------------------------------------------------------------------------


def test_setup_lists_what_is_well_and_what_is_worth_knowing() -> None:
    assert "capture: Triggers are missing" in kck("check", "--setup").out
    rows.install("default")  # as migrate would
    said = kck("check", "--setup")
    assert said.code == 0
    assert "✓ tables: All tables are there" in said.out
    assert "! workers: None is running: 2 schedules (bread, sweep) will not be kept" in said.out
    assert "    → manage.py kck worker" in said.out
    assert kck("check").out.splitlines()[0] == said.out.splitlines()[0]
    lines = found(kck("check", "--setup", "--format", "json"))
    assert {row["state"] for row in lines.values()} == {"ok", "warning"}
    assert lines["primers"]["text"].endswith("primers declared")


def test_setup_without_primers_says_where_they_go(monkeypatch) -> None:
    # Undone before the bakery is withdrawn, or it would come back after that.
    rows.install("default")
    with monkeypatch.context() as patched:
        patched.setattr(registry, "primers", {})
        patched.setattr(registry, "classes", [])
        said = kck("check", "--setup")
    assert said.code == 1
    assert "✗ primers: No primers found: put them in <app>/primers.py" in said.out
    assert "kck init shop" in said.out
    assert said.out.count("✗") == 1


def test_setup_names_a_wrong_setting(settings) -> None:
    settings.KCK_FLOW = {"WIAT": 5}
    said = kck("check", "--setup")
    assert said.code == 1
    assert "Did you mean 'WAIT'?" in said.out


def test_setup_shows_wrong_declarations() -> None:
    class Wrong(Primer):
        key_base = "wrong"
        soft_expire = timedelta(days=2)
        hard_expire = timedelta(days=1)

        def compute(self, key):
            return 1

    with registered(Wrong):
        said = kck("check", "--setup")
    assert said.code == 1
    assert "kck_flow.E003" in said.out
    assert "swap them" in said.out


def test_setup_finds_missing_tables_and_columns() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE kck_product DROP COLUMN fingerprint_in")
        cursor.execute("DROP TABLE kck_permit")
    said = kck("check", "--setup")
    assert said.code == 1
    assert "✗ tables: Missing: kck_permit, kck_product (fingerprint_in)" in said.out
    assert "→ manage.py migrate" in said.out


def test_setup_finds_missing_options_and_harmful_indexes() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE kck_refresh RESET (fillfactor)")
        cursor.execute("CREATE INDEX mine ON kck_refresh (lease_until)")
    rows = found(kck("check", "--setup", "--format", "json"))
    assert rows["options"]["state"] == "wrong"
    assert "kck_refresh" in rows["options"]["text"]
    assert rows["indexes"]["state"] == "wrong"
    assert rows["indexes"]["next"] == "Drop it: DROP INDEX mine"


def test_setup_finds_what_waits_for_a_primer_that_is_gone() -> None:
    class Gone(Primer):
        key_base = "gone"

        def compute(self, key):
            return 1

    with registered(Gone):
        kck("refresh", "gone", "--queue")
    rows = found(kck("check", "--setup", "--format", "json"))
    assert rows["queue"]["state"] == "warning"
    assert "gone (1)" in rows["queue"]["text"]
    assert kck("refreshes", "--clear", "gone", "--noinput").code == 0
    assert found(kck("check", "--format", "json"))["queue"]["state"] == "ok"


def test_checks_parse_back_as_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(kck("check", "--format", "csv").out)))
    assert list(rows[0]) == ["what", "state", "text", "next"]
    assert kck("check", "--setup", "--workers", "--format", "csv").code == 2


# -- workers ----------------------------------------------------------------------------------------------------------


def worker(seen: float, mode: str = "poll") -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO kck_worker (host, pid, mode, started_at, seen_at) "
            "VALUES ('oven-1', 7, %s, now() - interval '1 hour', clock_timestamp() - %s * interval '1 second')",
            [mode, seen],
        )


def test_workers_must_be_there_and_give_signs_of_life() -> None:
    said = kck("check", "--workers")
    assert said.code == 1
    assert "✗ workers: No worker is running" in said.out
    worker(seen=2)
    assert kck("check", "--workers").code == 0
    assert kck("check", "--workers", "--within", "1s").code == 1
    worker(seen=300)
    said = kck("check", "--workers")
    assert said.code == 1
    assert "oven-1 pid 7" in said.out
    assert "no heartbeat for 5 min" in said.out


def test_a_dead_worker_is_known_by_its_lock() -> None:
    worker(seen=1, mode="listen")
    said = kck("check", "--workers")
    assert said.code == 1
    assert "it has died" in said.out


# -- stale ------------------------------------------------------------------------------------------------------------


def test_what_is_older_than_promised_is_listed() -> None:
    with freeze_time() as clock:
        kck("get", "opening")
        assert kck("check", "--stale").code == 0
        clock.move(hours=3)
        said = kck("check", "--stale")
        assert said.code == 1
        assert "opening" in said.out
        assert "past its soft expiry" in said.out
        row = kck("check", "--stale", "--format", "json").rows[0]
        assert row["key"] == "opening"
        assert row["state"] == "stale"
        assert row["age"] == 3 * 3600
        assert 0.9 * 3600 <= row["promised"] <= 3600
        assert row["late"] == pytest.approx(row["age"] - row["promised"])
        assert kck("check", "--stale", "--grace", "4h").code == 0
        kck("refresh", "opening")
        assert kck("check", "--stale").code == 0
        # Nobody is served what is past its hard expiry, and nobody asked for another.
        clock.move(days=3)
        assert kck("check", "--stale").code == 0


def test_a_missed_period_and_a_wish_not_met_are_late() -> None:
    with freeze_time() as clock:
        run_worker(["bread"])
        assert kck("check", "--stale").code == 0
        clock.move(hours=2)
        rows = {row["key"]: row["why"] for row in kck("check", "--stale", "--format", "json").rows}
        assert rows == {"bread": "not computed in its period"}
        kck("refresh", "opening", "--queue")
        clock.move(minutes=1)
        rows = {row["key"]: row["why"] for row in kck("check", "--stale", "--format", "json").rows}
        assert rows["opening"] == "wanted, and not computed"
        run_worker(["bread", "opening"])
        assert kck("check", "--stale").code == 0


# -- augment ----------------------------------------------------------------------------------------------------------


class Careless(Primer):
    """Counts what is added; forgets what is taken away."""

    key_base = "careless"
    parameters = [IntegerParameter("customer")]
    depends_on = [On(Order, key="customer_id", then="augment")]

    def compute(self, key):
        return Order.objects.filter(customer_id=key.params["customer"]).count()

    def augment(self, key, value, changes):
        return value + sum(1 for change in changes if change.old is None)


class Hasty(Careless):
    """Keeps whichever change comes last: the order matters to it."""

    key_base = "hasty"

    def compute(self, key):
        last = Order.objects.filter(customer_id=key.params["customer"]).order_by("pk").last()
        return last.cents if last else 0

    def augment(self, key, value, changes):
        return changes[-1].new.cents if changes and changes[-1].new else value


def test_augment_equals_compute_with_changes_on_their_way(customers: list[int]) -> None:
    key = f"tally/{customers[0]}"
    kck("get", key)
    for cents in (1, 2, 3):
        Order.objects.create(customer_id=customers[0], cents=cents)
    Order.objects.filter(customer_id=customers[0]).first().delete()
    said = kck("check", "--augment", key)
    assert said.code == 0
    assert f"✓ {key}: augment equals compute, 4 changes on the way" in said.out


def test_a_wrong_augment_is_caught(customers: list[int]) -> None:
    with registered(Careless):
        key = f"careless/{customers[0]}"
        kck("get", key)
        assert kck("check", "--augment", key).code == 0
        Order.objects.filter(customer_id=customers[0]).first().delete()
        said = kck("check", "--augment", key)
        assert said.code == 1
        assert f"✗ {key}: augment differs from compute at $: augmented 1, computed 0" in said.out
        assert f"manage.py kck refresh {key}" in said.out
        row = kck("check", "--augment", "careless", "--format", "json").rows[0]
        assert (row["state"], row["stored"], row["computed"]) == ("different", 1, 0)
        # Nothing was stored, nothing consumed.
        assert Cache.get_instance().get(key) == 1


def test_an_augment_that_cares_for_the_order_is_caught(customers: list[int]) -> None:
    with registered(Hasty):
        key = f"hasty/{customers[0]}"
        kck("get", key)
        for cents in range(10, 16):
            Order.objects.create(customer_id=customers[0], cents=cents)
        result = compare(registry.primer("hasty"), registry.key(key))
    assert result.state == "different"
    assert "in another order" in result.text


def test_an_augment_that_raises_is_caught(customers: list[int]) -> None:
    class Broken(Careless):
        key_base = "broken"

        def augment(self, key, value, changes):
            raise ZeroDivisionError("of all things")

    with registered(Broken):
        key = f"broken/{customers[0]}"
        kck("get", key)
        Order.objects.create(customer_id=customers[0], cents=1)
        said = kck("check", "--augment", key)
    assert said.code == 1
    assert "ZeroDivisionError: of all things" in said.out


def test_a_whole_family_is_compared_and_what_is_not_served_skipped(customers: list[int]) -> None:
    for pk in customers:
        kck("get", f"tally/{pk}")
    kck("invalidate", f"tally/{customers[2]}")
    said = kck("check", "--augment", "tally")
    assert said.code == 0
    assert "3 products compared: 2 equal, 0 not, 1 skipped." in said.out


@pytest.mark.parametrize(
    "wrong",
    [
        ("--augment", "opening"),
        ("--augment", "nothing"),
        ("--augment", "tally/x"),
        ("--augment",),
        ("--grace", "soon"),
        ("--within", "soon"),
        ("--database", "elsewhere"),
        ("--balance", "nothing"),
        ("--lag",),
    ],
)
def test_wrong_input_is_told(wrong: tuple[str, ...]) -> None:
    said = kck("check", *wrong)
    assert said.code in (1, 2)
    assert said.err
    assert said.out == ""


def changes_of(*rows: tuple[int, int]) -> list[Change]:
    now = timezone.now()
    return [Change(f"{pk}:{n}", "shop.Order", None, None, Row({"id": pk, "cents": n}), now) for pk, n in rows]


def test_changes_are_shuffled_but_those_of_one_row_keep_their_order() -> None:
    changes = changes_of((1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (1, 3))
    orders = set()
    for seed in range(20):
        other = shuffled(changes, random.Random(seed))
        assert sorted(change.id for change in other) == sorted(change.id for change in changes)
        for pk in (1, 2, 3):
            numbers = [change.new.cents for change in other if change.new.id == pk]
            assert numbers == sorted(numbers)
        orders.add(tuple(change.id for change in other))
    assert len(orders) > 10


@pytest.mark.parametrize(
    ("one", "other", "text"),
    [
        (1, 2, "at $: augmented 1, computed 2"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "at $.a.b[1]: augmented 2, computed 3"),
        ({"a": 1}, {"b": 1}, "at $.a: augmented only"),
        ([1], [1, 2], "at $: augmented has 1 items, computed 2"),
    ],
)
def test_a_difference_names_its_place(one: Any, other: Any, text: str) -> None:
    assert difference(one, other) == text
