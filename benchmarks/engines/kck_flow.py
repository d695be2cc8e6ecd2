"""kck_flow's own worker: a job is the refresh of a product whose compute does nothing."""

from __future__ import annotations

import os
import sys

from benchmarks.contestants.kck_flow import APPS
from benchmarks.engines.base import Engine
from benchmarks.project import django_setup


class KckFlow(Engine):
    """``manage.py kck worker`` with its defaults."""

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, APPS)
        django_setup.migrate()
        from kck_flow import Cache

        self.cache = Cache.get_instance()

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "django", "kck", "worker"]

    def environment(self) -> dict[str, str]:
        return {**django_setup.environment(self.places, self.database, APPS), "PYTHONPATH": os.getcwd()}

    def request(self, number: int) -> None:
        self.cache.request_refresh(f"bench_nothing/{number}")
