"""Tables that somebody counts, or nobody does; the statements that are written to them are the same for all.

The statements go through the bare driver: an ORM would cost all contestants the same on top, and hide the difference.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.contestants import database
from benchmarks.engines.base import Engine
from benchmarks.project import django_setup

APPS = ["kck_flow", "benchmarks.project.counted.apps.CountedConfig"]
VALUES = 50
# A row whose three facets each take their 50 values evenly, and independently of one another.
ROWS = f"""SELECT 'active', 'plan' || g % {VALUES}, 'c' || g / {VALUES} % {VALUES}, g / {VALUES**2} % {VALUES},
    'note ' || g FROM generate_series({{first}}, {{last}}) AS g"""
COLUMNS = "(state, plan, country, shop_id, note)"
_TALLIES = " UNION ALL ".join(
    f"SELECT {name} AS name, sum(s) AS n FROM changed GROUP BY 1"
    for name in ("'total'", "'plan:' || plan", "'country:' || country", "'shop:' || shop_id")
)
_TALLY = f"""
CREATE FUNCTION bench_tally_{{operation}}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
WITH changed AS ({{changed}}), net AS (SELECT * FROM ({_TALLIES}) AS each WHERE n <> 0)
UPDATE bench_tally t SET n = t.n + net.n FROM net WHERE t.name = net.name; RETURN NULL; END $$;
CREATE TRIGGER bench_tally_{{operation}} AFTER {{operation}} ON bench_tallied {{seen}}
FOR EACH STATEMENT EXECUTE FUNCTION bench_tally_{{operation}}()"""
_ROW = "state, plan, country, shop_id"


class Counted(Engine):
    """A table of the app ``bench_counted``.

    Args:
        table: Which one.
        stocks: Key bases of the stocks that count it.
        worker: Whether a worker folds while it is written to.
        shared: Name of a database that several contestants read; made and filled by the first.
        asks: What it reads with, of those that a scenario knows.
    """

    def __init__(
        self,
        name: str,
        places: dict[str, Any],
        table: str = "bench_untracked",
        stocks: tuple[str, ...] = (),
        worker: bool = False,
        shared: str = "",
        asks: str = "",
    ) -> None:
        super().__init__(name, places)
        self.table, self.stocks, self.worker, self.shared, self.asks = table, stocks, worker, shared, asks
        self.settings = {"BENCH_KCK_FLOW": json.dumps({})}

    @property
    def database(self) -> str:
        return f"bench_{self.shared}" if self.shared else super().database

    def prepare(self) -> None:
        """Make the tables, all empty; a shared database stays as its first contestant made it."""
        made = bool(self.shared) and self._is_made()
        django_setup.set_up(self.places, self.database, APPS, keep=made, **self.settings)
        if made:
            return
        django_setup.migrate()
        for operation, old, minus in (
            ("insert", "", ""),
            ("update", " OLD TABLE AS old_rows", f" UNION ALL SELECT {_ROW}, -1 FROM old_rows"),
        ):
            changed = f"SELECT {_ROW}, 1 AS s FROM new_rows{minus}"
            seen = f"REFERENCING NEW TABLE AS new_rows{old}"
            self.run(_TALLY.format(operation=operation, changed=changed, seen=seen))
        names = " UNION ALL ".join(
            f"SELECT '{name}' || g, 0 FROM generate_series(0, {VALUES - 1}) AS g"
            for name in ("plan:plan", "country:c", "shop:")
        )
        self.run(f"INSERT INTO bench_tally SELECT 'total', 0 UNION ALL {names}")

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements on a connection of their own; returns the rows of the last."""
        return database.run(self.places["postgres"], self.database, *statements)

    def _is_made(self) -> bool:
        """Whether the shared database was completed in this run of the bench."""
        place = self.places["postgres"]
        if not database.run(
            place, "postgres", f"SELECT 1 FROM pg_database WHERE datname = '{self.database}'"
        ):
            return False
        return bool(self.run(f"SELECT 1 FROM pg_description WHERE description = '{self.places['folder']}'"))

    def fill_table(self, rows: int) -> None:
        """Fill the table with so many rows as a restore does, without its triggers, and have its stocks counted."""
        disable = f"ALTER TABLE {self.table} DISABLE TRIGGER USER"
        enable = [
            f"ALTER TABLE {self.table} ENABLE {'ALWAYS' if name.startswith('kck_') else ''} TRIGGER {name}"
            for (name,) in self.run(
                f"SELECT tgname FROM pg_trigger WHERE tgrelid = '{self.table}'::regclass AND NOT tgisinternal"
            )
        ]
        self.run(disable)
        step = 500_000
        for first in range(1, rows + 1, step):
            last = min(rows, first + step - 1)
            self.run(f"INSERT INTO {self.table} {COLUMNS} {ROWS.format(first=first, last=last)}")
        for statement in enable:
            self.run(statement)
        self.run(f"VACUUM ANALYZE {self.table}", "CHECKPOINT")
        self.count()
        if self.shared:
            self.made()

    def made(self) -> None:
        """Note that the shared database is complete."""
        self.run(f"COMMENT ON TABLE bench_untracked IS '{self.places['folder']}'")

    def count(self) -> None:
        """Have the stocks counted, now."""
        for stock in self.stocks:
            self.cache.refresh(stock)

    @property
    def cache(self) -> Any:
        """The cache, once Django is set up."""
        from kck_flow import Cache

        return Cache.get_instance()

    def leave(self) -> None:
        django_setup.close_connections()

    def connect(self) -> Any:
        """Open a connection of the bare driver to this contestant's database, in autocommit."""
        return database.connect(self.places["postgres"], self.database)

    # ------------------------------------------------------------ the worker that folds

    def command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "django", "kck", "worker"]

    def environment(self) -> dict[str, str]:
        variables = django_setup.environment(self.places, self.database, APPS, **self.settings)
        return {**variables, "PYTHONPATH": os.getcwd()}

    def start_worker(self, folder: str) -> None:
        """Start a worker and hold it; it is let go in each turn."""
        if not self.worker:
            return
        output = open(f"{folder}/{self.name}-{self.phase}-worker.out", "wb")  # noqa: SIM115
        self.workers.append(
            subprocess.Popen(
                self.command(0),
                env={**os.environ, **self.environment()},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        )
        atexit.register(self.stop)
        until = time.monotonic() + 30
        while not self.run("SELECT count(*) FROM kck_worker")[0][0]:
            if time.monotonic() > until:
                raise RuntimeError("its worker did not start within 30 s")
            time.sleep(0.1)
        time.sleep(0.5)
        self.hold()

    def fold(self) -> int:
        """Fold all that waits, here; returns how many deltas there were."""
        from kck_flow.store import levels, private

        folded = 0
        with private.session("default") as session:
            while found := levels.foldable(session):
                folded += sum(levels.fold(session, [generation], 20_000) for generation, _ in found)
        return folded

    def waiting(self) -> int:
        """Return how many deltas wait."""
        return int(self.run("SELECT count(*) FROM kck_delta")[0][0])

    def sizes(self) -> dict[str, float]:
        """Return the sizes of our tables with their indexes, in bytes."""
        found = self.run(
            "SELECT relname, pg_total_relation_size(oid) FROM pg_class "
            "WHERE relkind = 'r' AND relname IN ('kck_delta', 'kck_level')"
        )
        return {name: float(size) for name, size in found}
