"""kck_flow, through its public names only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.contestants import database
from benchmarks.contestants.base import Contestant
from benchmarks.measure import Turn
from benchmarks.project import django_setup

APPS = ["kck_flow", "benchmarks.project.apps.BenchConfig"]


class KckFlow(Contestant):
    """With its defaults, but for the in-process tier where a scenario is about it."""

    def __init__(
        self,
        name: str,
        places: dict[str, Any],
        key_base: str = "bench_plain",
        tier_seconds: float | None = None,
        through: str = "postgres",
        inside: bool = False,
    ) -> None:
        super().__init__(name, places)
        self.key_base = key_base
        self.through = through
        self.inside = inside
        self.settings = {} if tier_seconds is None else {"TIER_SECONDS": tier_seconds}

    def key(self, number: int) -> str:
        return f"{self.key_base}/{number}"

    def prepare(self) -> None:
        django_setup.set_up(
            self.places,
            self.database,
            APPS,
            BENCH_THROUGH=self.through,
            BENCH_KCK_FLOW=json.dumps(self.settings),
        )
        django_setup.migrate()
        from kck_flow import Cache

        self.cache = Cache.get_instance()

    def turn(
        self, call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]], seconds: float = 5.0
    ) -> Turn:
        """Inside a transaction where asked for, as the requests of an ATOMIC_REQUESTS project are."""
        if not self.inside:
            return super().turn(call, arguments, seconds)
        from django.db import transaction

        with transaction.atomic():
            return super().turn(call, arguments, seconds)

    def leave(self) -> None:
        django_setup.close_connections()

    def getter(self) -> Callable[[str], Any]:
        return self.cache.get

    def many_getter(self) -> Callable[[list[str]], Any]:
        return self.cache.get_many

    def async_many_getter(self) -> Callable[[list[str]], Any]:
        return self.cache.aget_many

    def setter(self) -> Callable[[str, Any], Any]:
        return self.cache.set

    def cold_getter(self, log: str) -> Callable[[str], Any]:
        os.environ["BENCH_LOG"] = log
        get = self.cache.get
        return lambda key: get(f"bench_cold/{key}")

    def stale_getter(self, log: str) -> Callable[[str], Any]:
        os.environ["BENCH_LOG"] = log
        get = self.cache.get
        return lambda key: get(f"bench_stale/{key}")

    def fill(self, rows: int) -> None:
        """Copy one row under other digests and keys, whatever its other columns are."""
        from kck_flow.models import DataProduct

        table = DataProduct._meta.db_table
        columns = [field.column for field in DataProduct._meta.concrete_fields]
        instead = {"digest": "md5(n::text)::uuid", "key": "'bench_plain/-' || n", "value": "'1'::jsonb"}
        picked = ", ".join(instead.get(column, f'p."{column}"') for column in columns)
        names = ", ".join(f'"{column}"' for column in columns)
        database.run(
            self.places["postgres"],
            self.database,
            f"""INSERT INTO {table} ({names}) SELECT {picked} FROM (SELECT * FROM {table} LIMIT 1) p,
                generate_series(1, {rows} - (SELECT count(*) FROM {table})) n ON CONFLICT DO NOTHING""",
            f"VACUUM ANALYZE {table}",
            "CHECKPOINT",
        )

    def statements(self) -> int | None:
        return database.statements_run(self.places["postgres"], self.database)

    def rows_written(self) -> int | None:
        return database.rows_written(self.places["postgres"], self.database)
