"""The overview of a site whose metrics are rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.contestants.kck_flow import APPS, KckFlow
from benchmarks.project import django_setup

DAYS = 60


class Looked(KckFlow):
    """A site whose overview is looked at, again and again.

    Args:
        panels: How many metrics stand on it.
    """

    def __init__(self, name: str, places: dict[str, Any], panels: int) -> None:
        super().__init__(name, places)
        self.panels = panels

    def prepare(self) -> None:
        """Make the database; everybody may see everything."""
        apps = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles", *APPS]
        more = {
            "BENCH_KCK_FLOW": json.dumps({"PERMISSION": "public"}),
            "BENCH_URLS": "benchmarks.project.pages",
        }
        django_setup.set_up(self.places, self.database, apps, **more)
        django_setup.migrate()

    def store(self, records: int) -> None:
        """Store the metrics with sixty days of numbers each, and so many records of other products."""
        from django.db import connection

        from kck_flow import Cache, Metric, clock
        from kck_flow.refresh import collecting
        from kck_flow.registry import registry

        # What the bench declares itself would stand there, too.
        registry.primers = {name: one for name, one in registry.primers.items() if name == "metric"}
        registry._changed()
        now = clock.now()
        for number in range(self.panels):
            Metric.create("fake", f"panel{number}", seed=number, level=100 + number, label=f"Panel {number}")
            key = registry.key(f"metric/panel{number}")
            metric: Any = registry.primer("metric")
            collecting.fill(key, metric.of(key), now - timedelta(days=DAYS), now)
            Cache.get_instance().refresh(key)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO kck_record (digest, key, key_base, start_at, value, written_at) "
                "SELECT gen_random_uuid(), 'other/' || n, 'other', now() - n * interval '1 second', to_jsonb(n), now() "
                "FROM generate_series(1, %s) n",
                [records],
            )
            cursor.execute("ANALYZE")

    def requests(self, number: int) -> Iterator[tuple[Any, ...]]:
        """Yield so many requests, each made while no clock runs."""
        from django.test import RequestFactory

        for _each in range(number):
            yield (RequestFactory().get("/flow/"),)

    def caller(self) -> Callable[[Any], Any]:
        """Return what answers a request."""
        from kck_flow.dashboards.views import show_overview

        return lambda request: show_overview(request)

    def counts(self) -> dict[str, float]:
        """Return the statements of one request, and the bytes of a first visit."""
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        import kck_flow

        with CaptureQueriesContext(connection) as seen:
            page = self.caller()(next(self.requests(1))[0]).content
        static = Path(kck_flow.__file__).parent / "static" / "kck_flow"
        bodies = [page, (static / "kck.css").read_bytes(), (static / "kck.js").read_bytes()]
        assert page.count(b"kck-tile-label") == self.panels
        return {"queries": len(seen), "gzipped": sum(len(gzip.compress(body)) for body in bodies)}
