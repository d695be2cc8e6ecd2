"""G4, G7: a database that refuses, hangs or restarts. Behaviour 14."""

from __future__ import annotations

import pytest

from postgres import Server
from tests.harness.processes import Crew
from tests.harness.proxy import Proxy
from tests.harness.wait import until
from tests.stage.directing import House, Reader, Refused, Stage, Theatre, outcomes, value_of


@pytest.fixture
def elsewhere(own_server: Server, tmp_path) -> Theatre:  # type: ignore[no-untyped-def,misc]
    """A stage on a server of its own, that may crash."""
    with Crew(own_server.url) as crew:
        yield Theatre(Stage(tmp_path), crew, House(own_server.url))


TYPED = {"StoreUnavailable", "ComputeFailed", "WaitTimeout"}


def test_a_server_that_crashes_and_returns_serves_what_it_had_and_nothing_stale_g4(
    elsewhere: Theatre, own_server: Server
) -> None:
    stage = elsewhere.stage
    reader = elsewhere.mortal()
    tiered = elsewhere.mortal(TIER_SECONDS=300)
    assert reader.get("act/x") == tiered.get("act/x") == "act/x#1"
    assert tiered.get("act/x") == "act/x#1"
    own_server.crash()
    down = reader.ask("get", "act/x")
    assert down["type"] in TYPED, down
    assert down["seconds"] < 20
    assert reader.ask("get", "act/other")["type"] in TYPED
    assert tiered.get("act/x") == "act/x#1"  # within its bound
    own_server.start()
    assert until(lambda: _or_none(reader, "act/x"), "service to resume", limit=10) == "act/x#1"
    assert reader.get("act/new") == "act/new#1"
    reader.ask("invalidate", "act/x")
    assert reader.get("act/x") == "act/x#2"
    assert stage.begun("act/x") == 2


def test_a_crash_in_the_middle_of_a_compute_costs_neither_the_value_nor_the_next_one_g7(
    elsewhere: Theatre, own_server: Server
) -> None:
    stage = elsewhere.stage
    reader, other = elsewhere.mortal(LEASE_SECONDS=1), elsewhere.mortal(LEASE_SECONDS=1)
    stage.script("act/x", ["hold", "gate"], run=1)
    reader.tell("get", "act/x", wait=60)
    stage.wait_at("act/x", "gate")
    other.tell("get", "act/x", wait=60)
    own_server.crash()
    stage.open("gate")
    # A write that fails does not fail the request: the computed value is handed over.
    found = reader.answer()
    assert found.get("value") == "act/x#1", found
    own_server.start()
    found = other.answer()
    assert found.get("value", "").startswith("act/x#") or found.get("type") in TYPED, found
    assert until(lambda: _or_none(other, "act/x"), "service to resume", limit=20).startswith("act/x#")
    assert stage.begun("act/x") <= 3


def test_connections_cut_under_a_reader_are_replaced_without_a_word_g4(
    theatre: Theatre, proxy: Proxy
) -> None:
    reader = theatre.mortal(url=proxy.url)
    assert reader.get("act/x") == "act/x#1"
    for number in range(3):
        proxy.cut()
        assert reader.get("act/x") == "act/x#1"
        proxy.cut()
        assert reader.get(f"act/new{number}") == f"act/new{number}#1"


def test_a_database_that_refuses_is_a_typed_error_and_service_resumes_g4(
    theatre: Theatre, proxy: Proxy
) -> None:
    reader = theatre.mortal(url=proxy.url)
    assert reader.get("act/x") == "act/x#1"
    proxy.refuse()
    for key in ("act/x", "act/cold"):
        found = reader.ask("get", key)
        assert found["type"] in TYPED
        assert found["seconds"] < 20
    proxy.heal()
    assert until(lambda: _or_none(reader, "act/x"), "service to resume", limit=10) == "act/x#1"
    assert reader.get("act/cold") == "act/cold#1"


def test_a_database_that_hangs_is_a_typed_error_within_seconds_and_service_resumes_g4(
    theatre: Theatre, proxy: Proxy
) -> None:
    """Nothing passes any more, and nobody is told: no read waits for ever, in whatever thread."""
    stage = theatre.stage
    reader, tiered = theatre.mortals(2, url=proxy.url, STATEMENT_TIMEOUT=1, TIER_SECONDS=0)
    tiered.ask("flow", TIER_SECONDS=300)
    assert reader.get("act/x") == tiered.get("act/x") == "act/x#1"
    assert tiered.get("act/x") == "act/x#1"
    proxy.hang()
    for question in ("get", "get", "get_many"):
        found = reader.ask(question, ["act/x", "act/y"] if question == "get_many" else "act/x")
        assert found["type"] in TYPED, found
        assert found["seconds"] < 20
    for found in reader.ask("gets", "act/cold", 4):
        assert found["type"] in TYPED, found
        assert found["seconds"] < 25
    assert tiered.get("act/x") == "act/x#1"
    proxy.heal()
    assert until(lambda: _or_none(reader, "act/x"), "service to resume", limit=20) == "act/x#1"
    assert until(lambda: _or_none(reader, "act/cold"), "service to resume", limit=20).startswith("act/cold#")
    assert stage.begun("act/x") == 1


def test_a_store_that_hangs_at_the_end_of_a_compute_keeps_no_caller_beyond_its_wait_g4(
    theatre: Theatre, proxy: Proxy
) -> None:
    """Nothing passes any more, and nobody is told: the caller has its answer by its own budget."""
    stage, reader, other = theatre.stage, theatre.mortal(url=proxy.url, LEASE_SECONDS=1), theatre.reader()
    stage.script("act/x", ["hold", "gate"], run=1)
    reader.tell("get", "act/x", wait=3)
    stage.wait_at("act/x", "gate")
    proxy.hang()
    stage.open("gate")
    found = reader.answer()
    assert found.get("value") == "act/x#1" or found.get("type") in TYPED, found
    assert found["seconds"] < 20
    # Elsewhere the lease runs out, and the product is computed.
    assert other.get("act/x", wait=30) == "act/x#2"
    proxy.heal()
    assert until(lambda: _or_none(reader, "act/x"), "service to resume", limit=30) == "act/x#2"
    assert value_of("act/x") == "act/x#2"
    assert "done" in outcomes("act/x")


def _or_none(reader: Reader, key: str) -> str | None:
    try:
        return str(reader.get(key))
    except Refused as refused:
        assert refused.type in TYPED, refused  # noqa: PT017  (a value is as good)
        return None
