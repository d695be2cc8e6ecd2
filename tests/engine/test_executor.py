"""Refreshes handed out as hints to a fleet of another's making: row 79's protocol, reliability test 24's losses."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import override_settings

from kck_flow import conf
from kck_flow.refresh import executor
from tests.harness.wait import until
from tests.stage.directing import Theatre, one, outcomes, slot, sql, value_of

LEASE = 0.5


def test_79_a_hint_is_followed_once_whoever_repeats_it(theatre: Theatre) -> None:
    stage = theatre.stage
    dispatcher, first, second = theatre.mortals(3)
    dispatcher.ask("request", "act/x")
    assert dispatcher.ask("tick", 0, 30) == []  # the fleet has no room
    (hint,) = dispatcher.ask("tick", 5, 30)
    assert dispatcher.ask("tick", 5, 30) == []  # it is on its way
    assert slot("act/x")["crashes"] == 0
    number, token, _lane = hint
    assert first.ask("enter", number, token + 1) is None
    stage.script("act/x", ["hold", "gate"], run=1)
    first.tell("enter", number, token)
    stage.wait_at("act/x", "gate")
    assert second.ask("enter", number, token) is None
    assert slot("act/x")["crashes"] == 1  # now an end without a word would be one
    stage.open("gate")
    assert first.answer() == "done"
    assert second.ask("enter", number, token) is None
    assert (stage.begun("act/x"), value_of("act/x"), outcomes("act/x")) == (1, "act/x#1", ["done"])
    assert slot("act/x")["crashes"] == 0


def test_79_what_is_asked_for_while_a_hint_is_on_its_way_is_answered_by_it(theatre: Theatre) -> None:
    stage = theatre.stage
    dispatcher, fleet = theatre.mortals(2)
    dispatcher.ask("request", "act/x")
    ((number, token, _lane),) = dispatcher.ask("tick", 5, 30)
    dispatcher.ask("request", "act/x")
    assert fleet.ask("enter", number, token) == "done"
    assert dispatcher.ask("tick", 5, 30) == []
    assert stage.begun("act/x") == 1


def test_79_a_lost_hint_is_offered_again_and_is_no_crash(theatre: Theatre) -> None:
    stage = theatre.stage
    (dispatcher,) = theatre.mortals(1)
    dispatcher.ask("request", "act/x")
    tokens = []
    for _ in range(8):  # more often than a product may end its process
        ((number, token, _lane),) = until(lambda: dispatcher.ask("tick", 1, LEASE), "the next offer")
        tokens.append(token)
    assert len(set(tokens)) == 8
    assert dispatcher.ask("enter", number, tokens[0]) is None
    assert dispatcher.ask("enter", number, tokens[-1]) == "done"
    assert stage.begun("act/x") == 1
    assert slot("act/x")["crashes"] == 0


def test_79_a_broker_that_is_away_costs_a_second_and_nothing_else(theatre: Theatre) -> None:
    (dispatcher,) = theatre.mortals(1)
    dispatcher.ask("request", "act/x")
    assert dispatcher.ask("tick", 5, 30, broken=True) == []
    assert slot("act/x")["lease_until"] is None
    ((number, token, _lane),) = until(lambda: dispatcher.ask("tick", 5, 30), "the broker to be back")
    assert dispatcher.ask("enter", number, token) == "done"


def test_79_a_bound_on_a_primer_holds_in_a_fleet_too(theatre: Theatre) -> None:
    """`single` may run once at a time, over all workers."""
    stage = theatre.stage
    dispatcher, first, second = theatre.mortals(3)
    for key in ("single/a", "single/b"):
        stage.script(key, ["hold", "gate"], run=1)
        dispatcher.ask("request", key)
    (one_hint, other) = dispatcher.ask("tick", 5, 30)
    first.tell("enter", *one_hint[:2])
    until(lambda: stage.begun() == 1, "one of them to begin")
    assert second.ask("enter", *other[:2]) is None  # given back, to be offered again
    stage.open("gate")
    assert first.answer() == "done"
    ((number, token, _lane),) = until(lambda: dispatcher.ask("tick", 5, 30), "the other's turn")
    assert second.ask("enter", number, token) == "done"
    assert stage.begun() == 2


def test_24_a_third_lost_a_third_doubled_and_one_of_the_fleet_killed_each_commits_once(
    theatre: Theatre,
) -> None:
    chance = random.Random(24)
    stage = theatre.stage
    dispatcher, *fleet = theatre.mortals(4, LEASE_SECONDS=1)
    keys = [f"act/{number}" for number in range(60)]
    for key in keys:
        dispatcher.ask("request", key)
    victim = fleet[0]
    stage.script(keys[7], ["hold", "for ever"], run=1)
    hints: list[list[int]] = []
    killed = False

    def done() -> bool:
        nonlocal killed
        for hint in dispatcher.ask("tick", 10, LEASE):
            hints.extend([hint] * chance.choice([0, 1, 2]))
        chance.shuffle(hints)
        for member in [each for each in fleet if each.idle]:
            if hints:
                member.tell("enter", *hints.pop()[:2])
        for member in fleet:
            if member.child.alive and member.answered():
                member.answer()
        standing = stage.ledger("at", keys[7])
        if standing and not killed:
            (holder,) = [each for each in fleet if not each.answered() and each.pid == standing[0].pid]
            holder.child.kill()
            fleet.remove(holder)
            killed = True
        return one("SELECT count(*) FROM kck_product WHERE value IS NOT NULL") == len(keys)

    until(done, "each to be stored", limit=60)
    assert killed
    assert victim in fleet or len(fleet) == 2
    rows = sql("SELECT key, outcome FROM kck_run")
    assert Counter(key for key, outcome in rows if outcome == "done") == dict.fromkeys(keys, 1)
    assert {version for (version,) in sql("SELECT version FROM kck_product")} == {1}


def test_79_a_dispatcher_counts_as_a_worker_so_that_the_web_leaves_the_stale_to_it(theatre: Theatre) -> None:
    (dispatcher,) = theatre.mortals(1)
    dispatcher.ask("tick", 5, 30)
    assert sql("SELECT executor, mode FROM kck_worker") == [("post", "poll")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("selery", "there is no executor 'selery'. Did you mean 'celery'?"),
        ("fleet", "there is no executor 'fleet'. There are process, thread, inline, celery"),
        ({"executor": "thread", "queue": "flow"}, "'thread' takes no option, such as 'queue'."),
        ({"queue": "flow"}, "has no 'executor': name its class"),
        ("shop.fleet.Fleet", "'shop.fleet.Fleet' cannot be found"),
        (
            {"executor": "kck_flow.refresh.hints.Bounded", "in_flght": 3},
            "has an option 'in_flght', and Bounded takes none of that name. Did you mean 'in_flight'?",
        ),
    ],
)
def test_79_an_executor_that_cannot_be_is_told_by_setting_and_command(given: Any, told: str) -> None:
    with override_settings(KCK_FLOW={"EXECUTOR": given}):
        assert any("KCK_FLOW['EXECUTOR']" in one and told in one for one in conf.problems())
        with pytest.raises(ImproperlyConfigured, match="KCK_FLOW") as raised:
            executor.made()
        assert told in str(raised.value)
        with pytest.raises(CommandError) as refused:
            call_command("kck", "worker", "--once")
        assert told in str(refused.value)


def test_79_options_out_of_range_are_told() -> None:
    for options, told in (({"in_flight": 0}, "in_flight"), ({"lease": 0}, "lease")):
        with pytest.raises(ImproperlyConfigured, match=f"{told} is a number of .* above zero, not 0"):
            executor.made({"executor": "kck_flow.refresh.hints.Bounded", **options})


def test_79_a_fleet_has_its_own_concurrency() -> None:
    with pytest.raises(CommandError, match="has a concurrency of its own: leave --concurrency out"):
        call_command(
            "kck", "worker", "--once", "--executor", "kck_flow.refresh.hints.Bounded", "--concurrency", "2"
        )
