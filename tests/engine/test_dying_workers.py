"""Workers that die, freeze, are told to stop or lose their database: tests 1 to 7, 17 and 18 of the engine."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import Server
from tests.harness.daemons import Daemon
from tests.harness.pgbouncer import Pooler
from tests.harness.processes import Crew
from tests.harness.proxy import Proxy
from tests.stage.directing import House, Reader, Stage, Theatre, one, outcomes, slot, sql, until, value_of


def test_1_a_killed_workers_refresh_starts_elsewhere_at_once_and_one_value_is_stored_g7(
    theatre: Theatre,
) -> None:
    """The lease is sixty seconds; the dead worker is noticed by its lock."""
    stage, reader = theatre.stage, theatre.reader()
    workers = [theatre.worker("--lease", "60", "--poll", "60") for _ in range(2)]
    stage.script("act/x", ["hold", "never"], run=1)
    reader.ask("request", "act/x")
    first = stage.wait_at("act/x", "never")
    os.kill(first.pid, signal.SIGKILL)
    second = stage.wait_begun("act/x", 2, limit=20)
    assert second.at - first.at < 30  # the lease had sixty to go
    until(lambda: value_of("act/x") == "act/x#2", "the second to store its value")
    assert outcomes("act/x") == ["lost", "done"]
    said = "\n".join(worker.output for worker in workers)
    assert said.count("worker.reaped") == 1
    # Its parent has begun another child.
    until(lambda: one("SELECT count(*) FROM kck_worker") == 2, "the place of the dead to be taken")


def test_nothing_is_being_refreshed_once_the_only_worker_is_killed_row_50(theatre: Theatre) -> None:
    """Its lease has an hour to go, and nobody is there to end it."""
    stage, reader = theatre.stage, theatre.reader()
    worker = theatre.worker("--lease", "3600", "--poll", "60")
    stage.script("act/x", ["hold", "never"])
    reader.ask("request", "act/x")
    held = stage.wait_at("act/x", "never")
    until(
        lambda: one("SELECT min(started_at) < clock_timestamp() - interval '2 seconds' FROM kck_worker"),
        "the worker to be known for a while",
    )
    assert reader.ask("is_refreshing", "act/x")
    worker.kill()
    os.kill(held.pid, signal.SIGKILL)
    until(lambda: not reader.ask("is_refreshing", "act/x"), "its lock to be gone", limit=5)
    assert one("SELECT lease_until > clock_timestamp() FROM kck_refresh WHERE key = 'act/x'")


@contextlib.contextmanager
def slow_claims(begin: str, *, seconds: float) -> Iterator[None]:
    """Inside the block each product's claim takes so long, where its key begins so."""
    slow = f"BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END"
    try:
        sql(f"CREATE FUNCTION test_slow_claim() RETURNS trigger LANGUAGE plpgsql AS '{slow}'")
        sql(
            f"""CREATE TRIGGER test_slow_claim BEFORE UPDATE ON kck_refresh FOR EACH ROW
            WHEN (NEW.token > OLD.token AND starts_with(NEW.key, '{begin}')) EXECUTE FUNCTION test_slow_claim()"""
        )
        yield
    finally:
        sql("DROP FUNCTION IF EXISTS test_slow_claim() CASCADE")


