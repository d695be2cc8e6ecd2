"""Behaviour 18: the promises through PgBouncer in transaction mode, under asyncio, and with ATOMIC_REQUESTS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.pgbouncer import Pooler
from tests.harness.processes import database_url_of
from tests.shop.models import Author
from tests.stage.directing import Reader, Theatre, one, outcomes, until, value_of

pytestmark = pytest.mark.needs_pgbouncer


@pytest.fixture
def pooled(theatre: Theatre, pooler: Pooler) -> Iterator[Theatre]:
    """A stage whose processes reach the database through ten shared server connections."""
    theatre.pooled_url = pooler.url  # type: ignore[attr-defined]
    yield theatre
    theatre.crew.close()


def readers(theatre: Theatre, count: int, **flow: object) -> list[Reader]:
    url = theatre.pooled_url  # type: ignore[attr-defined]
    return theatre.mortals(count, url=url, env={"KCK_TEST_POOLED": "1"}, **flow)


def test_sixty_four_autocommit_callers_on_ten_connections_share_one_compute_g1(pooled: Theatre) -> None:
    stage = pooled.stage
    crowd = readers(pooled, 8)
    stage.script("act/cold", ["sleep", 0.2])
    for reader in crowd:
        reader.tell("gets", "act/cold", 8)
    answers = [answer for reader in crowd for answer in reader.answer()]
    assert [answer.get("value") for answer in answers] == ["act/cold#1"] * 64, answers
    assert stage.begun("act/cold") == 1
    # And one failure (G2).
    stage.script("act/broken", ["sleep", 0.2], ["fail", "no"])
    for reader in crowd:
        reader.tell("gets", "act/broken", 8)
    answers = [answer for reader in crowd for answer in reader.answer()]
    assert {answer.get("cause") for answer in answers} == {"ValueError: no"}, answers
    assert stage.begun("act/broken") == 1
    # Nothing of a session is left on the servers' connections: no lock, no listener, no prepared statement,
    # no setting.
    assert one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    for _ in range(20):
        assert crowd[0].ask("sql", "SELECT count(*) FROM pg_prepared_statements") == [["0"]]
        assert crowd[0].ask("sql", "SHOW lock_timeout") == [["0"]]
        assert crowd[0].ask("sql", "SHOW statement_timeout") == [["0"]]
    # 64 callers inside transactions of their own hold all ten: values or WaitTimeout, never a hang.
    stage.script("act/requests", ["sleep", 0.1])
    for reader in crowd:
        reader.tell("gets", "act/requests", 8, atomic=True)
    answers = [answer for reader in crowd for answer in reader.answer()]
    assert len(answers) == 64
    for answer in answers:
        assert (
            str(answer.get("value", "")).startswith("act/requests#") or answer.get("type") == "WaitTimeout"
        ), answer
    assert until(
        lambda: crowd[0].ask("get", "act/requests").get("value"), "the product to be there afterwards"
    )


def test_the_other_promises_hold_behind_a_pooler(pooled: Theatre) -> None:
    stage = pooled.stage
    ada = Author.objects.create(name="Ada")
    here, there = readers(pooled, 2, LEASE_SECONDS=1)
    # G3: stale served, one compute.
    here.ask("set", "act/hot", "old", soft=0)
    stage.script("act/hot", ["hold", "gate"])
    assert {reader.get("act/hot") for reader in (here, there, here)} == {"old"}
    stage.wait_at("act/hot", "gate")
    stage.open("gate")
    until(lambda: value_of("act/hot") == "act/hot#1", "the refresh to be stored")
    assert stage.begun("act/hot") == 1
    # G5: a saved row refuses what was computed before it.
    key = f"name_of/{ada.pk}"
    stage.script(key, ["hold", "gate 2"], run=1)
    here.tell("get", key)
    stage.wait_at(key, "gate 2")
    there.ask("save_author", ada.pk, "Grace")
    stage.open("gate 2")
    here.answer()
    assert here.get(key) == there.get(key) == "Grace"
    # G8: a transaction's own truth.
    here.ask("begin")
    here.ask("save_author", ada.pk, "Hopper")
    assert (here.get(key), there.get(key)) == ("Hopper", "Grace")
    here.ask("end", False)
    assert here.get(key) == "Grace"
    # G6, G7: a computer that stops is replaced, and refused.
    stage.script("act/late", ["hold", "gate 3"], run=1)
    here.tell("get", "act/late")
    stage.wait_at("act/late", "gate 3")
    here.child.pause()
    assert there.get("act/late") == "act/late#2"
    stage.open("gate 3")
    here.child.resume()
    here.answer()
    assert here.get("act/late") == "act/late#2"
    assert outcomes("act/late") == ["done", "fenced"]


def test_a_pooler_restarted_under_readers_is_survived_g4(pooled: Theatre, pooler: Pooler) -> None:
    (reader,) = readers(pooled, 1)
    assert reader.get("act/x") == "act/x#1"
    pooler.daemon.pause()
    reader.tell("get", "act/x", wait=1)
    pooler.daemon.resume()
    assert reader.answer()["value"] == "act/x#1"


@pytest.mark.parametrize("way", ["direct", "pooled"])
def test_sixty_four_tasks_of_one_loop_share_one_compute_and_the_loop_is_never_blocked_g1(
    theatre: Theatre, pooler: Pooler, way: str
) -> None:
    stage = theatre.stage
    url = pooler.url if way == "pooled" else database_url_of("default")
    reader, other = theatre.mortals(2, url=url)
    stage.script("act/cold", ["hold", "gate"])
    reader.tell("gets_async", "act/cold", 64)
    stage.wait_at("act/cold", "gate")
    # While it is computed, the loop's other tasks go on: another product is had in the same loop's process.
    other.tell("gets_async", "act/cold", 8)
    stage.open("gate")
    found = reader.answer()
    assert [answer.get("value") for answer in found["answers"]] == ["act/cold#1"] * 64
    assert {answer["value"] for answer in other.answer()["answers"]} == {"act/cold#1"}
    assert stage.begun("act/cold") == 1
    stage.script("act/blocking", ["sleep", 3.0])
    found = reader.ask("gets_async", "act/blocking", 64, beside="act/cold")
    assert {answer["value"] for answer in found["answers"]} == {"act/blocking#1"}
    # Of three seconds; had a compute held the loop, or the thread of its queries, all of them.
    assert found["longest"] < 2


def test_sixty_four_tasks_share_one_failure_g2(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/bad", ["sleep", 0.2], ["fail", "no"])
    found = reader.ask("gets_async", "act/bad", 64)
    assert {answer.get("cause") for answer in found["answers"]} == {"ValueError: no"}
    assert stage.begun("act/bad") == 1
