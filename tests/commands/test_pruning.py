"""prune: what nobody needs goes, in batches; what is in use stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from kck_flow import Cache, Primer
from kck_flow.cache import behind
from kck_flow.store import leftovers
from kck_flow.testing import freeze_time, registered
from tests.commands.conftest import kck
from tests.core.conftest import at_rest

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bakery")]


def counts(said) -> dict[str, int]:
    return {f"{row['what']} {row['product']}".strip(): row["deleted"] for row in said.rows}


def stored() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM kck_product")
        return {row[0] for row in cursor.fetchall()}


def execute(sql: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def test_products_past_their_hard_expiry_are_deleted_in_batches(monkeypatch) -> None:
    monkeypatch.setattr(leftovers, "BATCH", 2)
    cache = Cache.get_instance()
    for number in range(5):
        cache.set(f"any/{number}", number, hard_expire=timedelta(minutes=number + 1))
    cache.set("any/ever", 1)
    with freeze_time() as clock:
        clock.move(minutes=4, seconds=30)
        dry = kck("prune", "--dry-run", "--format", "json")
        assert next(row for row in dry.rows if row["what"] == "expired")["rows"] == 4
        assert len(stored()) == 6
        assert "would be deleted. Run again without --dry-run." in kck("prune", "--dry-run").out
        said = kck("prune", "--format", "json")
        assert counts(said)["expired"] == 4
        assert stored() == {"any/4", "any/ever"}
        assert "0 rows deleted" in kck("prune").out


def test_what_may_still_be_served_in_place_of_an_error_stays(monkeypatch) -> None:
    class Kept(Primer):
        key_base = "kept"
        hard_expire = timedelta(hours=1)
        stale_if_error = timedelta(hours=2)

        def compute(self, key):
            return 1

    with registered(Kept), freeze_time() as clock:
        Cache.get_instance().get("kept")
        clock.move(hours=2)
        assert counts(kck("prune", "--format", "json"))["expired"] == 0
        clock.move(hours=2)
        assert counts(kck("prune", "--format", "json"))["expired"] == 1


def test_what_is_being_computed_stays() -> None:
    cache = Cache.get_instance()
    cache.get("crumbs/1")
    execute("UPDATE kck_product SET hard_expires_at = now() - interval '1 day'")
    execute("UPDATE kck_refresh SET lease_until = clock_timestamp() + interval '1 hour', token = token + 1")
    said = kck("prune")
    assert "0 rows deleted. 1 are in use just now" in said.out
    execute("UPDATE kck_refresh SET lease_until = NULL")
    kck("prune")
    assert stored() == set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kck_refresh")
        assert cursor.fetchone()[0] == 0


def test_slots_that_somebody_waits_for_stay_with_their_product_gone() -> None:
    cache = Cache.get_instance()
    cache.get("crumbs/1")
    execute("UPDATE kck_product SET hard_expires_at = now() - interval '1 day'")
    kck("refresh", "crumbs/1", "--queue")
    kck("prune")
    assert [row["key"] for row in kck("refreshes", "--format", "json").rows] == ["crumbs/1"]


@pytest.mark.django_db(transaction=True)
def test_a_family_keeps_to_its_bound_and_the_long_unread_go_first() -> None:
    cache = Cache.get_instance()
    with freeze_time("2026-03-01T12:00:00+00:00") as clock:
        for number in range(6):
            cache.get(f"crumbs/{number}")
        behind.tell_read()
        at_rest()
        clock.move(days=3)
        # What is oldest is read in one way each.
        assert cache.get("crumbs/0") == 0
        assert cache.get_entry("crumbs/1").value == 1
        assert cache.get_many(["crumbs/2"]) == {"crumbs/2": 2}
        behind.tell_read()
        at_rest()
        said = kck("prune", "--product", "crumbs", "--format", "json")
        assert counts(said) == {"above max_entries crumbs": 3}
        assert stored() == {"crumbs/0", "crumbs/1", "crumbs/2"}
        assert cache.get("crumbs/5") == 5


def test_tombstones_go_when_they_are_old() -> None:
    cache = Cache.get_instance()
    cache.set("any/1", 1)
    cache.unset("any/1")
    cache.set("any/2", 1)
    with freeze_time() as clock:
        clock.move(days=1)
        assert counts(kck("prune", "--format", "json"))["unset"] == 0
        clock.move(days=30)
        assert counts(kck("prune", "--format", "json"))["unset"] == 1
    assert stored() == {"any/2"}


def test_records_older_than_their_retention_go_but_for_the_one_that_held_on(
    customers: list[int], monkeypatch
) -> None:
    monkeypatch.setattr(leftovers, "BATCH", 2)
    cache = Cache.get_instance()
    with freeze_time() as clock:
        for number in range(6):
            cache.set("best", [number])
            clock.move(days=10)
        before = cache.value_at("best", clock() - timedelta(days=29))
        said = kck("prune", "--format", "json")
        # Written 60, 50, 40, 30, 20 and 10 days ago; kept for 30: the one of day 30 held when that time began.
        assert counts(said)["records best"] == 3
        assert cache.value_at("best", clock() - timedelta(days=29)) == before
        assert counts(kck("prune", "--format", "json"))["records best"] == 0


def test_old_runs_go(settings) -> None:
    kck("refresh", "opening")
    with freeze_time() as clock:
        clock.move(days=10)
        assert counts(kck("prune", "--format", "json"))["runs"] == 0
        settings.KCK_FLOW = {"RUN_RETENTION_DAYS": 7}
        assert counts(kck("prune", "--format", "json"))["runs"] == 1
    assert kck("runs").out == "No runs are recorded yet.\n"


@pytest.mark.parametrize("wrong", [("--product", "nothing"), ("--database", "elsewhere"), ("everything",)])
def test_wrong_input_is_told(wrong: tuple[str, ...]) -> None:
    Cache.get_instance().set("any/1", 1, hard_expire=timedelta(0))
    said = kck("prune", *wrong)
    assert said.code in (1, 2)
    assert said.err
    assert stored() == {"any/1"}


def test_a_primer_without_bounds_has_nothing_to_prune() -> None:
    assert "neither max_entries nor retention" in kck("prune", "--product", "opening").out
