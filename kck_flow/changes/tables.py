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

# What opens a function: a column named "found" or "new" is that column, whatever PL/pgSQL knows by that name.
COLUMNS_FIRST = "#variable_conflict use_column "
OPERATIONS = ("insert", "update", "delete", "truncate")
SEEN = {
    "insert": "REFERENCING NEW TABLE AS new_rows ",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "delete": "REFERENCING OLD TABLE AS old_rows ",
    "truncate": "",
}
# The schema in which our tables are, and the functions of our triggers. Other projects may have theirs in the database.
OURS = "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass('kck_delta'))"
TRIES, LOCK_SECONDS = 5, 2
# A lock that was not given in time; a look at the same flows meanwhile, which crossed ours.
_HELD_UP = ("55P03", "40001", "40P01")
# The columns of a table: which schemas their types need, whether their collation takes unlike texts for equal, whether
# they can be compared. A domain is what it is made of, an array its elements.
# What has no order and no hash (json, xml, points) PostgreSQL cannot group by.
_COLUMNS = """
WITH RECURSIVE columns AS (
    SELECT a.attname, a.atttypid, a.attcollation FROM pg_attribute a
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
), made AS (
    SELECT c.attname, c.atttypid AS typid FROM columns c
    UNION
    SELECT m.attname, CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
    FROM made m JOIN pg_type t ON t.oid = m.typid
    WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0)
)
SELECT c.attname, array_agg(DISTINCT quote_ident(n.nspname)::text) FILTER (WHERE n.nspname <> 'pg_catalog'),
    bool_or(c.attcollation <> 0 AND (n.nspname <> 'pg_catalog' OR NOT coalesce(k.collisdeterministic, true))),
    bool_and(t.typtype IN ('d', 'e', 'r', 'm') OR (t.typcategory = 'A' AND t.typelem <> 0)
        OR (t.typtype = 'b' AND EXISTS (
            SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
            WHERE o.opcdefault AND m.amname IN ('btree', 'hash') AND (o.opcintype = t.oid OR EXISTS (
                SELECT FROM pg_cast AS cast_ WHERE cast_.castsource = t.oid AND cast_.casttarget = o.opcintype
                AND cast_.castmethod = 'b' AND cast_.castcontext = 'i')))))
FROM columns c JOIN made m USING (attname) JOIN pg_type t ON t.oid = m.typid
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_collation k ON k.oid = c.attcollation
GROUP BY c.attname
"""


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
    columns = session.run(_COLUMNS, [oid])
    return Table(
        relation,
        tuple(row[0] for row in parts),
        schema,
        tuple(sorted({schema for row in columns for schema in row[1] or ()})),
        tuple(sorted(row[0] for row in columns if row[2])),
        all(row[3] for row in columns),
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
