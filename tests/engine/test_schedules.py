"""Instants served once each, whoever schedules: tests 10 to 12, 15 and 16 of the engine; rows 44, 45, 74, 218
to 221.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.stage.directing import FULL, Reader, Theatre, one, outcomes, slot, sql, until, value_of

HELD = 86_400  # seconds of a lease, where processes with clocks of their own must not take it over


def timed(**when: object) -> dict[str, str]:
    """The environment of processes in which these families have a schedule."""
    return {"KCK_TEST_TIMED": json.dumps(when)}


def far_off() -> int:
    """A distance, in seconds, whose next instant is more than an hour off, whatever the time of day."""
    now = time.time()
    return next(seconds for seconds in range(7200, 14_400, 60) if seconds - now % seconds > 3_600)


def instants(key: str) -> list[datetime]:
    """Which instants of its schedule a product was refreshed for, in the order of its runs."""
    return [
        row[0]
        for row in sql(
            "SELECT nominal FROM kck_run WHERE key = %s AND outcome NOT IN ('fenced', 'lost') ORDER BY id",
            key,
        )
    ]


def seconds_to(key: str) -> float:
    """How far off the next instant of a product's schedule is."""
    return float(
        one(
            "SELECT extract(epoch FROM nominal - clock_timestamp()) FROM kck_refresh"
            " WHERE %s IN (key, key_base) AND nominal IS NOT NULL",
            key,
        )
    )


def both_work(readers: list[Reader], at: float, *products: str) -> None:
    """Have all work at once, with the clock at so many seconds from now; zero plans, in the middle of a minute."""
    if at == 0:
        # At its turn the first instant may come, and be served, while another is planning it.
        at = 30 - time.time() % 60
    for reader in readers:
        reader.ask("shift", at)
    for reader in readers:
        reader.tell("work", *products)
    for reader in readers:
        reader.answer()


