"""The queue over time: failures, limits, recycling, a million slots. Tests 19, 20, 22 and 25 of the engine;
rows 66, 70, 73 to 78.
"""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime

import pytest

from tests.stage.directing import FULL, Theatre, one, outcomes, slot, sql, until, value_of


def data_of(lines: list[str]) -> object:
    """Return the JSON that a command printed."""
    text = "\n".join(lines)
    return json.loads(text[re.search(r"^[\[{]", text, re.M).start() :])  # type: ignore[union-attr]


def test_22_a_failing_product_is_tried_at_growing_pauses_and_served_stale_meanwhile(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("frail/x", ["fail", "down"])
    stage.script("frail/x", ["value", "up"], run=5)
    reader.ask("set", "frail/x", "old")
    theatre.worker()
    reader.ask("request", "frail/x")
    pauses = []
    for attempt in range(1, 5):
        until(lambda n=attempt: slot("frail/x")["attempts"] == n, f"failure {attempt}")
        pauses.append(
            one(
                "SELECT extract(epoch FROM retry_at - last_error_at)::float8 FROM kck_refresh WHERE key = 'frail/x'"
            )
        )
        now = slot("frail/x")  # the worker waits for the back-off as readers do
        assert abs((now["due_at"] - now["retry_at"]).total_seconds()) < 1
        assert reader.get("frail/x") == "old"
        assert stage.begun("frail/x") == attempt
        sql(
            "UPDATE kck_refresh SET due_at = clock_timestamp(), retry_at = clock_timestamp() WHERE key = 'frail/x'"
        )
    for pause, base in zip(pauses, (10, 20, 40, 40), strict=True):
        assert base * 0.5 <= pause <= base * 1.5 + 0.1, pauses
    until(lambda: slot("frail/x")["attempts"] == 0, "the success to reset the ladder")
    assert reader.get("frail/x") == "up"
    assert outcomes("frail/x") == ["failed"] * 4 + ["done"]


def test_a_compute_that_ends_badly_is_recorded_and_tried_again_and_the_last_good_value_served(
    theatre: Theatre,
) -> None:
    """Whatever it does: its worker goes on, and nobody else's refresh is the worse for it."""
    stage, reader = theatre.stage, theatre.reader()
    ways = {
        "ValueError: down": ["fail", "down"],
        "SystemExit: 3": ["sys.exit", 3],
        "CancelledError": ["cancel"],
        "UnstorableValue: ": ["unstorable"],
        "ComputeTimeout: ": ["hold", "never"],
    }
    keys = [f"guarded/{number}" for number in range(len(ways))]
    for key, step in zip(keys, ways.values(), strict=True):
        reader.ask("set", key, "old")
        stage.script(key, step, run=1)
    worker = theatre.worker()
    (pid,) = sql("SELECT pid FROM kck_worker")[0]
    for key in keys:
        reader.ask("request", key)
        stage.wait_begun(key)
        assert reader.get(key) in ("old", f"{key}#2")
    for key, told in zip(keys, ways, strict=True):
        until(lambda key=key: value_of(key) == f"{key}#2", f"{key} to be tried again")
        assert outcomes(key) == ["failed", "done"]
        error = one("SELECT error FROM kck_run WHERE key = %s AND outcome = 'failed'", key)
        assert error.startswith(told)
        assert slot(key)["crashes"] == slot(key)["attempts"] == 0
        assert f"refresh.failed key={key} " in worker.output
    assert {line.pid for line in stage.ledger("begin")} == {pid}
    assert worker.output.count("child_ended") == 0


def test_22_66_a_product_that_fails_for_ever_is_parked_and_revived_by_retry(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("quick/x", ["fail", "no such table"])
    worker = theatre.worker()
    reader.ask("request", "quick/x")
    worker.wait_for("refresh.parked key=quick/x")
    parked = slot("quick/x")
    assert (parked["attempts"], parked["parked_why"], parked["due_at"]) == (4, "failed", None)
    assert stage.begun("quick/x") == 4
    assert one("SELECT count(*) FROM kck_refresh") == 1
    listed = theatre.crew.manage("kck", "refreshes", "--parked", "--format", "json", env=stage.env)
    assert listed.wait() == 0
    assert "no such table" in listed.output
    reader.ask("request", "quick/x")  # a wish does not revive what is parked
    assert slot("quick/x")["due_at"] is None
    stage.script("quick/x", ["value", "found"])
    assert theatre.crew.manage("kck", "retry", "quick/x", env=stage.env).wait() == 0
    until(lambda: value_of("quick/x") == "found", "the revived to be computed")
    assert slot("quick/x")["parked_at"] is None
    assert slot("quick/x")["attempts"] == 0


def test_73_a_limited_primer_never_runs_twice_at_once_and_frees_its_place_when_its_worker_dies(
    theatre: Theatre,
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("single", ["sleep", 0.03])
    stage.script("single/0", ["hold", "never"], run=1)
    reader.ask("request", "single/0")
    for _ in range(4):
        theatre.worker("--concurrency", "2", "--lease", "60")
    held = stage.wait_at("single/0", "never")
    reader.ask("many_requests", [f"single/{number}" for number in range(1, 20)])
    reader.ask("many_requests", [f"act/{number}" for number in range(20)])
    until(
        lambda: one("SELECT count(*) FROM kck_product WHERE key_base = 'act'") == 20, "others to pass it by"
    )
    assert stage.begun() == 21
    os.kill(held.pid, signal.SIGKILL)  # the place is free with the lease, not after sixty seconds
    until(
        lambda: one("SELECT count(*) FROM kck_product WHERE key_base = 'single' AND state = 'value'") == 20,
        "all of them",
        limit=40,
    )
    lines = [line for line in stage.ledger() if line.key.startswith("single/") and line.pid != held.pid]
    now = most = 0
    for line in lines:
        now += (line.kind == "begin") - (line.kind == "end")
        most = max(most, now)
    assert most == 1


def test_70_a_worker_that_does_what_is_due_exits_with_0_and_with_3_where_some_failed(
    theatre: Theatre,
) -> None:
    stage, reader = theatre.stage, theatre.reader()
    for key in ("act/a", "act/b"):
        reader.ask("request", key)
    assert theatre.worker("--once", wait=False).wait() == 0
    assert sorted(stage.keys()) == ["act/a", "act/b"]
    stage.script("act/c", ["fail", "no"])
    reader.ask("request", "act/c")
    assert theatre.worker("--once", wait=False).wait() == 3
    assert theatre.worker("--once", wait=False).wait() == 0  # it backs off: nothing is due


def test_70_a_worker_that_does_what_is_due_ends_no_sooner_and_leaves_no_lease(theatre: Theatre) -> None:
    """What it gives back of a batch that takes long is its own to do."""
    stage, reader = theatre.stage, theatre.reader()
    keys = [f"act/{number}" for number in range(60)]
    stage.script("act", ["sleep", 0.02])
    reader.ask("many_requests", keys)
    assert theatre.worker("--once", "--claim", "60", wait=False).wait() == 0
    assert one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL OR want > have") == 0
    assert sorted(stage.keys()) == sorted(keys)


def test_70_a_worker_that_does_what_is_due_does_so_many_at_once(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    for name in ("a", "b"):
        stage.script(f"act/{name}", ["hold", "gate"])
        reader.ask("request", f"act/{name}")
    worker = theatre.worker("--once", "--concurrency", "2", wait=False)
    for name in ("a", "b"):
        stage.wait_at(f"act/{name}", "gate")
    stage.open("gate")
    assert worker.wait() == 0
    assert one("SELECT count(*) FROM kck_worker") == 0
    stage.script("act/c", ["fail", "no"])
    reader.ask("many_requests", ["act/c", "act/d", "act/e"])
    assert theatre.worker("--once", "--max-refreshes", "1", wait=False).wait() == 3
    assert value_of("act/d") == "act/d#1"
    assert value_of("act/e") == "act/e#1"


def test_75_77_the_queue_and_the_history_show_what_happens(theatre: Theatre) -> None:
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/long", ["hold", "gate"])
    stage.script("act/bad", ["fail", "no luck"])
    theatre.worker()
    reader.ask("request", "act/bad")
    until(lambda: slot("act/bad").get("attempts") == 1, "a failure")
    reader.ask("request", "act/long")
    stage.wait_at("act/long", "gate")
    reader.ask("request", "act/waiting", priority=8)
    listed = theatre.crew.manage("kck", "refreshes", "--format", "json", env=stage.env)
    assert listed.wait() == 0, listed.output
    rows = {row["key"]: row for row in data_of(listed.lines)}  # type: ignore[attr-defined]
    assert set(rows) == {"act/long", "act/waiting", "act/bad"}
    number = one("SELECT id FROM kck_worker")
    for key, state, attempts, worker in (
        ("act/long", "running", 0, f"w{number}"),
        ("act/waiting", "due", 0, ""),
        ("act/bad", "backing off", 1, ""),
    ):
        row = rows[key]
        assert (row["state"], row["attempts"], row["reason"], row["worker"] or "") == (
            state,
            attempts,
            "manual",
            worker,
        )
        assert row["age"] >= 0
    assert "no luck" in rows["act/bad"]["last_error"]
    # What runs is due no longer.
    overdue = theatre.crew.manage("kck", "refreshes", "--overdue", "--format", "json", env=stage.env)
    assert overdue.wait() == 0
    assert [row["key"] for row in data_of(overdue.lines)] == ["act/waiting"]  # type: ignore[attr-defined]
    status = theatre.crew.manage("kck", "status", env=stage.env)
    assert status.wait() == 0
    assert re.search(r"· 1 due, .* · 1 running ·", status.output), status.output
    stage.open("gate")
    stage.wait_ended("act/waiting")
    until(lambda: outcomes("act/waiting") == ["done"], "its run to be told")
    runs = theatre.crew.manage("kck", "runs", "act", "--format", "json", env=stage.env)
    assert runs.wait() == 0, runs.output
    for word in ("act/long", "act/bad", "failed", "done", "no luck"):
        assert word in runs.output


def test_76_a_queue_emptied_harms_no_value_and_is_filled_again_by_planning(theatre: Theatre) -> None:
    stage = theatre.stage
    env = {"KCK_TEST_TIMED": json.dumps({"troupe": 60})}
    stage.write("domain.json", ["troupe/a", "troupe/b"])
    (reader,) = theatre.mortals(1, env=env)
    reader.ask("work", "troupe")
    first = float(
        one(
            "SELECT max(extract(epoch FROM nominal - clock_timestamp())) FROM kck_refresh WHERE key_base = 'troupe'"
        )
    )
    reader.ask("shift", first + 1)
    reader.ask("work", "troupe")
    before = sql("SELECT key, value::text, version FROM kck_product ORDER BY key")
    assert len(before) == 2
    cleared = theatre.crew.manage("kck", "refreshes", "--clear", "troupe", env={**stage.env, **env})
    assert cleared.wait() == 0, cleared.output
    assert one("SELECT count(*) FROM kck_refresh WHERE key_base = 'troupe' AND due_at IS NOT NULL") == 0
    assert sql("SELECT key, value::text, version FROM kck_product ORDER BY key") == before
    reader.ask("shift", first + 61)
    reader.ask("work", "troupe")
    reader.ask("shift", first + 121)
    reader.ask("work", "troupe")
    assert stage.begun("troupe/a") >= 2
    assert one("SELECT count(*) FROM kck_refresh WHERE key_base = 'troupe' AND due_at IS NOT NULL") == 2


def test_78_a_worker_without_a_sign_of_life_is_told_by_the_check(theatre: Theatre) -> None:
    manage, env = theatre.crew.manage, theatre.stage.env
    assert manage("kck", "check", "--workers", env=env).wait() == 1  # there is none
    worker = theatre.worker()
    assert manage("kck", "check", "--workers", env=env).wait() == 0
    sql("UPDATE kck_worker SET seen_at = seen_at - interval '10 minutes'")
    (pid,) = [row[0] for row in sql("SELECT pid FROM kck_worker")]
    os.kill(pid, signal.SIGSTOP)
    sql("UPDATE kck_worker SET seen_at = seen_at - interval '10 minutes'")
    stuck = manage("kck", "check", "--workers", env=env)
    assert stuck.wait() == 1, stuck.output
    os.kill(pid, signal.SIGCONT)
    assert worker.alive


@pytest.mark.once("newest")
@pytest.mark.parametrize("why", ["rss", "count", "threads", "hup"])
def test_25_children_are_replaced_and_no_refresh_is_lost_or_doubled(theatre: Theatre, why: str) -> None:
    stage, reader = theatre.stage, theatre.reader()
    count = 1000 if FULL else 150
    if why == "rss":
        stage.script("act", ["leak", 4 * 1024 * 1024])
    options = {
        "rss": ["--max-rss", "200M"],
        "count": ["--max-refreshes", "40"],
        "threads": ["--max-refreshes", "40", "--executor", "thread"],
        "hup": [],
    }[why]
    worker = theatre.worker("--concurrency", "2", *options)
    reader.ask("many_requests", [f"act/{number}" for number in range(count)])
    if why == "hup":
        until(lambda: stage.begun() >= 20, "work")
        worker.send(signal.SIGHUP)
    until(
        lambda: one("SELECT count(*) FROM kck_product WHERE state = 'value'") == count,
        "all of them",
        limit=120,
    )
    until(lambda: one("SELECT count(*) FROM kck_refresh WHERE lease_until IS NOT NULL") == 0, "quiet")
    keys = stage.keys()
    assert len(keys) == len(set(keys)) == count
    assert len({line.pid for line in stage.ledger("begin")}) > 2
    if why != "hup":
        assert "worker.recycled" in worker.output
    for line in worker.output.splitlines():
        if found := re.search(r"worker.recycled .*rss_mb=(\d+)", line):
            assert int(found[1]) < 260
    assert not [line for line in worker.lines if line.startswith("ERROR")]
    assert "worker.reaped" not in worker.output
    # Each child: one that listens, at most two of the cache's own, the beats', its compute's.
    assert (
        one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        <= 2 * 5 + 5
    )


def test_19_20_a_claim_among_a_hundred_thousand_slots_reads_few_pages_even_under_a_pinned_horizon(
    theatre: Theatre,
) -> None:
    """The claim's statement, as the server runs it, against many slots of which few are due, in the last
    lane.
    """
    stage, (holder, reader) = theatre.stage, theatre.readers(2)
    slots = 1_000_000 if FULL else 100_000
    sql(
        "INSERT INTO kck_refresh (digest, key, key_base, lane, want, due_at)"
        " SELECT md5(n::text)::uuid, 'act/' || n, 'act', 8, 1,"
        "        clock_timestamp() + CASE WHEN n %% 200 = 0 THEN interval '-1 hour' ELSE interval '1 day' END"
        f" FROM generate_series(1, {slots}) n"
    )
    sql("ANALYZE kck_refresh")
    holder.ask("begin")
    holder.ask("sql", "SELECT count(*) FROM kck_refresh WHERE id < 10")
    holder.ask("sql", "SELECT pg_current_xact_id()")  # its horizon is pinned until the end
    pages = _pages_of_a_claim()
    assert pages < 500, pages
    worker = theatre.worker("--products", "act,urgent")
    stage.script("act", ["sleep", 0.005])
    until(lambda: stage.begun() > 100, "the worker to be among them", limit=60)
    reader.ask("request", "urgent/now", priority=0)
    stage.wait_begun("urgent/now", limit=20)
    assert _pages_of_a_claim() < 2500
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    holder.ask("end")
    sql("TRUNCATE kck_refresh")


def _pages_of_a_claim() -> int:
    """How many pages a claim of ten reads, rolled back."""
    from django.db import transaction

    from kck_flow.store.session import statement, text_of

    params = {
        "n": 10,
        "lanes": list(range(10)),
        "known": ["act", "urgent"],
        "lease": 60,
        "owner": "nobody",
        "mark": "-infinity",
        "counted": 1,
        "dispatched": "dispatch",
    }
    with transaction.atomic():
        rows = sql_with(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement("claim_due", lost=text_of("lost")), params
        )
        plan = rows[0][0]
        transaction.set_rollback(True)
    plan = json.loads(plan) if isinstance(plan, str) else plan

    def select(node: dict[str, object]) -> int:
        # The part that looks: what it then writes is ten rows, whatever the shape.
        if node.get("Subplan Name") == "CTE due":
            return int(node["Shared Hit Blocks"]) + int(node["Shared Read Blocks"])  # type: ignore[call-overload]
        return sum(select(child) for child in node.get("Plans", []))  # type: ignore[attr-defined]

    return select(plan[0]["Plan"])


def sql_with(statement: str, params: dict[str, object]) -> list[tuple[object, ...]]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())


@pytest.mark.django_db
def test_the_lease_is_in_no_index() -> None:
    """Beats must stay HOT updates."""
    indexes = [row[0] for row in sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'kck_refresh'")]
    assert len(indexes) == 3  # the primary key, the digest, (lane, due_at)
    assert not [one_of for one_of in indexes if re.search("lease|token|progress|claimed", one_of)]


def test_an_idle_worker_asks_little_and_writes_nothing(theatre: Theatre) -> None:
    """At rest it sleeps: nothing is due, and it knows.

    Not even while another has a long refresh, or one that is due is paused; and who is busy is seen to live.
    """
    stage, reader = theatre.stage, theatre.reader()
    stage.script("act/long", ["hold", "gate"])
    reader.ask("request", "act/long")
    theatre.worker("--poll", "1")
    busy = stage.wait_at("act/long", "gate").pid
    reader.ask("pause", "quick")
    reader.ask("request", "quick/x")
    theatre.worker("--poll", "1")
    before = _transactions()
    reader.ask("pause", "quick", "again")
    seen_at = "SELECT seen_at FROM kck_worker WHERE pid = %s"
    last = one(seen_at, busy)
    asked: list[datetime] = []
    until(lambda: asked.append(one(seen_at, busy)) or asked[-1] > last, "the busy one to be seen")
    after = _transactions()
    # A dozen statements a look, two workers, one look a second: far from what a loop without pause would
    # make.
    assert (after[0] - before[0] - len(asked)) / (after[1] - before[1]).total_seconds() < 50
    stage.open("gate")
    reader.ask("resume", "quick")
    stage.wait_ended("quick/x", limit=20)


def _transactions() -> tuple[int, datetime]:
    sql("SELECT pg_stat_clear_snapshot()")
    return sql(
        "SELECT xact_commit, clock_timestamp() FROM pg_stat_database WHERE datname = current_database()"
    )[0]  # type: ignore[return-value]
