"""G8, G9, G10, G11: products and transactions. Behaviours 12 and 13, and what the cache itself holds open."""

from __future__ import annotations

import pytest

from tests.shop.models import Author
from tests.stage.directing import Theatre, one, sql, until, value_of


@pytest.fixture
def ada(transactional_db: None) -> Author:
    return Author.objects.create(name="Ada")


@pytest.mark.parametrize("ending", ["commit", "rollback", "savepoint"])
def test_a_transaction_sees_its_own_change_and_others_see_it_after_its_commit_g8(
    theatre: Theatre, ada: Author, ending: str
) -> None:
    writer, other = theatre.readers(2)
    key, derived = f"name_of/{ada.pk}", f"greeting/{ada.pk}"
    assert other.get(derived) == "Hello Ada"
    writer.ask("begin")
    if ending == "savepoint":
        writer.ask("begin")
    writer.ask("save_author", ada.pk, "Grace")
    assert writer.get(key) == "Grace"
    assert writer.get(derived) == "Hello Grace"
    assert (other.get(key), other.get(derived)) == ("Ada", "Hello Ada")
    # A compute that another begins now sees what is committed, and may be published.
    other.ask("invalidate", key)
    assert other.get(key) == "Ada"
    assert writer.get(key) == "Grace"
    if ending == "savepoint":
        writer.ask("end", False)
        assert writer.get(key) == "Ada"
    writer.ask("end", ending != "rollback")
    after = "Grace" if ending == "commit" else "Ada"
    assert {reader.get(key) for reader in (other, writer)} == {after}
    assert {reader.get(derived) for reader in (other, writer)} == {f"Hello {after}"}
    if ending != "commit":
        assert one("SELECT count(*) FROM kck_product WHERE value::text LIKE %s", "%Grace%") == 0


def test_a_first_read_in_a_transaction_that_has_written_is_kept_by_nobody_g8(
    theatre: Theatre, ada: Author
) -> None:
    writer, other = theatre.readers(2)
    key = f"name_of/{ada.pk}"
    writer.ask("begin")
    writer.ask("save_author", ada.pk, "Grace")
    assert writer.get(key) == "Grace"
    assert value_of(key) is None
    assert other.get(key) == "Ada"
    writer.ask("end", False)
    assert {writer.get(key), other.get(key)} == {"Ada"}


def test_requests_and_invalidations_of_a_transaction_rolled_back_leave_no_trace_row_58(
    theatre: Theatre,
) -> None:
    reader, other = theatre.readers(2)
    assert reader.get("act/x") == "act/x#1"
    reader.ask("begin")
    reader.ask("request", "act/x")
    reader.ask("request", "act/new")
    reader.ask("invalidate", "act/x")
    reader.ask("set", "act/y", "set")
    assert other.get("act/x") == "act/x#1"
    reader.ask("end", False)
    assert sql("SELECT * FROM kck_pending") == []
    assert one("SELECT count(*) FROM kck_refresh WHERE key IN ('act/new', 'act/y') OR want > have") == 0
    assert reader.get("act/x") == "act/x#1"
    assert value_of("act/y") is None


def test_a_transaction_that_read_or_missed_a_product_delays_nobody_g9(theatre: Theatre, ada: Author) -> None:
    holder, dirty, other = theatre.readers(3)
    key = f"name_of/{ada.pk}"
    holder.ask("begin")
    assert holder.get("act/cold") == "act/cold#1"  # missed, computed, published by another thread
    assert holder.get(key) == "Ada"
    dirty.ask("begin")
    dirty.ask("save_author", None, "Someone")
    assert dirty.get("act/cold") == "act/cold#1"
    assert dirty.get("act/missed") == "act/missed#1"  # computed for this transaction alone
    # Both stay open to the end of the test; all of this passes by them.
    assert other.get("act/cold") == "act/cold#1"
    assert other.get("act/missed") == "act/missed#2"
    other.ask("invalidate", "act/cold")
    assert other.get("act/cold") == "act/cold#2"
    assert other.ask("refresh", "act/missed")["value"] == "act/missed#3"
    other.ask("save_author", ada.pk, "Grace")
    assert other.get(key) == "Grace"
    assert holder.get("act/cold") == "act/cold#2"
    for reader in (holder, dirty):
        reader.ask("end")


def test_a_dirty_transaction_never_waits_for_another_process_g9(theatre: Theatre) -> None:
    """The other might need the locks that we hold: we compute for ourselves, at once."""
    stage, (computing, dirty) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate"], run=1)
    computing.tell("get", "act/x")
    stage.wait_at("act/x", "gate")
    dirty.ask("begin")
    dirty.ask("save_author", None, "Someone")
    assert dirty.get("act/x") == "act/x#2"
    dirty.ask("end")
    stage.open("gate")
    assert computing.answer()["value"] == "act/x#1"
    assert dirty.get("act/x") == "act/x#1"


def test_a_failed_compute_does_not_break_the_callers_transaction_g9(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/bad", ["sql", "SELECT 1/0"])
    reader.ask("begin")
    author = reader.ask("save_author", None, "Someone")
    assert reader.ask("get", "act/bad")["type"] == "ComputeFailed"
    reader.ask("end")
    assert Author.objects.filter(pk=author).exists()


def test_while_a_compute_runs_and_callers_wait_the_cache_holds_no_connection_of_theirs_g10(
    theatre: Theatre,
) -> None:
    stage, (computing, waiting) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate"])
    computing.tell("get", "act/x")
    stage.wait_at("act/x", "gate")
    waiting.tell("gets", "act/x", 4)
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (state <> 'idle' OR xact_start IS NOT NULL)"
    )
    # Between two looks of the poller nothing is active and no transaction is open, in either process.
    until(lambda: one(busy) == 0, "nothing to be held")
    assert not computing.answered()
    most = one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    # The callers' own (1 + 5), the test's, and of each process at most two and the beats'.
    assert most <= 7 + 2 * 3
    stage.open("gate")
    assert computing.answer()["value"] == "act/x#1"
    waiting.answer()


def test_a_fresh_read_writes_nothing_and_a_stale_one_once_g11(theatre: Theatre) -> None:
    reader = theatre.reader(REFRESH_IN_PROCESS=False)
    reader.ask("set", "act/fresh", "value")
    reader.ask("set", "act/stale", "value", soft=0)
    row = "SELECT xmin::text, ctid::text FROM kck_product WHERE key = 'act/fresh'"
    before = sql(row)
    for _ in range(50):
        assert reader.get("act/fresh") == "value"
    reader.ask("begin")
    for _ in range(50):
        assert reader.entry("act/fresh")["state"] == "fresh"
    assert reader.ask("sql", "SELECT pg_current_xact_id_if_assigned()") == [["None"]]
    reader.ask("end")
    assert sql(row) == before
    assert sql("SELECT * FROM kck_refresh") == sql("SELECT * FROM kck_pending") == []
    for _ in range(200):
        assert reader.get("act/stale") == "value"
    until(
        lambda: one("SELECT count(*) FROM kck_refresh WHERE key = 'act/stale'") == 1, "the wish to be written"
    )
    assert one("SELECT want FROM kck_refresh WHERE key = 'act/stale'") == 1
    other = theatre.mortal(REFRESH_IN_PROCESS=False)
    for _ in range(50):
        assert other.get("act/stale") == "value"
    assert one("SELECT want FROM kck_refresh WHERE key = 'act/stale'") == 1
