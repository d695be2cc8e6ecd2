"""The command as people run it: a process with an exit code, data on stdout, everything about the work on stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from django.db import connection

from kck_flow import Cache
from kck_flow.registry import registry
from tests.commands.conftest import SETTINGS, command, environment, run
from tests.harness.daemons import ROOT
from tests.harness.processes import Crew
from tests.harness.wait import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_done_is_0_and_data_are_on_stdout() -> None:
    said = run("set", "any/1", "5")
    assert (said.code, said.out, said.err) == (0, "any/1 is set: version 1, never expires.\n", "")
    said = run("get", "any/1")
    assert (said.code, said.out, said.err) == (0, "5\n", "")
    said = run("set", "any/2", "-", stdin='{"from": "stdin"}\n')
    assert said.code == 0
    assert Cache.get_instance().get("any/2") == {"from": "stdin"}
    assert run("set", "any/3", "1", "-v0").out == ""


def test_failed_is_1_asked_wrongly_is_2_partly_failed_is_3(customers: list[int]) -> None:
    failed = run("get", "oven")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err == "CommandError: Computing 'oven' raised ValueError: the thermometer says nothing\n"
    wrong = run("get", "takings/x")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "CommandError: 'takings/x': customer must be an int, not 'x'.\n"
    missing = run("get")
    assert (missing.code, missing.out) == (2, "")
    assert "the following arguments are required: KEY" in missing.err
    unknown = run("gte", "x")
    assert (unknown.code, unknown.out) == (2, "")
    assert "Did you mean 'get'?" in unknown.err
    partly = run("refresh", f"takings/{customers[0]}", "oven", "--format", "json")
    assert partly.code == 3
    assert {row["key"]: row["outcome"] for row in partly.rows} == {
        f"takings/{customers[0]}": "done",
        "oven": "failed",
    }
    assert "refreshed 1, failed 1" in partly.err


def test_nothing_is_silent_without_a_verb() -> None:
    said = run()
    assert (said.code, said.out) == (2, "")
    assert "Say why a product is as it is" in said.err
    assert said.err.rstrip().endswith("error: the following arguments are required: VERB")
    helped = run("--help")
    assert helped.code == 0
    for verb in ("keys", "refresh", "worker", "explain", "init"):
        assert verb in helped.out
    assert "Exit codes: 0 done, 1 failed, 2 asked wrongly, 3 partly failed." in helped.out
    assert "JSON" in run("set", "--help").out


@pytest.mark.once("oldest")
def test_listings_parse_back_in_a_pipe(customers: list[int]) -> None:
    refreshed = run("refresh", "--product", "takings", "--format", "csv")
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(refreshed.out))] == ["done"] * 3
    assert "3/3 (100 %)" in refreshed.err
    rows = list(csv.DictReader(io.StringIO(run("keys", "--format", "csv").out)))
    assert sorted(row["value"] for row in rows) == ["100", "200", "300"]
    for arguments in (
        ("keys",),
        ("keys", "--primers"),
        ("refreshes",),
        ("runs",),
        ("graph",),
        ("status",),
        ("check",),
        ("prune", "--dry-run"),
    ):
        said = run(*arguments, "--format", "json")
        found = json.loads(said.out)
        # This project has never migrated this database: its triggers are missing, and that is all.
        wrong = (
            [row["what"] for row in found if row.get("state") == "wrong"] if arguments == ("check",) else []
        )
        assert wrong == (["capture"] if arguments == ("check",) else []), (arguments, said)
        assert said.code == (1 if wrong else 0), (arguments, said)
        assert found is not None


def test_djangos_options_hold_after_the_verb_and_before_it() -> None:
    loud = run("refresh", "oven", "--verbosity", "2")
    assert 'raise ValueError("the thermometer says nothing")' in loud.err
    assert "Traceback" not in run("get", "oven").err
    assert "Traceback" in run("get", "oven", "--traceback").err
    assert "\x1b[" not in run("keys", "--primers", "--no-color").out


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    for number in range(3):
        Cache.get_instance().set(f"any/{number}", "x" * 300)
    writer = subprocess.Popen(
        command("dump", "-", "-v0"),
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    assert writer.wait(60) == 141
    assert writer.stderr.read() == b""
    writer.stderr.close()


def test_a_terminal_without_utf8_gets_ascii() -> None:
    Cache.get_instance().set("any/Ελλάς", "γεια")
    odd = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    said = run("check", "--setup", env=odd)
    assert said.out.isascii()
    assert "ok tables: All tables are there" in said.out
    said = run("keys", env=odd)
    assert said.code == 0
    assert said.out.isascii()
    assert "any/\\u0395" in said.out
    assert run("get", "any/Ελλάς").out == "γεια\n"


def test_long_work_says_how_to_go_on_after_ctrl_c() -> None:
    process = subprocess.Popen(
        command("refresh", "dough/1", "dough/2", "dough/3"),
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: _running("dough/1"), "the compute to begin")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted: refreshed 0 of 3; the others are as they were." in err
    assert "Traceback" not in err
    assert out == ""


def test_an_interrupted_warm_names_the_command_that_goes_on() -> None:
    process = subprocess.Popen(
        command("warm", "--product", "slow"),
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: _running("slow/1"), "the compute to begin")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "To go on: manage.py kck warm --product slow" in err


def _running(key: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT lease_until > clock_timestamp() FROM kck_refresh WHERE key = %s", [key])
        row = cursor.fetchone()
        return bool(row and row[0])


def test_on_a_terminal_progress_is_one_line_and_questions_are_asked(customers: list[int]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("refresh", "--product", "takings"),
        env=environment(TERM="xterm"),
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    out, _ = process.communicate(timeout=60)
    os.close(theirs)
    said = _all_of(ours)
    assert process.returncode == 0
    assert "\r [" in said
    assert "3/3" in said
    assert b"\r" not in out

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("invalidate", "--product", "takings"),
        env=environment(TERM="xterm"),
        cwd=ROOT,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.write(ours, b"n\n")
    out, _ = process.communicate(timeout=60)
    os.close(theirs)
    assert process.returncode == 1
    assert "Invalidate up to 3 products of 'takings'? [y/N]" in _all_of(ours)
    assert out == b""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kck_product WHERE invalid_at IS NOT NULL")
        assert cursor.fetchone()[0] == 0


def _all_of(terminal: int) -> str:
    said = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(terminal)
    return said.decode()


def test_dump_flush_load_restores(customers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl.gz"
    run("refresh", "--product", "takings")
    run("set", "any/1", '{"a": [1, 2.5]}', "--hard", "7d")
    keys = ("any/1", f"takings/{customers[2]}")
    told = [run("get", key, "--format", "json").rows for key in keys]
    assert run("dump", path).code == 0
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE kck_product, kck_record, kck_edge, kck_refresh")
    assert run("load", path).code == 0
    for before in told:
        after = run("get", before["key"], "--no-compute", "--format", "json").rows
        assert {name: after[name] for name in after if name != "age"} == {
            name: before[name] for name in before if name != "age"
        }


def test_worker_once_drains_what_is_due_and_tells_what_failed(customers: list[int]) -> None:
    run("refresh", f"takings/{customers[0]}", "--queue")
    said = run("worker", "--once", "--products", "takings", "--batch", "20")
    assert said.code == 0
    assert said.out == ""
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    done = [event for event in events if event["event"] == "refresh.done"]
    assert [event["key"] for event in done] == [f"takings/{customers[0]}"]
    assert done[0]["reason"] == "manual"
    run("refresh", "oven", "--queue")
    assert run("worker", "--once", "--products", "takings").code == 0  # the oven is none of its business
    assert run("worker", "--once").code == 3


def test_a_worker_works_until_it_is_told_to_stop() -> None:
    with Crew() as crew:
        worker = crew.manage(
            "kck", "worker", "--executor", "inline", env={"DJANGO_SETTINGS_MODULE": SETTINGS}
        )
        worker.wait_for("worker w")
        until(lambda: run("check", "--workers").code == 0, "the worker to be seen")
        said = run("status", "--format", "json")
        assert len(said.rows["workers"]) == 1
        assert run("check", "--setup").out.count("!") == 0
        run("refresh", "opening", "--queue")
        worker.wait_for('"key": "opening"')
        assert worker.stop() == 0
    assert run("check", "--workers").code == 1


def test_watch_shows_again_and_again_until_it_is_ended() -> None:
    with Crew() as crew:
        watch = crew.manage(
            "kck",
            "status",
            "--watch",
            "--interval",
            "0.1",
            "--format",
            "json",
            env={"DJANGO_SETTINGS_MODULE": SETTINGS},
        )
        for _ in range(3):
            assert "lanes" in json.loads(watch.wait_for("totals").string)
        watch.send(signal.SIGINT)
        assert watch.wait() == 0


def test_a_database_that_does_not_answer_is_told_in_a_sentence() -> None:
    gone = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    said = run("get", "opening", env=gone)
    assert said.code == 1
    assert "Traceback" not in said.err
    said = run("keys", env=gone)
    assert said.code == 1
    assert "The database does not answer" in said.err
    said = run("check", "--setup", env=gone)
    assert said.code == 1
    assert "✗ database: It does not answer" in said.out
    assert "→ Start it, or correct DATABASES['default']" in said.out


def test_missing_tables_name_the_command_that_makes_them(own_server) -> None:
    url = own_server.url
    said = run("keys", env={"DATABASE_URL": url.rsplit("/", 1)[0] + "/template1"})
    assert said.code == 1
    assert "Run: manage.py migrate" in said.err
    said = run("check", env={"DATABASE_URL": url.rsplit("/", 1)[0] + "/template1"})
    assert said.code == 1
    assert "✗ tables: Missing: kck_annotation, kck_book" in said.out


def test_a_broken_module_is_noted_and_the_others_work(tmp_path: Path) -> None:
    (tmp_path / "cellar").mkdir()
    (tmp_path / "cellar" / "__init__.py").write_text("")
    (tmp_path / "cellar" / "primers.py").write_text("import a_module_that_is_not_there")
    (tmp_path / "cellar_settings.py").write_text(
        "from tests.commands.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'cellar']\n"
    )
    env = {"PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "cellar_settings"}
    said = run("get", "opening", env=env)
    assert said.code == 0
    assert "Could not be imported: cellar.primers" in said.err
    assert "cellar.primers" in run("get", "wine", env=env).err
    assert "a_module_that_is_not_there" in run("check", env=env).out


@pytest.mark.once("oldest")
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_instants_are_aware_in_a_project_of_naive_ones(driver: str) -> None:
    pytest.importorskip(driver)
    env = {"KCK_TEST_USE_TZ": "0", "KCK_TEST_TZ": "America/New_York", "KCK_TEST_DRIVER": driver}
    run("worker", "--once", "--products", "bread", env=env)
    run("refresh", "bread", "oven", env=env)
    told = run("explain", "bread", "--format", "json", env=env).rows
    assert datetime.fromisoformat(told["next"][0]).utcoffset() is not None
    for arguments in (
        ("explain", "bread"),
        ("explain", "oven"),
        ("runs",),
        ("runs", "--averages"),
        ("refreshes",),
        ("status",),
        ("keys",),
    ):
        said = run(*arguments, env=env)
        assert (said.code, said.err) == (0, ""), said
    assert all(
        row["started_at"].endswith(("-05:00", "-04:00", "+00:00"))
        for row in run("runs", "--format", "json", env=env).rows
    )


def test_the_verbs_are_those_of_the_design() -> None:
    from kck_flow.management.verbs import ALL

    assert set(ALL) == {
        "stocks",
        "flows",
        "process",
        "keys",
        "get",
        "set",
        "unset",
        "invalidate",
        "refresh",
        "refreshes",
        "runs",
        "explain",
        "graph",
        "worker",
        "status",
        "pause",
        "resume",
        "retry",
        "warm",
        "check",
        "prune",
        "dump",
        "load",
        "export",
        "init",
        "consume",
        "rewind",
        "frames",
        "backfill",
        "collect",
        "seed",
    }
    assert "sweep" not in registry.primers
