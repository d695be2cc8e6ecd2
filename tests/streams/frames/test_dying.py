"""Time frames in many processes, and in processes that die, stand still or are interrupted."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from kck_flow import Cache
from kck_flow.models import Family, Frame, Record, Refresh
from kck_flow.registry import registry
from kck_flow.streams import frames
from tests.harness.daemons import Daemon
from tests.harness.points import stop_at
from tests.harness.processes import Crew
from tests.streams.forecast import primers
from tests.streams.forecast.primers import START, measure
from tests.streams.weather.models import Measured, Wrote

LIMIT = 40.0
Declare = Callable[..., Any]


class Site:
    """Processes of the forecast, and gates at which what they compute waits."""

    def __init__(self, crew: Crew, gates: Path) -> None:
        self.crew, self.gates = crew, gates
        self.env = {"DJANGO_SETTINGS_MODULE": "tests.streams.forecast.settings", "FC_GATES": str(gates)}

    def worker(self, *options: str, product: str) -> Daemon:
        return self.manage("worker", "--product", product, *options)

    def manage(self, *arguments: str) -> Daemon:
        return self.crew.manage("kck", *arguments, env=self.env)

    def hold(self, point: str) -> None:
        (self.gates / f"hold-{point}").touch()

    def open(self, point: str) -> None:
        (self.gates / f"hold-{point}").unlink()

    def at(self, point: str) -> int:
        """Wait until somebody is at a gate; returns its process id."""
        found: list[Path] = until(lambda: list(self.gates.glob(f"at-{point}-*")), f"somebody at {point}")
        pid = int(found[0].name.rpartition("-")[2])
        found[0].unlink()
        return pid


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {LIMIT:g} s for {what}"
        time.sleep(0.02)
    return found


@pytest.fixture
def site(crew: Crew, tmp_path: Path) -> Site:
    return Site(crew, tmp_path)


def counts(what: str = "compute") -> Counter[str]:
    return Counter(Wrote.objects.filter(what__startswith=what).values_list("key", flat=True))


def is_done(name: str, frames_there: int) -> bool:
    closed = Frame.objects.filter(key_base=name, state="closed").count()
    return closed == frames_there and not Refresh.objects.filter(key_base=name).exists()


@pytest.mark.once("newest")
def test_four_workers_in_any_order_end_as_one_would(site: Site, declare: Declare) -> None:
    declare(primers.Hourly)
    chance = random.Random(7)
    minutes = sorted(chance.uniform(0, 60 * 40) for _ in range(400))
    measure(*minutes, 60 * 41)
    frames.plan("fc_hourly")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kck_refresh SET due_at = due_at - random() * interval '1 hour'")
    workers = [site.worker("--once", product="fc_hourly") for _ in range(4)]
    for worker in workers:
        assert worker.wait(limit=LIMIT) == 0, worker.output
    expected = Counter(int(minute // 60) for minute in minutes)
    values = Record.objects.filter(key_base="fc_hourly").order_by("start_at").values_list("value", flat=True)
    assert [value["n"] for value in values] == [expected[hour] for hour in range(41)]
    assert set(counts().values()) == {1}
    assert is_done("fc_hourly", 41)


def plan_all(name: str) -> int:
    registry.register(Thousand)
    stop_at("ready")
    return frames.plan(name).planned


class Thousand(primers.Quarter):
    key_base, max_pending = "fc_thousand", 2000


def test_two_planners_of_a_thousand_frames_meet_in_peace(crew: Crew) -> None:
    measure(0, 250.1)
    planners = [crew.spawn(plan_all, "fc_thousand") for _ in range(3)]
    crew.barrier(planners)
    assert sum(one.result() for one in planners) == 1000
    assert Frame.objects.filter(key_base="fc_thousand").count() == 1000
    assert Refresh.objects.filter(key_base="fc_thousand").count() == 1000


@pytest.mark.once("oldest")
def test_ten_starts_leave_one_planner_and_no_run_more(site: Site) -> None:
    measure(0, 70, 130)
    workers = [site.worker("--once", product="fc_hourly") for _ in range(10)]
    for worker in workers:
        assert worker.wait(limit=LIMIT) == 0, worker.output
    assert Refresh.objects.filter(key="!frames:fc_hourly").count() == 1
    assert counts() == {"fc_hourly/2026-01-31T10": 1, "fc_hourly/2026-01-31T11": 1}


def test_a_worker_killed_in_the_middle_leaves_no_trace_of_the_frame(site: Site) -> None:
    measure(0, 70)
    site.hold("computing")
    site.worker("--lease", "60", product="fc_tidy")
    os.kill(site.at("computing"), signal.SIGKILL)
    assert not Wrote.objects.exists()
    site.open("computing")
    until(lambda: is_done("fc_tidy", 1), "another child to close it")
    assert counts() == {"fc_tidy/2026-01-31T10": 1}
    assert Record.objects.get(key_base="fc_tidy").value == {"n": 1, "sum": 1}


def test_a_worker_killed_after_the_commit_is_followed_by_one_that_only_cleans_up(site: Site) -> None:
    measure(0, 70)
    site.hold("cleaning")
    site.worker("--lease", "60", product="fc_tidy")
    pid = site.at("cleaning")
    assert Frame.objects.get(key_base="fc_tidy").state == "closed"
    os.kill(pid, signal.SIGKILL)
    site.open("cleaning")
    until(lambda: is_done("fc_tidy", 1), "another child to clean up")
    assert (counts(), counts("cleanup")) == (
        {"fc_tidy/2026-01-31T10": 1},
        {"fc_tidy/2026-01-31T10": 1},
    )
    assert Record.objects.filter(key_base="fc_tidy").count() == 1


def test_a_worker_that_stood_still_past_its_lease_is_refused(site: Site) -> None:
    measure(0, 70)
    site.hold("computing")
    first = site.worker("--lease", "1", product="fc_hourly")
    pid = site.at("computing")
    os.kill(pid, signal.SIGSTOP)
    site.open("computing")
    site.worker("--lease", "1", product="fc_hourly")
    until(lambda: is_done("fc_hourly", 1), "the other to close it")
    before = list(Wrote.objects.values_list("key", "pid"))
    os.kill(pid, signal.SIGCONT)
    until(lambda: "refresh.fenced" in first.output, "the late result to be refused")
    assert list(Wrote.objects.values_list("key", "pid")) == before
    assert [row[0] for row in before] == ["fc_hourly/2026-01-31T10"]
    assert before[0][1] != pid
    assert Record.objects.filter(key_base="fc_hourly").count() == 1


def test_a_backfill_that_is_interrupted_and_killed_ends_without_doubles(site: Site, declare: Declare) -> None:
    declare(primers.Hourly)
    measure(*range(0, 60 * 30, 30))
    arguments = ["backfill", "fc_hourly", "--from", "2026-01-31T10:00Z", "--to", "2026-02-01T10:00Z"]
    for end in (signal.SIGINT, signal.SIGKILL):
        known = Frame.objects.filter(state="closed").count()
        child = site.manage(*arguments, "--rate", "20/s")
        until(lambda known=known: Frame.objects.filter(state="closed").count() > known + 2, "some frames")
        os.kill(child.pid, end)
        child.wait(limit=LIMIT)
        if end == signal.SIGINT:
            assert "To go on: manage.py kck backfill fc_hourly --from 2026-01-31T10:00:00Z" in child.output
    with connection.cursor() as cursor:
        # Its lease would end by itself.
        cursor.execute("UPDATE kck_refresh SET lease_until = clock_timestamp() WHERE lease_until IS NOT NULL")
    child = site.manage(*arguments)
    assert child.wait(limit=LIMIT) == 0, child.output
    assert Frame.objects.filter(key_base="fc_hourly", state="closed").count() == 24
    assert set(counts().values()) == {1}
    assert Record.objects.filter(key_base="fc_hourly").count() == 24


def test_many_readers_of_one_miss_compute_it_once(crew: Crew) -> None:
    measure(0, 70)
    readers = [crew.spawn(read_one, "fc_hourly/2026-01-31T10") for _ in range(4)]
    crew.barrier(readers)
    assert [one.result() for one in readers] == [{"n": 1, "sum": 1}] * 4
    assert counts() == {"fc_hourly/2026-01-31T10": 1}


def read_one(key: str) -> Any:
    registry.register(primers.Hourly)
    stop_at("ready")
    return Cache.get_instance().get(key, wait=timedelta(seconds=30))


def test_an_edited_primer_takes_effect(crew: Crew, tmp_path: Path) -> None:
    app = tmp_path / "edited"
    app.mkdir()
    (app / "__init__.py").touch()
    text = (
        "from tests.streams.forecast.primers import Hourly as Base\n\n\n"
        'class Edited(Base):\n    key_base = "fc_edited"\n    version = 1\n\n'
        "    def compute(self, key, items):\n        return len(items)\n"
    )
    (app / "primers.py").write_text(text)
    (tmp_path / "edited_settings.py").write_text(
        'from tests.settings import *\n\nINSTALLED_APPS = [*INSTALLED_APPS, "edited"]\n'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', os.getcwd())}"
    measure(0, 70)
    worker = crew.manage(
        "kck",
        "worker",
        "--reload",
        "--poll",
        "0.2",
        env={"DJANGO_SETTINGS_MODULE": "edited_settings", "PYTHONPATH": path},
    )
    until(lambda: Frame.objects.filter(key_base="fc_edited", state="closed").count() == 1, worker.output)
    changed = text.replace("version = 1", "version = 2").replace("len(items)", "len(items) * 100")
    (app / "primers.py").write_text(changed)
    until(
        lambda: Family.objects.filter(key_base="fc_edited", primer_version=2).exists(),
        "the edited code to be loaded",
    )
    Measured.objects.bulk_create([Measured(at=START + timedelta(minutes=m)) for m in (130, 190)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE kck_refresh SET due_at = clock_timestamp() WHERE key = '!frames:fc_edited'")
    until(
        lambda: Record.objects.filter(key_base="fc_edited", primer_version=2).exists(),
        "a frame of the new version",
    )
    old = Record.objects.get(key="fc_edited/2026-01-31T10")
    assert (old.value, old.primer_version) == (1, 1)