def test_44_a_domain_of_fifty_under_two_schedulers_is_refreshed_once_a_period(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.write("domain.json", [f"troupe/{number}" for number in range(50)])
    schedulers = theatre.mortals(2, env=timed(troupe=60))
    both_work(schedulers, 0, "troupe")
    first = seconds_to("troupe/0")
    assert stage.begun() == 0  # its first instant is yet to come
    for minute in range(5):
        both_work(schedulers, first + 60 * minute + 1, "troupe")
    assert Counter(stage.keys()) == {f"troupe/{number}": 5 for number in range(50)}
    assert one("SELECT count(*) FROM kck_run WHERE key_base = 'troupe'") == 250
    assert one("SELECT count(DISTINCT (key, nominal)) FROM kck_run WHERE key_base = 'troupe'") == 250


def test_45_keys_that_leave_the_domain_are_refreshed_no_longer_and_new_ones_within_a_period(
    theatre: Theatre,
) -> None:
    stage = theatre.stage
    (reader,) = theatre.mortals(1, env=timed(company=60))
    reader.ask("set", "act/members", ["company/a", "company/b"])  # the domain is a product itself
    both_work([reader], 0, "company")
    first = seconds_to("company/a")
    both_work([reader], first + 1, "company")
    assert sorted(stage.keys()) == ["company/a", "company/b"]
    reader.ask("set", "act/members", ["company/b", "company/c"])
    both_work([reader], first + 61, "company")
    both_work([reader], first + 121, "company")
    both_work([reader], first + 181, "company")
    told = Counter(stage.keys())
    assert told["company/a"] <= 2
    assert told["company/b"] == 4
    assert told["company/c"] == 3
    assert slot("company/a")["nominal"] is None
    assert value_of("company/a") is not None  # what it was stays


def test_a_key_that_leaves_the_domain_while_it_runs_is_refreshed_no_longer_row_45(theatre: Theatre) -> None:
    stage = theatre.stage
    running, planning = theatre.mortals(2, env=timed(company=60), LEASE_SECONDS=HELD)
    running.ask("set", "act/members", ["company/a"])
    both_work([running, planning], 0, "company")
    first = seconds_to("company/a")
    stage.script("company/a", ["hold", "gate"])
    running.ask("shift", first + 1)
    running.tell("work", "company")
    stage.wait_at("company/a", "gate")
    planning.ask("shift", first + 1)
    planning.ask("set", "act/members", [])
    both_work([planning], first + 61, "company")
    stage.open("gate")
    running.answer()
    assert slot("company/a")["due_at"] is None
    both_work([planning, running], first + 181, "company")
    assert stage.begun("company/a") == 1


def test_a_domain_that_raises_is_tried_again_and_ends_nobody(theatre: Theatre) -> None:
    stage = theatre.stage
    (stage.path / "domain.json").write_text("this is no JSON")
    stage.write("other", 1)
    worker = theatre.worker(env=timed(troupe=1))
    worker.wait_for("domain.failed")
    theatre.reader().ask("request", "act/x")
    stage.wait_ended("act/x")
    stage.write("domain.json", ["troupe/a"])
    stage.wait_begun("troupe/a", limit=30)
    assert worker.alive


@pytest.mark.once("newest")
def test_10_no_instant_fires_twice_while_workers_come_and_die(theatre: Theatre) -> None:
    stage = theatre.stage
    keys = [f"complete/{number}" for number in range(10)]
    stage.write("domain.json", keys)
    env = timed(complete=1)
    workers = [theatre.worker("--lease", "2", env=env) for _ in range(3)]
    for turn in range(6 if FULL else 2):
        begun = stage.begun()
        until(lambda least=begun + 25: stage.begun() >= least, "a while of work")
        victim = sql("SELECT pid FROM kck_worker ORDER BY random() LIMIT 1")[0][0]
        os.kill(victim, signal.SIGKILL)
        if turn % 2:
            workers[0].kill()
            workers[0] = theatre.worker("--lease", "2", env=env)
    begun = stage.begun()
    until(lambda: stage.begun() >= begun + 40, "all to catch up")
    for worker in workers:
        worker.send(signal.SIGTERM)
    for worker in workers:
        assert worker.wait() == 0
    for key in keys:
        served = instants(key)
        assert len(served) == len(set(served)), key  # none twice
        assert served == sorted(served)
        assert served[-1] - served[0] == timedelta(seconds=len(served) - 1), key  # none left out
    assert stage.most_together(*keys[:1]) == 1


@pytest.mark.once("oldest")
@pytest.mark.parametrize("policy", ["coalescing", "complete", "skipping"])
def test_11_periods_missed_are_made_up_for_as_declared_row_220(theatre: Theatre, policy: str) -> None:
    stage = theatre.stage
    (reader,) = theatre.mortals(1, env=timed(**{policy: 60}))
    key = policy if policy != "complete" else "complete/a"
    stage.write("domain.json", ["complete/a"])
    both_work([reader], 0, policy)
    first = seconds_to(key)
    nominal = slot(key)["nominal"]
    both_work([reader], first + 1, policy)
    assert instants(key) == [nominal]
    worker = theatre.worker(
        "--once",
        "--products",
        policy,
        wait=False,
        env={**timed(**{policy: 60}), "KCK_FLOW_CLOCK_OFFSET": str(first + 30 * 60 + 5)},
    )
    assert worker.wait() == 0, worker.output
    later = [nominal + timedelta(minutes=number) for number in range(1, 31)]
    if policy == "complete":
        assert instants(key) == [nominal, *later]
    elif policy == "coalescing":
        assert instants(key) == [nominal, later[0]]
        assert "catchup.coalesced key=coalescing count=30" in worker.output
    else:
        assert instants(key) == [nominal]
    assert slot(key)["nominal"] == nominal + timedelta(minutes=31)


def test_12_a_clock_that_jumps_over_half_past_two_runs_the_job_once_at_three(theatre: Theatre) -> None:
    stage = theatre.stage
    berlin = ZoneInfo("Europe/Berlin")
    for before, expected in (
        (
            datetime(2027, 3, 27, 12, tzinfo=berlin),
            [datetime(2027, 3, 28, 3, 0, tzinfo=berlin), datetime(2027, 3, 29, 2, 30, tzinfo=berlin)],
        ),
        (
            datetime(2027, 10, 30, 12, tzinfo=berlin),
            [datetime(2027, 10, 31, 2, 30, tzinfo=berlin), datetime(2027, 11, 1, 2, 30, tzinfo=berlin)],
        ),
    ):
        sql("TRUNCATE kck_refresh, kck_run, kck_family, kck_product")
        offset = (before - datetime.now(UTC)).total_seconds()
        (reader,) = theatre.mortals(1, env=timed(coalescing="30 2 * * *"))
        both_work([reader], offset, "coalescing")
        for hours in range(2, 44, 2):
            both_work([reader], offset + hours * 3600, "coalescing")
        assert instants("coalescing") == [instant.astimezone(UTC) for instant in expected]
        assert stage.begun("coalescing") in (2, 4)


def test_15_a_schedule_changed_while_it_runs_is_followed_from_then_on(theatre: Theatre) -> None:
    """The old release computes when the new one puts another rule in force; the old rule never fires again."""
    stage = theatre.stage
    (old,) = theatre.mortals(1, env=timed(coalescing=60), LEASE_SECONDS=HELD)
    both_work([old], 0, "coalescing")
    first = seconds_to("coalescing")
    stage.script("coalescing", ["hold", "gate"], run=1)
    old.ask("shift", first + 1)
    old.tell("work", "coalescing")
    stage.wait_at("coalescing", "gate")
    (new,) = theatre.mortals(1, env=timed(coalescing=far_off()))
    both_work([new], first + 1, "coalescing")
    following = slot("coalescing")["nominal"]
    stage.open("gate")
    old.answer()
    assert outcomes("coalescing") == ["done"]
    assert (
        slot("coalescing")["nominal"],
        slot("coalescing")["due_at"] >= following - timedelta(minutes=20),
    ) == (following, True)
    both_work([new], first + 600, "coalescing")
    assert stage.begun("coalescing") == 1
    both_work([new], (following - datetime.now(UTC)).total_seconds() + 5, "coalescing")
    assert stage.begun("coalescing") == 2


@pytest.mark.once("newest")
def test_15_of_two_releases_the_one_started_last_decides_and_the_other_lets_it_be(theatre: Theatre) -> None:
    stage = theatre.stage
    old = theatre.worker(env=timed(coalescing=3600))
    before = one("SELECT schedule_digest FROM kck_family WHERE key_base = 'coalescing'")
    new = theatre.worker(env=timed(coalescing=1))
    in_force = one("SELECT schedule_digest FROM kck_family WHERE key_base = 'coalescing'")
    assert in_force != before
    stage.wait_begun("coalescing", 4)
    # A child of the old release begins again, with the old code: it changes nothing.
    (child,) = [row[0] for row in sql("SELECT pid FROM kck_worker ORDER BY id LIMIT 1")]
    os.kill(child, signal.SIGKILL)
    until(lambda: one("SELECT count(*) FROM kck_worker WHERE pid <> %s", child) == 2, "its place to be taken")
    assert one("SELECT schedule_digest FROM kck_family WHERE key_base = 'coalescing'") == in_force
    stage.wait_begun("coalescing", 7)
    assert old.alive
    assert new.alive


def test_16_an_old_release_neither_runs_nor_disturbs_a_product_it_does_not_know(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    old = theatre.worker()
    newer = theatre.mortals(1, env={"KCK_TEST_NEW": "1"})[0]
    newer.ask("request", "newcomer/x")
    reader.ask("request", "act/x")
    stage.wait_ended("act/x")  # the old one works, and passes the other by
    assert stage.begun("newcomer/x") == 0
    new = theatre.worker(env={"KCK_TEST_NEW": "1"})
    stage.wait_ended("newcomer/x")
    until(lambda: value_of("newcomer/x") == "newcomer/x#1", "its value to be stored")
    assert not [line for line in old.lines if line.startswith("ERROR")], old.output
    assert new.alive


def test_16_an_older_version_does_not_put_its_declaration_back_in_force(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.write("domain.json", ["troupe/a"])
    new = theatre.mortals(1, env={**timed(troupe=60), "KCK_TEST_VERSION": "2"})[0]
    both_work([new], 0, "troupe")
    row = "SELECT schedule_digest, primer_version FROM kck_family WHERE key_base = 'troupe'"
    in_force, planned = sql(row), slot("troupe/a")["nominal"]
    for env in ({**timed(troupe=5), "KCK_TEST_VERSION": "1"}, {"KCK_TEST_VERSION": "1"}):
        old = theatre.mortals(1, env=env)[0]
        both_work([old], 0, "troupe")
        assert sql(row) == in_force
        assert slot("troupe/a")["nominal"] == planned


def test_16_an_older_release_leaves_a_due_instant_to_the_newer_and_serves_it_where_that_is_gone(
    theatre: Theatre,
) -> None:
    stage = theatre.stage
    stage.write("domain.json", ["troupe/a"])
    (new,) = theatre.mortals(1, env=timed(troupe=60))
    both_work([new], 0, "troupe")
    first = seconds_to("troupe/a")
    old, older = (
        theatre.mortals(1, env={**env, "KCK_TEST_VERSION": "1"})[0] for env in (timed(troupe=5), {})
    )
    sql("UPDATE kck_family SET primer_version = 2")  # as the newer release's declaration would stand
    for release in (old, older):
        both_work([release], first + 1, "troupe")
        assert stage.begun("troupe/a") == 0
    assert seconds_to("troupe/a") < first + 1  # the instant is not lost
    # Nobody else has come. The one without a schedule gives it back, for a tenth of the time it was late.
    both_work([older], first + 45, "troupe")
    assert stage.begun("troupe/a") == 0
    both_work([old], first + 60, "troupe")
    assert stage.begun("troupe/a") == 1
    both_work([older], first + 90, "troupe")
    assert stage.begun("troupe/a") == 1
    both_work([old], first + 110, "troupe")
    assert stage.begun("troupe/a") == 2


def test_74_a_paused_family_is_not_refreshed_by_the_clock_and_goes_on_when_resumed(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.write("domain.json", ["troupe/a"])
    (reader,) = theatre.mortals(1, env=timed(troupe=60))
    both_work([reader], 0, "troupe")
    first = seconds_to("troupe/a")
    manage = theatre.crew.manage
    assert manage("kck", "pause", "troupe", "--note", "the source moves", env=stage.env).wait() == 0
    both_work([reader], first + 1, "troupe")
    assert stage.begun("troupe/a") == 0
    refused = manage("kck", "refresh", "troupe/a", env=stage.env)
    assert refused.wait() != 0
    assert "--force" in refused.output
    assert manage("kck", "refresh", "troupe/a", "--force", env=stage.env).wait() == 0
    assert stage.begun("troupe/a") == 1
    assert manage("kck", "resume", "troupe", env=stage.env).wait() == 0
    both_work([reader], first + 61, "troupe")
    assert stage.begun("troupe/a") == 2


def test_218_a_function_on_a_schedule_runs_once_a_period_under_five_schedulers(theatre: Theatre) -> None:
    stage = theatre.stage
    schedulers = theatre.mortals(5 if FULL else 3, env=timed(sweep=60))
    both_work(schedulers, 0, "sweep")
    first, asked_at = seconds_to("sweep"), time.monotonic()
    periods = 100 if FULL else 20
    for period in range(periods):
        # The clock is moved from now, and a busy machine takes more than a period for them all.
        both_work(schedulers, first + 60 * period + 1 - (time.monotonic() - asked_at), "sweep")
    assert stage.begun("sweep") == periods
    assert len(set(instants("sweep"))) == periods


def test_219_periods_that_come_while_an_action_runs_are_skipped(theatre: Theatre) -> None:
    stage = theatre.stage
    stage.script("sweep", ["hold", "gate"], run=1)
    for _ in range(2):
        theatre.worker(env=timed(sweep=1))
    stage.wait_at("sweep", "gate")
    began_at = slot("sweep")["nominal"]
    until(
        lambda: one("SELECT clock_timestamp() > %s + interval '2.2 seconds'", began_at),
        "two more periods to have begun",
    )
    assert stage.begun("sweep") == 1
    stage.open("gate")
    stage.wait_ended("sweep", 3)
    until(lambda: len(instants("sweep")) >= 3, "their runs to be told")
    served = instants("sweep")
    assert served[0] == began_at
    assert served[1] - served[0] >= timedelta(seconds=3)  # those in between are left out
    assert stage.most_together("sweep") == 1


@pytest.mark.parametrize("policy", ["queue", "parallel"])
def test_219_periods_that_come_while_an_action_runs_are_queued_or_run_beside_it(
    theatre: Theatre, policy: str
) -> None:
    stage = theatre.stage
    name = f"sweep_{policy}"
    env = timed(**{name: 60})
    first_one, second = theatre.mortals(2, env=env, LEASE_SECONDS=HELD)
    both_work([first_one, second], 0, name)
    first = seconds_to(name)
    stage.script(name, ["hold", "gate"], run=1)
    first_one.ask("shift", first + 1)
    first_one.tell("work", name)
    stage.wait_at(name, "gate")
    # Two further periods come while the first still runs.
    both_work([second], first + 61, name)
    both_work([second], first + 121, name)
    during = stage.begun(name) - 1
    assert during == (2 if policy == "parallel" else 0)
    stage.open("gate")
    first_one.answer()
    both_work([second], first + 125, name)
    assert stage.begun(name) == 3
    both_work([second], first + 181, name)
    assert stage.begun(name) == 4
    assert stage.most_together(name) == (2 if policy == "parallel" else 1)


def test_221_one_failing_entry_does_not_stop_the_others(theatre: Theatre) -> None:
    stage = theatre.stage
    (reader,) = theatre.mortals(1, env=timed(sweep=60, sweep_queue=60, coalescing=60))
    stage.script("sweep", ["fail", "no broom"])
    names = ("sweep", "sweep_queue", "coalescing")
    both_work([reader], 0, *names)
    first = max(seconds_to(name) for name in names)
    for minute in range(3):
        both_work([reader], first + 60 * minute + 1, *names)
    assert stage.begun("sweep_queue") == stage.begun("coalescing") == 3
    assert outcomes("sweep").count("failed") == stage.begun("sweep") >= 3
    assert outcomes("coalescing") == ["done"] * 3