@pytest.mark.needs_pgbouncer
def test_2_behind_a_pooler_the_lease_is_how_a_dead_worker_is_noticed_and_the_banner_says_so_g7(
    theatre: Theatre, pooler: Pooler
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    workers = [theatre.worker("--lease", "2", url=pooler.url, env={"KCK_TEST_POOLED": "1"}) for _ in range(2)]
    for worker in workers:
        assert re.search(r"mode poll: pooler suspected", worker.output)
        assert "wake.listen_unavailable" in worker.output
        assert "transaction pooler?" in worker.output
    stage.script("act/x", ["hold", "never"], run=1)
    reader.ask("request", "act/x")
    os.kill(stage.wait_at("act/x", "never").pid, signal.SIGKILL)
    stage.wait_begun("act/x", 2, limit=20)
    until(lambda: value_of("act/x") == "act/x#2", "the second to store its value")
    assert outcomes("act/x") == ["lost", "done"]
    # Nothing of a session is left with the pooler's servers.
    assert one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


def test_3_a_frozen_workers_late_result_is_refused_g6(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    workers = [theatre.worker("--lease", "1"), theatre.worker("--lease", "1")]
    stage.script("act/x", ["hold", "gate"], run=1)
    reader.ask("request", "act/x")
    frozen = stage.wait_at("act/x", "gate").pid
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: value_of("act/x") == "act/x#2", "the other to have finished")
    after = slot("act/x")
    stage.open("gate")
    os.kill(frozen, signal.SIGCONT)
    until(lambda: "refresh.fenced" in workers[0].output + workers[1].output, "the late result to be refused")
    now = slot("act/x")
    assert {name: now[name] for name in ("want", "have", "token", "lease_until", "crashes")} == {
        name: after[name] for name in ("want", "have", "token", "lease_until", "crashes")
    }
    assert value_of("act/x") == "act/x#2"
    assert outcomes("act/x") == ["done", "fenced"]
    # The thawed worker goes on working.
    for number in range(4):
        reader.ask("request", f"act/more{number}")
    until(lambda: all(value_of(f"act/more{number}") for number in range(4)), "both to go on")


def test_4_zombies_never_overwrite_a_later_token_g6(theatre: Theatre) -> None:
    """Workers frozen at random moments past their leases: one value for each token that ended, none from an
    older one.
    """
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act", ["sleep", 0.05])
    for _ in range(2):
        theatre.worker("--lease", "1", "--concurrency", "2", "--claim", "2")
    children = until(
        lambda: len(found := [row[0] for row in sql("SELECT pid FROM kck_worker")]) == 4 and found,
        "four children",
    )
    keys = [f"act/{number}" for number in range(8)]
    for turn in range(6):
        for key in keys:
            reader.ask("request", key)
        frozen = children[turn % 4]
        stage.wait_begun(keys[turn])
        os.kill(frozen, signal.SIGSTOP)
        until(
            lambda: one("SELECT count(*) FROM kck_refresh WHERE want > have") == 0,
            "the others to do its work",
            limit=40,
        )
        os.kill(frozen, signal.SIGCONT)
    until(
        lambda: one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL OR want > have") == 0,
        "quiet",
        limit=40,
    )
    for key in keys:
        rows = sql("SELECT token, outcome, version FROM kck_run WHERE key = %s ORDER BY id", key)
        stored = [(token, version) for token, outcome, version in rows if outcome == "done"]
        assert len({token for token, _ in stored}) == len(stored)
        assert [token for token, _ in stored] == sorted(token for token, _ in stored)
        assert [version for _, version in stored] == list(range(1, len(stored) + 1))
        last = stored[-1][0]
        # What is stored is what the compute of the last token that ended well returned.
        assert one("SELECT token FROM kck_refresh WHERE key = %s", key) >= last
        assert value_of(key) is not None


@pytest.mark.parametrize("told", ["alone", "as a group"])
def test_5_told_to_stop_it_ends_what_it_can_and_gives_the_rest_back_row_72(
    theatre: Theatre, told: str
) -> None:
    """Service managers signal every process of a group: that is one wish to stop, not a second one."""
    stage, reader = theatre.stage, theatre.reader()
    worker = theatre.worker("--concurrency", "2", "--grace", "2", "--lease", "60")
    stage.script("act/short", ["hold", "gate"])
    stage.script("act/long", ["hold", "never"], run=1)
    reader.ask("request", "act/short")
    reader.ask("request", "act/long")
    stage.wait_at("act/short", "gate")
    stage.wait_at("act/long", "never")
    crashes = slot("act/long")["crashes"] - 1
    if told == "alone":
        worker.send(signal.SIGTERM)
    else:
        os.killpg(worker.pid, signal.SIGTERM)
    worker.wait_for("worker.stopping")
    reader.ask("request", "act/later")
    stage.open("gate")
    assert worker.wait(limit=20) == 0
    assert value_of("act/short") == "act/short#1"
    assert "refresh.released key=act/long" in worker.output
    assert slot("act/long")["crashes"] == crashes
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == 0
    assert one("SELECT count(*) FROM kck_worker") == 0
    assert stage.begun("act/later") == 0  # it claimed nothing more
    theatre.worker()
    stage.wait_begun("act/long", 2, limit=20)
    until(lambda: value_of("act/long") == "act/long#2", "another to do the rest")


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_6_told_twice_it_stops_at_once_and_leaves_no_lease_row_72(theatre: Theatre, executor: str) -> None:
    stage, reader = theatre.stage, theatre.reader()
    at_once = [] if executor == "inline" else ["--concurrency", "2"]
    worker = theatre.worker("--executor", executor, *at_once, "--grace", "60")
    stage.script("act/long", ["hold", "never"])
    reader.ask("request", "act/long")
    stage.wait_at("act/long", "never")
    worker.send(signal.SIGTERM)
    worker.wait_for("worker.stopping")
    worker.send(signal.SIGTERM)
    assert worker.wait(limit=10) == 130
    assert "Traceback" not in worker.output
    assert not slot("act/long")["leased"]
    assert slot("act/long")["crashes"] == 0
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == 0


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_told_twice_while_it_claims_it_leaves_no_lease_either_row_72(theatre: Theatre, executor: str) -> None:
    """What it is told then, it hears when the claim has come back: with leases that nobody has begun."""
    reader = theatre.reader()
    at_once = [] if executor == "inline" else ["--concurrency", "2"]
    worker = theatre.worker("--executor", executor, *at_once, "--claim", "10", "--poll", "60")
    with slow_claims("act/slow", seconds=0.3):
        reader.ask("many_requests", [f"act/slow{number}" for number in range(5)])
        until(
            lambda: one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
            "a worker to be in its claim",
            limit=20,
        )
        worker.send(signal.SIGTERM)
        time.sleep(0.2)  # two signals at once are one
        worker.send(signal.SIGTERM)
        assert worker.wait(limit=20) in (0, 130)
    assert "Traceback" not in worker.output
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == 0
    assert one("SELECT max(crashes) FROM kck_refresh") == 0


def test_7_a_product_that_kills_its_process_is_parked_and_takes_nobody_along_row_67(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/poison", ["exit", 9])
    workers = [
        theatre.worker("--claim", "10", "--lease", "60"),
        theatre.worker("--claim", "10", "--lease", "60"),
    ]
    others = [f"act/{number}" for number in range(60)]
    for key in others[:30]:
        reader.ask("request", key)
    reader.ask("request", "act/poison")
    for key in others[30:]:
        reader.ask("request", key)
    until(lambda: all(value_of(key) for key in others), "the others to be done", limit=60)
    pauses = []
    while not slot("act/poison")["parked_at"]:
        crashes = slot("act/poison")["crashes"]
        until(
            lambda n=crashes: (
                (now := slot("act/poison"))["parked_at"] or (not now["leased"] and now["crashes"] >= n)
            ),
            "its process to be missed",
        )
        left = sql(
            "SELECT crashes, extract(epoch FROM due_at - clock_timestamp())::float8 FROM kck_refresh"
            " WHERE key = 'act/poison' AND parked_at IS NULL AND lease_until IS NULL"
        )
        if left and left[0][1] > 0.5:
            crashes = left[0][0]
            pauses.append(left[0][1])
            sql(
                "UPDATE kck_refresh SET due_at = clock_timestamp() WHERE key = 'act/poison'"
            )  # as if the pause were over
        until(
            lambda n=crashes: (now := slot("act/poison"))["parked_at"] or now["crashes"] > n,
            "the next to try",
        )
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses)), pauses
    assert 2 <= len(pauses) <= 5
    parked = slot("act/poison")
    assert parked["parked_why"] == "crashed"
    assert parked["due_at"] is None
    assert stage.begun("act/poison") == 5
    assert outcomes("act/poison") == ["lost"] * 5 + ["failed"]
    for key in others:
        assert (slot(key)["parked_at"], slot(key)["crashes"], stage.begun(key)) == (None, 0, 1), key
    assert sum("refresh.parked" in line for worker in workers for line in worker.lines) == 1
    # Said to try again, it is tried.
    assert theatre.crew.manage("kck", "retry", "act/poison", env=stage.env).wait() == 0
    stage.wait_begun("act/poison", 6)


