"""What the tables need beside their columns: storage options, room and a function, put in place after ``migrate``.

By one ``post_migrate`` receiver, not by migrations: test databases made without migrations need it too, and
drift is repaired by the next ``migrate``. One query when nothing is to be done.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from typing import Any

from django.db import connections, transaction
from django.db.models.signals import post_migrate

from ..conf import conf
from .session import Session

# Hot rows are updated in place (HOT) while their page has room; small hot tables are vacuumed early. Without
# vacuum_truncate a table keeps its room (below).
OPTIONS: dict[str, dict[str, str]] = {
    "kck_refresh": {
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "200",
        "vacuum_truncate": "false",
    },
    "kck_product": {
        "fillfactor": "85",
        "autovacuum_vacuum_scale_factor": "0.05",
        "vacuum_truncate": "false",
    },
    "kck_pending": {
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "500",
        "vacuum_truncate": "false",
    },
    "kck_edge": {"vacuum_truncate": "false"},
    "kck_generation": {"fillfactor": "50"},
    "kck_level": {"fillfactor": "50", "autovacuum_vacuum_scale_factor": "0.05"},
    "kck_delta": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "500"},
    "kck_cursor": {
        "fillfactor": "50",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "200",
    },
    "kck_frame": {"fillfactor": "70"},
    "kck_held": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "500"},
    "kck_permit": {"fillfactor": "50"},
    "kck_worker": {"fillfactor": "50"},
}

# Plans of prepared statements are kept, and a table of a few pages is planned to be read whole: a burst of changes
# would then be read whole by every reader until the next ANALYZE (60,000 marks of others: 31 ms a read, not 0.1).
# With room for so many pages the index is the cheaper way from the beginning.
ROOM = 16
_FILLER = "(SELECT string_agg(md5(row_number::text || n::text), '') FROM generate_series(1, 50) n)"
_FILL = {
    "kck_refresh": f"(digest, key, key_base) SELECT gen_random_uuid(), {_FILLER}, ''",
    "kck_product": f"(digest, key, key_base) SELECT gen_random_uuid(), {_FILLER}, ''",
    "kck_pending": f"(key_base, kind, reason) SELECT '', 'stale', {_FILLER}",
    "kck_edge": f"(upstream, downstream, upstream_key, downstream_key, mode) "
    f"SELECT gen_random_uuid(), gen_random_uuid(), {_FILLER}, '', 'stale'",
}

# Their texts are files in sql/ (function_mark_below.sql), and what is installed says which it is made from. Those that
# others call come first.
FUNCTIONS = ("kck_mark_below", "kck_text", "kck_args", "kck_digest", "kck_part")


def connect() -> None:
    """Put the options in place after each ``migrate``."""
    post_migrate.connect(_after_migrate, dispatch_uid="kck_flow.install")


def function_text(name: str) -> str:
    """Return the statement that creates a function, its reason included."""
    return (
        resources.files(__package__).joinpath("sql", f"{name.replace('kck_', 'function_')}.sql").read_text()
    )


def missing_functions(session: Session) -> list[str]:
    """Return the functions that are missing or made from another text; none where our tables are not there."""
    if session.run("SELECT to_regclass('kck_edge')")[0][0] is None:
        return []
    rows = session.run(
        "SELECT p.proname, d.description FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
        "LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass "
        "WHERE p.proname = ANY(%s) AND n.nspname = ANY(current_schemas(false))",
        [list(FUNCTIONS)],
    )
    there = dict(rows)
    return [name for name in FUNCTIONS if there.get(name) != _mark(name)]


def _mark(name: str) -> str:
    return f"kck_flow {sha256(function_text(name).encode()).hexdigest()[:16]}"


def missing(session: Session) -> dict[str, dict[str, str]]:
    """Return the options that some table lacks, by table; a table that does not exist lacks nothing."""
    rows = session.run(
        "SELECT relname, coalesce(reloptions, '{}') FROM pg_class "
        "WHERE relkind = 'r' AND relname = ANY(%s) AND pg_table_is_visible(oid)",
        [list(OPTIONS)],
    )
    found = {}
    for name, options in rows:
        given = dict(option.split("=", 1) for option in options)
        lacking = {option: value for option, value in OPTIONS[name].items() if given.get(option) != value}
        if lacking:
            found[name] = lacking
    return found


def install(alias: str) -> int:
    """Put what is missing in place; returns how many tables and functions were changed."""
    session = Session(connections[alias])
    changed = missing(session)
    for name, options in changed.items():
        shown = ", ".join(f"{option} = {value}" for option, value in options.items())
        session.run(f"ALTER TABLE {name} SET ({shown})")
    functions = missing_functions(session)
    for name in functions:
        session.run(function_text(name))
        session.run(f"COMMENT ON FUNCTION {name} IS '{_mark(name)}'")
    if session.run("SELECT to_regclass('kck_edge')")[0][0] is None:
        for name in FUNCTIONS:  # `migrate kck_flow zero` leaves nothing behind
            session.run(f"DROP FUNCTION IF EXISTS {name}")
    return len(changed) + len(functions)


def make_room(session: Session) -> list[str]:
    """Let each table that kept plans look into have ``ROOM`` pages; returns those that had fewer."""
    rows = session.run(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s) AND pg_table_is_visible(oid) "
        "AND pg_relation_size(oid) < %s * current_setting('block_size')::int",
        [list(_FILL), ROOM],
    )
    for (name,) in rows:
        with transaction.atomic(using=session.alias):
            session.run(f"INSERT INTO {name} {_FILL[name]} FROM generate_series(1, {4 * ROOM}) row_number")
            # The rows were never there; the pages stay.
            transaction.set_rollback(True, using=session.alias)
    return [name for (name,) in rows]


def _after_migrate(sender: Any, using: str, **more: Any) -> None:
    # Sent once for each app, and after every flush: only our own turn counts, and one query finds nothing to
    # do.
    if sender.name == "kck_flow" and using in conf.DATABASES and connections[using].vendor == "postgresql":
        install(using)
        if more.get("plan") is not None:  # a flush between tests has other things to do
            make_room(Session(connections[using]))
