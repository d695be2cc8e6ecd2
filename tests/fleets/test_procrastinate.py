"""Procrastinate's workers carry refreshes out (feature 79); what recovers a job is the lease."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from kck_flow.testing.executors import ExecutorConformance
from tests.fleets.members import Members, installed

# It needs psycopg 3, and the other suite has psycopg2 alone.
pytestmark = [pytest.mark.once("newest"), pytest.mark.needs_procrastinate]

APP = "procrastinate.contrib.django"


class TestProcrastinate(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _members(self, transactional_db: None) -> Iterator[None]:
        self.members = Members([APP], EXECUTOR="procrastinate")
        with installed(APP, "procrastinate", "procrastinate_"):
            yield
            self.members.kill()
        from procrastinate.contrib.django import procrastinate_app

        # Its app is made once in a process, as a rule.
        procrastinate_app.current_app = procrastinate_app.FutureApp()

    def make(self) -> Any:
        from kck_flow.executors.procrastinate import Procrastinate

        return Procrastinate(in_flight=8)

    def start(self) -> None:
        options = ("--concurrency", "2", "--fetch-job-polling-interval", "0.2")
        self.members.start(
            "manage.py", "procrastinate", "-v", "2", "worker", *options, ready="Launching a worker"
        )

    def kill(self) -> None:
        self.members.kill()

    def lose_hints(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_jobs")
