"""django-kck 0.0.56 (2019), the ancestor: pickled values in a table, read through the ORM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contestants import database
from benchmarks.contestants.base import Contestant
from benchmarks.product import cold_compute
from benchmarks.project import django_setup


class DjangoKck(Contestant):
    """As its README shows it; it keeps naive UTC times, so ``USE_TZ`` is off."""

    def prepare(self) -> None:
        django_setup.set_up(self.places, self.database, ["django_kck"], BENCH_USE_TZ="0")
        django_setup.migrate()
        from django_kck.cache import Cache

        self.cache = Cache.get_instance()

    def leave(self) -> None:
        django_setup.close_connections()

    def getter(self) -> Callable[[str], Any]:
        get = self.cache.get
        return lambda key: get(key)["value"]

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        from django_kck.cache import Primer
        from django_kck.parameters import StringParameter

        class Cold(Primer):
            key_base = "cold"
            parameters = [StringParameter("trial")]
            prime_on_cache_miss = True

            def compute(self, hints: Any = None, cache: Any = None) -> Any:
                return cold_compute(log, self.key)

        Cold.register(self.cache)
        get = self.cache.get
        return lambda key: get(f"cold/{key}")["value"]

    def fill(self, rows: int) -> None:
        database.run(
            self.places["postgres"],
            self.database,
            f"""INSERT INTO django_kck_dataproduct (key, value, version, modified)
                SELECT 'other/' || n, 'gAVLAS4=', 1, now()
                FROM generate_series(1, {rows} - (SELECT count(*) FROM django_kck_dataproduct)) n""",
            "VACUUM ANALYZE django_kck_dataproduct",
            "CHECKPOINT",
        )

    def statements(self) -> int | None:
        return database.statements_run(self.places["postgres"], self.database)

    def rows_written(self) -> int | None:
        return database.rows_written(self.places["postgres"], self.database)
