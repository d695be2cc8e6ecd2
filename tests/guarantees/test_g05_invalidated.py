"""G5: an invalidation that has returned is never undone by a compute that began before it. Behaviours 8 and
9.
"""

from __future__ import annotations

import pytest

from tests.shop.models import Author
from tests.stage.directing import Theatre, one, outcomes, sql, until, value_of


@pytest.fixture
def ada(transactional_db: None) -> Author:
    return Author.objects.create(name="Ada")


def test_a_call_of_invalidate_refuses_a_first_compute_under_way_g5(theatre: Theatre) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate"], run=1)
    here.tell("get", "act/x")
    stage.wait_at("act/x", "gate")
    there.ask("invalidate", "act/x")
    # Who asks now waits for a compute that begins now, wherever it asks.
    there.tell("get", "act/x")
    stage.open("gate")
    here.answer()
    assert there.answer()["value"] == "act/x#2"
    assert {reader.get("act/x") for reader in (here, there)} == {"act/x#2"}
    assert outcomes("act/x") == ["superseded", "done"]


def test_a_call_of_invalidate_refuses_a_later_compute_under_way_g5(theatre: Theatre) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    here.ask("set", "act/x", "old", soft=0)
    stage.script("act/x", ["hold", "gate"], run=1)
    assert here.get("act/x") == "old"
    stage.wait_at("act/x", "gate")
    there.ask("invalidate", "act/x")
    stage.open("gate")
    assert there.get("act/x") == "act/x#2"
    assert here.get("act/x") == "act/x#2"
    assert value_of("act/x") == "act/x#2"


@pytest.mark.parametrize("everything", [False, True])
def test_a_family_invalidated_refuses_a_first_compute_under_way_g5(
    theatre: Theatre, everything: bool
) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate"], run=1)
    here.tell("get", "act/x")
    stage.wait_at("act/x", "gate")
    if everything:
        there.ask("invalidate", key_base="act")
    else:
        there.ask("invalidate", key_base="name_of")
        there.ask("invalidate", key_base="act", name="x")
    stage.open("gate")
    here.answer()
    # Its second compute may itself meet the mark's delivery, and be repeated: never is the first one served.
    assert there.get("act/x") in ("act/x#2", "act/x#3")
    assert here.get("act/x") in ("act/x#2", "act/x#3")
    assert value_of("act/x") != "act/x#1"


def test_a_saved_row_refuses_a_compute_that_has_read_it_before_g5(theatre: Theatre, ada: Author) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    key = f"name_of/{ada.pk}"
    stage.script(key, ["hold", "gate"], run=1)
    here.tell("get", key)
    stage.wait_at(key, "gate")
    there.ask("save_author", ada.pk, "Grace")
    there.tell("get", key)
    stage.open("gate")
    here.answer()
    assert there.answer()["value"] == "Grace"
    assert here.get(key) == "Grace"


def test_a_changed_dependency_refuses_what_was_made_from_it_g5(theatre: Theatre, ada: Author) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    key = f"greeting/{ada.pk}"
    stage.script(key, ["hold", "gate"], run=1)
    here.tell("get", key)  # its first compute: no edge is recorded yet
    stage.wait_at(key, "gate")
    there.ask("set", f"name_of/{ada.pk}", "Grace")
    stage.open("gate")
    here.answer()
    assert there.get(key) == "Hello Grace"
    assert here.get(key) == "Hello Grace"
    assert stage.begun(key) == 2


def test_a_mark_on_the_whole_family_is_seen_by_the_next_read_g5(theatre: Theatre, ada: Author) -> None:
    """The mark is on its way: no worker has drained it, and no row of the product was touched."""
    here, there = theatre.readers(2)
    assert here.get("roster/a") == 1
    assert here.get("roster/a") == 1
    there.ask("save_author", None, "Grace")
    assert here.get("roster/a") == 2
    assert there.get("roster/a") == 2
    assert theatre.stage.begun("roster/a") == 2


def test_a_mark_in_the_hands_of_a_drain_is_seen_all_the_same_g5(theatre: Theatre, ada: Author) -> None:
    here, there = theatre.readers(2)
    key = f"name_of/{ada.pk}"
    assert here.get(key) == "Ada"
    there.ask("save_author", ada.pk, "Grace")
    there.ask("begin")
    there.ask("sql", "SELECT id FROM kck_pending FOR UPDATE")
    here.tell("get", key)
    assert here.answer()["value"] == "Grace"
    there.ask("end", False)
    assert there.get(key) == "Grace"


def test_a_refresh_superseded_by_a_write_is_discarded_and_the_later_one_stored_g5(theatre: Theatre) -> None:
    stage, (first, writer, second) = theatre.stage, theatre.readers(3)
    first.ask("set", "act/x", "zero")
    stage.script("act/x", ["hold", "gate 1"], run=1)
    stage.script("act/x", ["hold", "gate 2"], run=2)
    first.tell("refresh", "act/x")
    stage.wait_at("act/x", "gate 1")
    writer.ask("set", "act/x", "written")
    second.tell("refresh", "act/x")  # waits for the first, and then computes once more
    stage.open("gate 1")
    first.answer()
    stage.wait_at("act/x", "gate 2")
    assert value_of("act/x") == "written"  # the first has ended, and is not stored
    stage.open("gate 2")
    second.answer()
    assert value_of("act/x") == "act/x#2"
    assert outcomes("act/x") == ["superseded", "done"]
    assert one("SELECT version FROM kck_product WHERE key = 'act/x'") == 3


def test_a_lease_taken_over_while_the_first_still_computes_is_fenced_g5(theatre: Theatre) -> None:
    """R1 loses its lease, R2 has it, and R1 is the first to end: its token is refused."""
    stage, (first, second) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate 1"], run=1)
    stage.script("act/x", ["hold", "gate 2"], run=2)
    first.tell("get", "act/x")
    stage.wait_at("act/x", "gate 1")
    # As the statement that ends overdue leases does: the token rises.
    sql("UPDATE kck_refresh SET lease_until = NULL, token = token + 1 WHERE key = 'act/x'")
    second.tell("get", "act/x")
    stage.wait_at("act/x", "gate 2")
    stage.open("gate 1")
    assert first.answer()["value"] == "act/x#1"  # its own caller has a value
    assert value_of("act/x") is None
    assert one(
        "SELECT lease_until > clock_timestamp() FROM kck_refresh WHERE key = 'act/x'"
    )  # the second's, untouched
    stage.open("gate 2")
    assert second.answer()["value"] == "act/x#2"
    assert value_of("act/x") == "act/x#2"
    assert outcomes("act/x") == ["fenced", "done"]
    until(lambda: first.get("act/x") == "act/x#2", "the first process to serve the second's value")
