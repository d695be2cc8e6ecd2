"""The workers of Django's tasks carry refreshes out (feature 79): built in from Django 6, a package before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kck_flow.testing.executors import ExecutorConformance
from tests.fleets.members import Members, installed

pytestmark = pytest.mark.needs_tasks

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}


class TestDjangoTasks(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _members(self, transactional_db: None) -> Iterator[None]:
        self.members = Members(["django_tasks_db"])
        with installed("django_tasks_db", "django_tasks_database", "django_tasks_", TASKS=TASKS):
            yield
            self.members.kill()

    def make(self) -> Any:
        from kck_flow.executors.django_tasks import DjangoTasks

        return DjangoTasks(in_flight=8)

    def start(self) -> None:
        for _ in range(2):
            self.members.start(
                "manage.py", "db_worker", "--interval", "0.1", "-v", "3", ready="Starting worker"
            )

    def kill(self) -> None:
        self.members.kill()

    def lose_hints(self) -> None:
        from django_tasks_db.models import DBTaskResult

        DBTaskResult.objects.all().delete()
