"""django-tasks-db: the database back end of Django Tasks (here through the backport, ``django-tasks``)."""

from __future__ import annotations

import os
import sys

from benchmarks.engines.base import Engine
from benchmarks.project import django_setup

APPS = ["django_tasks", "django_tasks_db"]


class DjangoTasksDb(Engine):
    """``manage.py db_worker`` with its defaults: it looks once a second."""

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, APPS)
        django_setup.migrate()
        from benchmarks.engines.django_tasks_job import note

        self.task = note

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "django", "db_worker"]

    def environment(self) -> dict[str, str]:
        return {**django_setup.environment(self.places, self.database, APPS), "PYTHONPATH": os.getcwd()}

    def request(self, number: int) -> None:
        self.task.enqueue(number)
