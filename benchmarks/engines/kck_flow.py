"""kck_flow's own worker: a job is the refresh of a product whose compute does nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks.contestants.kck_flow import APPS
from benchmarks.engines.base import Engine
from benchmarks.project import django_setup


class KckFlow(Engine):
    """``manage.py kck worker`` with its defaults, but for the settings given."""

    def __init__(self, name: str, places: dict[str, Any], **settings: Any) -> None:
        super().__init__(name, places)
        self.settings = {"BENCH_KCK_FLOW": json.dumps(settings)}

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, APPS, **self.settings)
        django_setup.migrate()
        from kck_flow import Cache

        self.cache = Cache.get_instance()

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "django", "kck", "worker"]

    def environment(self) -> dict[str, str]:
        variables = django_setup.environment(self.places, self.database, APPS, **self.settings)
        return {**variables, "PYTHONPATH": os.getcwd()}

    def request(self, number: int) -> None:
        self.cache.request_refresh(f"bench_nothing/{number}")
