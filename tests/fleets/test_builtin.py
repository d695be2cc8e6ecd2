"""The built-in worker does what every other executor has to (feature 79)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kck_flow.testing.executors import ExecutorConformance
from tests.fleets.members import Members


@pytest.mark.once("newest")
class TestWorker(ExecutorConformance):
    @pytest.fixture(autouse=True, params=["process", "thread"])
    def _members(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.executor = request.param
        self.members = Members()
        yield
        self.members.kill()

    def make(self) -> Any:
        return None

    def start(self) -> None:
        options = ("--executor", self.executor, "--concurrency", "2", "--lease", "2")
        self.members.start("manage.py", "kck", "worker", *options, ready=r"worker w\d+ pid \d+")

    def kill(self) -> None:
        self.members.kill()
