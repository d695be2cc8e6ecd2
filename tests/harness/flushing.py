"""The flush after a test: of the tables that were written to, because an empty one takes as long as any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.postgresql.operations import DatabaseOperations

# A table has pages from its first row on, committed or not, until it is truncated. Those that refer to one that is
# truncated have to be truncated with it, even where they are empty. A partitioned table has no pages of its own.
WRITTEN = """
    WITH RECURSIVE written AS (
        SELECT oid FROM pg_class
        WHERE relname = ANY(%(tables)s) AND pg_table_is_visible(oid)
          AND (pg_relation_size(oid) > 0 OR relkind = 'p' OR relhassubclass)
        UNION
        SELECT conrelid FROM pg_constraint JOIN written ON confrelid = written.oid AND contype = 'f'
    )
    SELECT relname FROM written JOIN pg_class USING (oid) WHERE relname = ANY(%(tables)s) ORDER BY relname
"""

_of_all: Callable[..., list[str]] = DatabaseOperations.sql_flush


def _of_those_written(self: DatabaseOperations, style: Any, tables: Sequence[str], **more: Any) -> list[str]:
    with self.connection.cursor() as cursor:
        cursor.execute(WRITTEN, {"tables": list(tables)})
        return _of_all(self, style, [name for (name,) in cursor.fetchall()], **more)


def only_what_was_written() -> None:
    """Have every flush of this process leave out the tables that are empty and were so all along."""
    DatabaseOperations.sql_flush = _of_those_written  # type: ignore[method-assign]