def test_7_threads_beside_a_product_that_kills_their_process_are_not_parked_with_it_row_67(
    theatre: Theatre,
) -> None:
    """The process ends with all that runs in it, and its parent begins another."""
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/poison", ["exit", 9])
    stage.script("act", ["sleep", 0.3])
    others = [f"act/{number}" for number in range(6)]
    reader.ask("many_requests", [*others[:3], "act/poison", *others[3:]])

    def over(worker: Daemon) -> bool:
        # Let the growing pauses before the next try be over.
        sql("UPDATE kck_refresh SET due_at = clock_timestamp() WHERE due_at > clock_timestamp()")
        return not worker.alive or slot("act/poison")["parked_at"] is not None

    worker = theatre.worker("--executor", "thread", "--concurrency", "4")
    until(lambda: over(worker), "the poison to be parked", limit=60)
    assert worker.alive
    assert slot("act/poison")["parked_why"] == "crashed"
    until(lambda: all(value_of(key) for key in others), "the others to be done", limit=60)
    assert [key for key in others if slot(key)["parked_at"]] == []


def test_children_whose_parent_is_killed_end_within_their_grace_row_72(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    worker = theatre.worker("--concurrency", "2", "--grace", "1", "--lease", "60")
    until(lambda: one("SELECT count(*) FROM kck_worker") == 2, "both children")
    stage.script("act/long", ["hold", "never"])
    reader.ask("request", "act/long")
    stage.wait_at("act/long", "never")
    os.kill(worker.pid, signal.SIGKILL)
    until(lambda: one("SELECT count(*) FROM kck_worker") == 0, "both to be gone", limit=20)
    assert not slot("act/long")["leased"]
    assert slot("act/long")["crashes"] == 0


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_told_to_stop_while_its_children_are_replaced_it_stops_row_72(
    theatre: Theatre, executor: str
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    worker = theatre.worker("--executor", executor, "--concurrency", "2", "--grace", "1", "--lease", "60")
    stage.script("act/long", ["hold", "never"])
    reader.ask("request", "act/long")
    stage.wait_at("act/long", "never")
    worker.send(signal.SIGHUP)
    if executor == "process":  # the child at rest makes room at once; the other ends what it runs
        until(lambda: worker.output.count("products ") == 3, "one to be replaced")
    worker.send(signal.SIGTERM)
    assert worker.wait(limit=20) == 0
    assert "refresh.released key=act/long" in worker.output
    assert slot("act/long")["crashes"] == 0
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == 0
    assert one("SELECT count(*) FROM kck_worker") == 0


@pytest.mark.parametrize("executor", ["process", "thread", "inline"])
def test_while_it_computes_it_looks_alive_and_shows_what_runs(
    theatre: Theatre, tmp_path: Path, executor: str
) -> None:
    stage, reader, alive = theatre.stage, theatre.reader(), tmp_path / "alive"
    at_once = [] if executor == "inline" else ["--concurrency", "2"]
    worker = theatre.worker("--executor", executor, *at_once, "--alive-file", str(alive), "--poll", "60")
    stage.script("act/long", ["hold", "gate"])
    reader.ask("request", "act/long")
    pid = stage.wait_at("act/long", "gate").pid
    os.utime(alive, (0, 0))
    until(lambda: alive.stat().st_mtime > 0, "the file to be touched")
    os.kill(pid, signal.SIGUSR1)
    worker.wait_for(rf"^worker pid {pid}$")
    worker.wait_for(r"^running act/long for \d")
    worker.wait_for(r"in play$")
    stage.open("gate")
    until(lambda: value_of("act/long") == "act/long#1", "it to go on")


def test_it_begins_anew_when_the_code_changes(theatre: Theatre, tmp_path: Path) -> None:
    stage, reader = theatre.stage, theatre.reader()
    project = tmp_path / "project_settings.py"
    project.write_text("from tests.stage.settings import *\n")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    worker = theatre.worker(
        "--reload", env={"DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONPATH": path}
    )
    project.write_text("from tests.stage.settings import *\nMORE =\n")
    worker.wait_for("worker.not_reloaded")
    project.write_text("from tests.stage.settings import *\nMORE = 1\n")
    worker.wait_for("worker.reloading")
    worker.wait_for(r"worker w\d+ pid \d+")
    reader.ask("request", "act/x")
    until(lambda: value_of("act/x") == "act/x#1", "the new one to work")
    assert worker.stop() == 0
    assert stage.begun() == 1


@pytest.mark.parametrize("executor", ["process", "thread"])
def test_a_compute_past_its_limit_costs_a_worker_no_place_row_59(theatre: Theatre, executor: str) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("guarded", ["hold", "never"])
    worker = theatre.worker("--executor", executor, "--concurrency", "2", "--grace", "1")
    reader.ask("many_requests", ["guarded/a", "guarded/b"])
    stage.wait_at("guarded/a", "never")
    stage.wait_at("guarded/b", "never")
    reader.ask("request", "act/x")  # both are busy: only when a limit is over does it get its turn
    until(lambda: value_of("act/x") == "act/x#1", "another to be done")
    until(lambda: slot("guarded/a")["attempts"] and slot("guarded/b")["attempts"], "both to have failed")
    assert "compute_limit" in slot("guarded/a")["last_error"]
    stage.wait_begun("guarded/a", 2)
    worker.send(signal.SIGTERM)
    assert worker.wait(limit=20) == 0


@pytest.fixture
def elsewhere(own_server: Server, tmp_path) -> Theatre:  # type: ignore[no-untyped-def,misc]
    """A stage on a server of its own, that may crash."""
    with Crew(own_server.url) as crew:
        yield Theatre(Stage(tmp_path), crew, House(own_server.url))


def test_17_a_crash_of_the_database_is_survived_and_workers_hear_again_g7(
    elsewhere: Theatre, own_server: Server
) -> None:
    stage, reader = elsewhere.stage, elsewhere.mortal()
    stage.script("act", ["sleep", 0.02])
    workers = [
        elsewhere.worker("--poll", "30", "--lease", "60"),
        elsewhere.worker("--poll", "30", "--lease", "60"),
    ]
    for number in range(40):
        reader.ask("request", f"act/{number}")
    until(lambda: stage.begun() >= 10, "load")
    own_server.crash()
    for worker in workers:
        worker.wait_for("db.lost")
    own_server.start()
    for worker in workers:
        worker.wait_for("db.back", limit=20)
        assert worker.alive
        assert "child_ended" not in worker.output
    wanted = [f"act/{number}" for number in range(40)]
    until(lambda: _stored(reader, wanted) == 40, "all wishes to be honoured", limit=60)
    # They hear again: the next poll is thirty seconds away. The first wish may meet one not at rest yet, not all.
    until(lambda: all(worker.output.count("mode listen") >= 2 for worker in workers), "both to listen again")
    for number in range(4):
        reader.ask("request", f"act/heard{number}")
        stage.wait_ended(f"act/heard{number}", limit=15)
    assert until(
        lambda: (
            reader.ask("sql", "SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == [["0"]]
        ),
        "no lease to be left",
    )


def _stored(reader: Reader, keys: list[str]) -> int:
    listed = ", ".join(f"'{key}'" for key in keys)
    return int(
        reader.ask("sql", f"SELECT count(*) FROM kck_product WHERE state = 'value' AND key IN ({listed})")[0][
            0
        ]
    )


def test_18_a_half_open_network_is_noticed_and_the_work_done_elsewhere_g6(
    theatre: Theatre, proxy: Proxy
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    cut_off = theatre.worker("--lease", "2", "--grace", "1", url=proxy.url, STATEMENT_TIMEOUT=1)
    stage.script("act/x", ["hold", "gate"], run=1)
    reader.ask("request", "act/x")
    stage.wait_at("act/x", "gate")
    well = theatre.worker("--lease", "2")
    proxy.hang()
    until(lambda: value_of("act/x") == "act/x#2", "its refresh to run elsewhere", limit=30)
    stage.open("gate")
    cut_off.wait_for("db.lost", limit=40)
    cut_off.send(signal.SIGTERM)
    assert cut_off.wait(limit=20) == 0
    assert value_of("act/x") == "act/x#2"
    assert well.alive
