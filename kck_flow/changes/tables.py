"""Tables that triggers stand on: what has to be known of one, and how it is locked for a change.

What captures counted tables (``triggers``) and what watches rows for edges (``rows``) share this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import OperationalError, connections, transaction
from django.db.migrations.operations import (
    AddIndex,
    AlterModelManagers,
    AlterModelOptions,
    CreateModel,
    RemoveIndex,
)

from ..conf import conf
from ..store.session import Session

logger = logging.getLogger("kck_flow")

OPERATIONS = ("insert", "update", "delete", "truncate")
SEEN = {
    "insert": "REFERENCING NEW TABLE AS new_rows ",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "delete": "REFERENCING OLD TABLE AS old_rows ",
    "truncate": "",
}
TRIES, LOCK_SECONDS = 5, 2
# A lock that was not given in time; a look at the same flows meanwhile, which crossed ours.
_HELD_UP = ("55P03", "40001", "40P01")
# Types that PostgreSQL cannot group by.
_UNGROUPABLE = ("json", "xml", "point", "polygon", "circle", "line", "box", "path", "lseg")


@dataclass(frozen=True)
class Table:
    """A table that is captured.

    Attributes:
        relation: As definitions name it.
        parts: Itself and its partitions, each quoted with its schema.
        schema: Where our tables are, quoted, with a dot.
        path: Schemas that its columns' types need.
        bytewise: Columns whose collation takes unlike texts for equal.
        grouped: Whether all its columns can be grouped by.
    """

    relation: str
    parts: tuple[str, ...]
    schema: str
    path: tuple[str, ...] = ()
    bytewise: tuple[str, ...] = ()
    grouped: bool = True


def table_of(session: Session, relation: str) -> Table | None:
    """Return what must be known of a table to capture it; None where there is none of that name, or it is a view."""
    found = session.run(
        "SELECT c.oid::bigint, c.relkind FROM pg_class c WHERE c.oid = to_regclass(%s)", [relation]
    )
    if not found or found[0][1] not in ("r", "p"):
        return None
    oid = found[0][0]
    parts = session.run(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid IN (SELECT relid FROM pg_partition_tree(%s::oid::regclass) UNION SELECT %s::oid) "
        "AND c.relkind IN ('r', 'p') ORDER BY 1",
        [oid, oid],
    )
    schema = session.run(
        "SELECT quote_ident(n.nspname) || '.' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.oid = to_regclass('kck_delta')"
    )[0][0]
    columns = session.run(
        "SELECT a.attname, t.typname, quote_ident(n.nspname), n.nspname <> 'pg_catalog', "
        "a.attcollation <> 0 AND (n.nspname <> 'pg_catalog' OR NOT coalesce(k.collisdeterministic, true)) "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace "
        "LEFT JOIN pg_collation k ON k.oid = a.attcollation "
        "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped",
        [oid],
    )
    return Table(
        relation,
        tuple(row[0] for row in parts),
        schema,
        tuple(sorted({row[2] for row in columns if row[3]})),
        tuple(sorted(row[0] for row in columns if row[4])),
        not any(row[1] in _UNGROUPABLE for row in columns),
    )


def patiently(session: Session, relation: str, work: Any) -> None:
    """Do something that locks a table, in a transaction that waits for writers only so long, again and again.

    Raises:
        OperationalError: somebody held it all the while; it names the table and what to do.
    """
    for attempt in range(1, TRIES + 1):
        try:
            with transaction.atomic(using=session.alias):
                session.run(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                work()
                session.run("SET LOCAL lock_timeout = DEFAULT")
            return
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", getattr(error.__cause__, "pgcode", "")) not in _HELD_UP:
                raise
            if attempt == TRIES:
                raise OperationalError(
                    f"{relation} was held by another transaction all the while, and its triggers are not as they "
                    "should be: what is written to it may not be counted. End that transaction, and run manage.py "
                    "migrate again."
                ) from error
            logger.warning("capture.waiting attempt=%d error=%s", attempt, str(error).strip())
            time.sleep(0.2 * attempt)


# What changes no table that is there already.
_HARMLESS = (CreateModel, AlterModelOptions, AlterModelManagers, AddIndex, RemoveIndex)


def about_to_change(plan: Iterable[tuple[Any, bool]]) -> set[str]:
    """Return the labels of the apps some of whose tables a plan of ``migrate`` may change under a trigger."""
    return {
        migration.app_label
        for migration, backwards in plan
        # Backwards, what creates a table drops it.
        if any(backwards or not isinstance(operation, _HARMLESS) for operation in migration.operations)
    }


def is_last(sender: Any, using: str) -> bool:
    """Whether a signal of ``migrate`` is the one of the last app, of a database that triggers may stand in: every table
    is there then.
    """
    return bool(
        sender.name == last_app() and using in conf.DATABASES and connections[using].vendor == "postgresql"
    )


def last_app() -> str:
    """Return the name of the app whose signal of ``migrate`` comes last."""
    return str([config for config in apps.get_app_configs() if config.models_module is not None][-1].name)
