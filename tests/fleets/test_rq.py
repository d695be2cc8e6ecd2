"""The recipe for RQ (feature 79) does what every executor has to: it is the documentation's, word for word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kck_flow.testing.executors import ExecutorConformance
from tests.fleets.members import Members
from tests.harness.daemons import ROOT
from tests.harness.redis import RedisServer, redis

pytestmark = [pytest.mark.once("oldest"), pytest.mark.needs_rq, pytest.mark.needs_redis]

RECIPE = ROOT / "tests/fleets/rq_fleet.py"


def test_it_is_what_the_documentation_says() -> None:
    code = RECIPE.read_text().partition('"""\n\n')[2]
    assert code.strip() in (ROOT / "docs/how-to/own-fleet.md").read_text()


class TestRQ(ExecutorConformance):
    server: RedisServer

    @pytest.fixture(autouse=True)
    def _members(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with redis() as self.server:
            monkeypatch.setenv("REDIS_URL", self.server.url)
            self.members = Members(env={"REDIS_URL": self.server.url})
            yield
            self.members.kill()
            sys.modules.pop("tests.fleets.rq_fleet", None)

    def make(self) -> Any:
        from tests.fleets.rq_fleet import RQ

        return RQ(in_flight=8)

    def start(self) -> None:
        for _ in range(2):
            self.members.start("-m", "tests.fleets.rq_worker", ready="Listening on flow")

    def kill(self) -> None:
        self.members.kill()

    def lose_hints(self) -> None:
        from tests.fleets.rq_fleet import queue

        queue.connection.flushall()
