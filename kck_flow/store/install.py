"""What the tables need beside their columns: fillfactor and autovacuum, put in place after ``migrate``.

By one ``post_migrate`` receiver, not by migrations: test databases made without migrations need it too, and
drift is repaired by the next ``migrate``. One query when nothing is to be done.
"""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models.signals import post_migrate

from ..conf import conf
from .session import Session

# Hot rows are updated in place (HOT) while their page has room; small hot tables are vacuumed early.
OPTIONS: dict[str, dict[str, str]] = {
    "kck_refresh": {
        "fillfactor": "70",
        "autovacuum_vacuum_scale_factor": "0.02",
        "autovacuum_vacuum_threshold": "200",
    },
    "kck_product": {"fillfactor": "85", "autovacuum_vacuum_scale_factor": "0.05"},
    "kck_pending": {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "500"},
    "kck_permit": {"fillfactor": "50"},
    "kck_worker": {"fillfactor": "50"},
}


def connect() -> None:
    """Put the options in place after each ``migrate``."""
    post_migrate.connect(_after_migrate, dispatch_uid="kck_flow.install")


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
    """Put what is missing in place; returns how many tables were changed."""
    session = Session(connections[alias])
    changed = missing(session)
    for name, options in changed.items():
        shown = ", ".join(f"{option} = {value}" for option, value in options.items())
        session.run(f"ALTER TABLE {name} SET ({shown})")
    return len(changed)


def _after_migrate(sender: Any, using: str, **_: Any) -> None:
    # Sent once for each app, and after every flush: only our own turn counts, and one query finds nothing to
    # do.
    if sender.name == "kck_flow" and using in conf.DATABASES and connections[using].vendor == "postgresql":
        install(using)
