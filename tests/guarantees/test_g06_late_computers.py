"""G6, G7: a late computer overwrites nothing and releases nobody's lease; a dead one is replaced once.
Behaviours 10 and 11.
"""

from __future__ import annotations

import pytest

from tests.stage.directing import Refused, Theatre, one, outcomes, slot, until, value_of


def test_a_computer_stopped_past_its_lease_is_refused_and_its_own_caller_gets_a_value_g6(
    theatre: Theatre,
) -> None:
    stage = theatre.stage
    stage.script("act/x", ["hold", "gate 1"], run=1)
    stage.script("act/x", ["hold", "gate 2"], run=2)
    first, second = theatre.mortal(LEASE_SECONDS=1), theatre.mortal(LEASE_SECONDS=1)
    first.tell("get", "act/x")
    stage.wait_at("act/x", "gate 1")
    first.child.pause()
    second.tell("get", "act/x")
    stage.wait_at("act/x", "gate 2")  # the lease ran out, and the next has taken it over
    holder = slot("act/x")
    stage.open("gate 1")
    first.child.resume()
    assert first.answer()["value"] == "act/x#1"
    assert value_of("act/x") is None
    now = slot("act/x")
    assert (now["token"], now["lease_owner"], now["leased"]) == (holder["token"], holder["lease_owner"], True)
    stage.open("gate 2")
    assert second.answer()["value"] == "act/x#2"
    assert {first.get("act/x"), second.get("act/x"), value_of("act/x")} == {"act/x#2"}
    assert outcomes("act/x") == ["fenced", "done"]


def test_a_computer_that_resumes_after_its_successor_published_is_refused_g6(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.script("act/x", ["hold", "gate 1"], run=1)
    first, second = theatre.mortal(LEASE_SECONDS=1), theatre.mortal(LEASE_SECONDS=1)
    first.tell("get", "act/x")
    stage.wait_at("act/x", "gate 1")
    first.child.pause()
    assert second.get("act/x") == "act/x#2"
    second.ask("set", "act/x", "newer still")
    stage.open("gate 1")
    first.child.resume()
    first.answer()
    assert value_of("act/x") == "newer still"
    assert first.get("act/x") == "newer still"
    assert stage.begun("act/x") == 2


def test_a_stopped_computer_that_fails_at_last_does_not_fail_its_successor_g6(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.script("act/x", ["hold", "gate 1"], ["fail", "late"], run=1)
    stage.script("act/x", ["hold", "gate 2"], run=2)
    first, second = theatre.mortal(LEASE_SECONDS=1), theatre.mortal(LEASE_SECONDS=1)
    first.tell("get", "act/x")
    stage.wait_at("act/x", "gate 1")
    first.child.pause()
    second.tell("get", "act/x")
    stage.wait_at("act/x", "gate 2")
    stage.open("gate 1")
    first.child.resume()
    assert first.answer()["type"] == "ComputeFailed"
    assert slot("act/x")["leased"]
    assert slot("act/x")["attempts"] == 0
    stage.open("gate 2")
    assert second.answer()["value"] == "act/x#2"
    assert first.get("act/x") == "act/x#2"


def test_a_computer_killed_with_9_is_replaced_once_however_many_wait_g7(theatre: Theatre) -> None:
    """With the default settings: the lease is five seconds, beaten once in a bit more than one."""
    stage, waiting = theatre.stage, theatre.readers(3)
    stage.script("act/x", ["hold", "never"], run=1)
    first = theatre.mortal()
    first.tell("get", "act/x")
    stage.wait_at("act/x", "never")
    for reader in waiting:
        reader.tell("gets", "act/x", 8, wait=60)
    until(
        lambda: (
            one(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s",
                "%unnest%kck_refresh%",
            )
            >= 3
        ),
        "all to wait",
    )
    first.child.kill()
    answers = [answer for reader in waiting for answer in reader.answer()]
    assert [answer.get("value") for answer in answers] == ["act/x#2"] * 24, answers
    assert stage.begun("act/x") == 2
    assert max(answer["seconds"] for answer in answers) < 30
    assert outcomes("act/x") == ["lost", "done"]


def test_whether_a_product_is_being_refreshed_is_told_truthfully_row_50(theatre: Theatre) -> None:
    stage, watcher = theatre.stage, theatre.reader()
    first = theatre.mortal(LEASE_SECONDS=1)
    stage.script("act/x", ["hold", "gate 1"], run=1)
    stage.script("act/x", ["hold", "gate 2"], ["fail", "no"], run=2)
    stage.script("act/x", ["hold", "never"], run=3)
    assert not watcher.ask("is_refreshing", "act/x")
    first.tell("get", "act/x")
    stage.wait_at("act/x", "gate 1")
    assert watcher.ask("is_refreshing", "act/x")
    stage.open("gate 1")
    first.answer()
    assert not watcher.ask("is_refreshing", "act/x")  # right after a success
    first.tell("refresh", "act/x")
    stage.wait_at("act/x", "gate 2")
    assert watcher.ask("is_refreshing", "act/x")
    stage.open("gate 2")
    first.answer()
    assert not watcher.ask("is_refreshing", "act/x")  # after a failure
    first.tell("refresh", "act/x")
    stage.wait_at("act/x", "never")
    assert watcher.ask("is_refreshing", "act/x")
    first.child.kill()
    until(lambda: not watcher.ask("is_refreshing", "act/x"), "the lease of the dead to end")


def test_a_compute_past_its_limit_fails_and_the_next_try_is_possible_row_59(theatre: Theatre) -> None:
    stage, (reader, other) = theatre.stage, theatre.readers(2)
    stage.script("guarded/x", ["hold", "gate"], run=1)
    found = reader.ask("get", "guarded/x")
    assert found["type"] == "ComputeTimeout"
    assert not slot("guarded/x")["leased"]
    assert "compute_limit" in slot("guarded/x")["last_error"]

    def again() -> object:
        try:
            return other.get("guarded/x")
        except Refused as refused:
            assert refused.type in ("ComputeFailed", "ComputeTimeout")  # noqa: PT017  (until it is over)
            return None

    assert until(again, "the next try after the back-off") == "guarded/x#2"
    stage.open("gate")  # the late one ends, and is refused
    stage.wait_ended("guarded/x", 2)
    assert value_of("guarded/x") == "guarded/x#2"
    assert reader.get("guarded/x") == "guarded/x#2"


def test_a_slow_old_computation_does_not_overwrite_a_newer_one_row_55(theatre: Theatre) -> None:
    stage, (slow, quick) = theatre.stage, theatre.readers(2)
    stage.script("act/x", ["hold", "gate"], run=1)
    slow.tell("refresh", "act/x")
    stage.wait_at("act/x", "gate")
    quick.ask("set", "act/x", "B")
    stage.open("gate")
    slow.answer()
    assert value_of("act/x") == "B"
    with pytest.raises(Refused):
        quick.ask("set", "act/x", "C", version=7)
