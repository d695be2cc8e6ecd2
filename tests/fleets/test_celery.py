"""Celery's workers carry refreshes out (feature 79), with real brokers, members that are killed, and beats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kck_flow.testing.executors import ExecutorConformance, listed, on_their_way, outcomes
from tests.fleets.members import Members
from tests.harness.daemons import Daemon
from tests.harness.rabbitmq import RabbitMQ
from tests.harness.redis import RedisServer, redis

# Its newest wants an older python-dateutil than the other suite is to be run with.
pytestmark = [pytest.mark.once("oldest"), pytest.mark.needs_celery]

CELERY = ("-m", "celery", "-A", "tests.fleets.celery_app")


class OfCelery(ExecutorConformance):
    members: Members

    @pytest.fixture
    def broker(self) -> str:
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _members(self, broker: str) -> Iterator[None]:
        from tests.fleets.celery_app import made

        self.members = Members(env={"KCK_TEST_BROKER": broker}, EXECUTOR="celery")
        self.app = made(broker)  # what is current for this process, from here on
        yield
        self.members.kill()
        self.app.close()

    def make(self) -> Any:
        from kck_flow.executors.celery import Celery

        return Celery(in_flight=8)

    def start(self) -> None:
        self.worker()

    def kill(self) -> None:
        self.members.kill()

    def worker(self, **flow: Any) -> Daemon:
        quiet = ("--loglevel=INFO", "--without-gossip", "--without-mingle")
        return self.members.start(*CELERY, "worker", "-c2", *quiet, ready=r"ready\.", **flow)


@pytest.mark.needs_redis
class TestCeleryOnRedis(OfCelery):
    server: RedisServer

    @pytest.fixture
    def broker(self) -> Iterator[str]:
        with redis() as server:
            self.server = server
            yield server.url

    def lose_hints(self) -> None:
        from redis import Redis

        with Redis.from_url(self.server.url) as client:
            client.flushall()

    def stop_broker(self) -> None:
        self.server.stop()

    def start_broker(self) -> None:
        self.kill()  # they would wait longer and longer before they try again
        self.server.restart()
        self.start()

    def test_24_beats_turn_the_wheel_and_two_are_harmless(self, tmp_path: Path) -> None:
        """Reliability test 24: no dispatcher but the beats, the broker emptied in the middle, a member killed."""
        executor = {"executor": "celery", "lease": 2.0}
        first, _ = self.worker(EXECUTOR=executor), self.worker(EXECUTOR=executor)
        for name in ("one", "two"):
            beat = ("beat", f"--schedule={tmp_path / name}")
            self.members.start(*CELERY, *beat, ready="maxinterval", EXECUTOR=executor)
        keys = self.ask(300, milliseconds=20)
        self.until(lambda: on_their_way() > 0, "the first hints")
        self.lose_hints()
        first.close()
        most = 0

        def done() -> bool:
            nonlocal most
            most = max(most, on_their_way())
            return outcomes("done").keys() >= set(keys)

        self.until(done, "all of them")
        assert outcomes("done") == dict.fromkeys(keys, 1)
        assert most <= 16
        assert listed() == [("celery", "tick")]  # however many processes have ticked

    def test_a_worker_turns_the_wheel_and_is_woken_by_what_is_asked_for(self) -> None:
        self.worker()
        executor = {"executor": "celery", "app": "tests.fleets.celery_app.app", "in_flight": 8}
        # Looks by itself every ten minutes: what comes sooner was brought by a word.
        options = ("kck", "worker", "--poll", "10m")
        wheel = self.members.start("manage.py", *options, ready=r"worker w\d+ pid \d+", EXECUTOR=executor)
        keys = self.ask(40)
        self.all_done(keys)
        assert listed() == [("celery", "listen")]
        assert wheel.stop() == 0
        assert listed() == []


@pytest.mark.needs_rabbitmq
class TestCeleryOnRabbitMQ(OfCelery):
    @pytest.fixture
    def broker(self, rabbitmq_broker: RabbitMQ) -> str:
        return rabbitmq_broker.url
