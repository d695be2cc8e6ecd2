"""G12: what a process keeps in its memory is never older than its bound, and never shared. Behaviour 15."""

from __future__ import annotations

from tests.harness.wait import until
from tests.stage.directing import Theatre, sql


def test_the_other_process_stops_serving_the_old_value_within_the_bound_g12(theatre: Theatre) -> None:
    here, there = theatre.readers(2, TIER_SECONDS=1.0)
    here.ask("set", "act/x", "old")
    assert [reader.get("act/x") for reader in (here, there, there)] == ["old"] * 3
    here.ask("set", "act/x", "new")
    assert here.get("act/x") == "new"  # its own writer sees it at once
    assert until(lambda: there.get("act/x") != "old", "the bound to pass", limit=10)
    here.ask("invalidate", "act/x")
    assert until(lambda: there.get("act/x") == "act/x#1", "the bound to pass", limit=10)


def test_it_does_so_when_every_connection_is_cut_meanwhile_g12(theatre: Theatre) -> None:
    """There is no listener that could fail: the bound holds by the clock alone."""
    here, there = theatre.readers(2, TIER_SECONDS=1.0)
    here.ask("set", "act/x", "old")
    assert there.get("act/x") == "old"
    assert there.get("act/x") == "old"
    here.ask("set", "act/x", "new")
    sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert until(lambda: there.get("act/x") == "new", "the bound to pass", limit=10)


def test_what_is_held_is_really_served_from_memory_and_nothing_mutable_is_shared_g12(
    theatre: Theatre,
) -> None:
    reader = theatre.reader(TIER_SECONDS=60.0)
    theatre.reader(TIER_SECONDS=60.0).ask("set", "act/x", {"list": [1]})
    assert reader.get("act/x") == {"list": [1]}
    assert reader.get("act/x") == {"list": [1]}
    sql("UPDATE kck_product SET value = '\"behind its back\"'")
    assert reader.get("act/x") == {"list": [1]}
    assert reader.ask("mutated", "act/x") == [{"list": [1]}, {"list": [1]}]


def test_a_transaction_neither_reads_nor_fills_the_memory_g12(theatre: Theatre) -> None:
    reader = theatre.reader(TIER_SECONDS=60.0)
    reader.ask("set", "act/x", "old")
    assert reader.get("act/x") == "old"
    sql("UPDATE kck_product SET value = '\"changed\"'")
    assert reader.get("act/x") == "old"
    reader.ask("begin")
    assert reader.get("act/x") == "changed"
    reader.ask("end")
    assert reader.get("act/x") == "old"


def test_without_being_asked_for_nothing_is_held_g12(theatre: Theatre) -> None:
    reader = theatre.reader()
    reader.ask("set", "act/x", "old")
    assert reader.get("act/x") == "old"
    sql("UPDATE kck_product SET value = '\"changed\"'")
    assert reader.get("act/x") == "changed"
