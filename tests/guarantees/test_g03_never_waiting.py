"""G3, G4: nobody waits while there is something to serve, and nobody waits for ever. Behaviours 2, 3, 4 and
6.
"""

from __future__ import annotations

import pytest

from tests.stage.directing import Refused, Theatre, slot, until, value_of


def test_readers_of_a_stale_value_never_wait_and_one_compute_renews_it_g3(theatre: Theatre) -> None:
    stage, readers = theatre.stage, theatre.readers(2)
    stage.script("act/hot", ["hold", "gate"])
    readers[0].ask("set", "act/hot", "old", soft=0)
    for number, reader in enumerate(readers):
        reader.tell("hammer", "act/hot", 4, str(stage.path / f"enough{number}"))
    stage.wait_begun("act/hot")
    # They read on while it is computed, and so does a process that has never asked before.
    _read_on(theatre, "act/hot")
    for number, _ in enumerate(readers):
        stage.open(f"enough{number}")
    told = [reader.answer() for reader in readers]
    assert not (stage.path / "gate").exists()
    for one in told:
        assert one["values"] == ["old"]
        assert one["reads"] > 100
    assert stage.begun("act/hot") == 1
    stage.open("gate")
    until(lambda: value_of("act/hot") == "act/hot#1", "the new value to be stored")
    assert {reader.get("act/hot") for reader in readers} == {"act/hot#1"}
    assert stage.begun("act/hot") == 1


def _read_on(theatre: Theatre, key: str) -> None:
    """Wait until a fresh process, too, has been served while the compute is under way."""
    other = theatre.mortal()
    for _ in range(50):
        assert other.get(key) == "old"


def test_a_soft_budget_ends_in_the_stale_value_and_the_compute_goes_on_g4(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/slow", ["hold", "gate"])
    reader.ask("set", "act/slow", "old")
    reader.ask("shift", 60)
    found = reader.ask("get", "act/slow", max_age=30, wait=0.1)
    assert found["value"] == "old"
    assert found["seconds"] >= 0.1
    stage.wait_begun("act/slow", 1)
    assert stage.begun("act/slow") == 1
    # Asked again, it joins the compute under way instead of beginning another.
    assert reader.ask("get", "act/slow", max_age=30, wait=0.05)["value"] == "old"
    reader.tell("get", "act/slow", max_age=30, wait=30)
    stage.open("gate")
    assert reader.answer()["value"] == "act/slow#1"
    assert stage.begun("act/slow") == 1


def test_a_hard_budget_ends_in_a_typed_error_and_the_value_comes_all_the_same_g4(theatre: Theatre) -> None:
    stage, (here, there) = theatre.stage, theatre.readers(2)
    stage.script("act/slow", ["hold", "gate"])
    first = here.ask("get", "act/slow", wait=0.3)
    assert first["type"] == "WaitTimeout"
    assert 0.3 <= first["seconds"] < 5
    assert "act/slow" in first["text"]
    assert "the compute goes on" in first["text"]
    # Another process waits for the same compute, by its own budget.
    assert there.ask("get", "act/slow", wait=0.2)["type"] == "WaitTimeout"
    there.tell("get", "act/slow", wait=30)
    stage.open("gate")
    assert there.answer()["value"] == "act/slow#1"
    assert here.get("act/slow") == "act/slow#1"
    assert stage.begun("act/slow") == 1


def test_past_its_allowance_the_error_reaches_the_caller_and_a_second_before_the_stale_value_did_g4(
    theatre: Theatre,
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    assert (
        reader.get("frail/x") == "frail/x#1"
    )  # hard after 600 s, served for 1,800 s more when it cannot be computed
    stage.script("frail/x", ["fail", "the source is down"])
    reader.ask("shift", 600 + 1800 - 1)
    assert reader.entry("frail/x")["state"] == "failed"
    assert stage.begun("frail/x") == 2  # it was tried
    assert reader.get("frail/x") == "frail/x#1"
    reader.ask("shift", 600 + 1800 + 1)
    with pytest.raises(Refused, match="the source is down") as refused:
        reader.get("frail/x")
    assert refused.value.type == "ComputeFailed"
    assert slot("frail/x")["attempts"] >= 1


def test_without_an_allowance_a_failed_compute_past_hard_expiry_is_an_error_g4(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    reader.ask("set", "act/x", "old", hard=60)
    stage.script("act/x", ["fail", "gone"])
    assert reader.get("act/x") == "old"
    reader.ask("shift", 61)
    with pytest.raises(Refused) as refused:
        reader.get("act/x")
    assert refused.value.type == "ComputeFailed"
