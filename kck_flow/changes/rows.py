"""Rows that edges are declared on, watched by triggers: whoever writes them, marks and changes are appended with it.

What only Python can tell is left to the signals of ``capture``; so is everything until ``migrate`` has put the triggers
in place. A trigger says in its transaction what it has told, and the signals leave that alone: no change is told twice,
none is left out.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models.signals import post_migrate, pre_migrate

from .. import clock, spread
from ..definition import literal
from ..spread import CHANGE, STALE
from ..store import pending
from ..store.session import Session
from .tables import OPERATIONS, OURS, SEEN, Table, about_to_change, is_last, patiently, table_of
from .watches import PREFIX, Watch, effect, functions, setting, watched

logger = logging.getLogger("kck_flow")

# How long a process believes that the triggers which it saw are there. Those that are put back later mark what they
# tell as stale, so nothing is lost by it.
BELIEVED_SECONDS = 1.0


def install(alias: str) -> list[str]:
    """Put the triggers in place that the declared edges need; returns the tables where something was changed. One that
    has nothing to do asks one question.

    Raises:
        OperationalError: a table was locked by somebody all the while.
    """
    session = Session(connections[alias])
    if session.run("SELECT to_regclass('kck_edge')")[0][0] is None:
        return []
    there = _installed(session)
    changed = []
    tables = {relation: table_of(session, relation) for relation in watched(alias)}
    kept = {part for table in tables.values() if table is not None for part in table.parts}
    left = {_table(found) for part, found in there.items() if part not in kept}
    for relation, watches in watched(alias).items():
        table = tables[relation]
        # What is not there is not migrated yet.
        if table is not None and _install(session, table, watches, there, left=relation in left):
            changed.append(relation)
    for part in sorted(there.keys() - kept):
        patiently(session, part, lambda part=part: _drop(session, part))
        changed.append(part)
    if changed:
        _sweep(session)
        forget()
    return changed


def missing(alias: str) -> list[str]:
    """Return the tables whose triggers are not as the declared edges want them; changes nothing."""
    session = Session(connections[alias])
    there = _installed(session)
    wrong = []
    for relation, watches in watched(alias).items():
        table = table_of(session, relation)
        # What is no table (a view) cannot be watched, and nobody could mend that.
        if table is not None and _wrong(table, functions(table, watches), there):
            wrong.append(relation)
    return wrong


def _installed(session: Session) -> dict[str, dict[str, tuple[str, str, str]]]:
    """Return our triggers by table, each (function, whether it is enabled, what it serves) by operation; see
    ``triggers._installed``.
    """
    rows = session.run(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname, p.proname, t.tgenabled::text, "
        "coalesce(obj_description(p.oid, 'pg_proc'), '') "
        "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname LIKE 'kck\\_rows\\_%%' AND NOT t.tgisinternal "
        f"AND p.pronamespace = {OURS}", []
    )  # fmt: skip
    found: dict[str, dict[str, tuple[str, str, str]]] = defaultdict(dict)
    for part, trigger, function, enabled, serves in rows:
        found[part][trigger.removeprefix(PREFIX)] = (function, enabled, serves)
    return dict(found)


def _wrong(
    table: Table, made: Mapping[str, tuple[str, str]], there: Mapping[str, Mapping[str, tuple[str, str, str]]]
) -> list[str]:
    right = {operation: (name, "A") for operation, (name, _) in made.items()}
    return [
        part
        for part in table.parts
        if {operation: found[:2] for operation, found in there.get(part, {}).items()} != right
    ]


def _install(
    session: Session,
    table: Table,
    watches: Sequence[Watch],
    there: Mapping[str, Mapping[str, tuple[str, str, str]]],
    *,
    left: bool,
) -> bool:
    """Put the triggers of a table in place; ``left``: a partition has left it, and took its rows along untold."""
    made = functions(table, watches)
    wrong = _wrong(table, made, there)
    if not wrong and not left:
        return False
    names = sorted({watch.name for watch in watches})
    serves = json.dumps({"table": table.relation, "edges": names})
    # What was served without a gap before: on every part, by every operation, and enabled.
    before: set[str] = set() if left else set(names)
    for part in table.parts:
        found = there.get(part, {})
        whole = found.keys() == set(OPERATIONS) and all(one[1] == "A" for one in found.values())
        before &= set(names).intersection(*[_serves(one[2])[1] for one in found.values()]) if whole else set()

    def replace() -> None:
        session.run(f"LOCK TABLE {table.relation} IN ACCESS EXCLUSIVE MODE")
        for name, statement in made.values():
            if not session.run("SELECT to_regproc(%s)", [f"{table.schema}{name}"])[0][0]:
                session.run(statement)
                session.run(f"COMMENT ON FUNCTION {table.schema}{name}() IS {literal(serves)}")
        for part in wrong:
            for operation, (name, _) in made.items():
                session.run(
                    f"CREATE OR REPLACE TRIGGER {PREFIX}{operation} AFTER {operation.upper()} ON {part} "
                    f"{SEEN[operation]}FOR EACH STATEMENT EXECUTE FUNCTION {table.schema}{name}()"
                )
                session.run(f"ALTER TABLE {part} ENABLE ALWAYS TRIGGER {PREFIX}{operation}")
        # What was written before nobody may have seen; where nothing is stored or computed yet, nothing can be stale.
        fresh = not session.run("SELECT 1 FROM kck_product UNION ALL SELECT 1 FROM kck_refresh LIMIT 1")
        for base, kind in sorted(
            {(w.key_base, w.told[0].kind) for w in watches if w.name not in before and not fresh}
        ):
            kind = STALE if kind == CHANGE else kind
            what = "lost a partition" if left else "is watched by triggers from now on"
            reason = f"{watches[0].label} {what}"
            pending.append(session, [pending.Mark(base, kind, source=watches[0].label, reason=reason)])
            if kind == STALE:
                spread.from_family(session, base, at=clock.now(), reason=reason)

    patiently(session, table.relation, replace)
    logger.info("rows.watched table=%s edges=%d", table.relation, len(watches))
    return True


def _table(found: Mapping[str, tuple[str, str, str]]) -> str:
    """Return the table that the triggers of a part serve; empty where that is not known."""
    return next((_serves(one[2])[0] for one in found.values()), "")


def _serves(comment: str) -> tuple[str, set[str]]:
    """Return (table, edges) that a function's comment names."""
    try:
        found = json.loads(comment)
        return found["table"], set(found["edges"])
    except (ValueError, KeyError, TypeError):
        return "", set()


def _drop(session: Session, part: str) -> None:
    for operation in OPERATIONS:
        session.run(f"DROP TRIGGER IF EXISTS {PREFIX}{operation} ON {part}")
    logger.info("rows.unwatched table=%s", part)


def _sweep(session: Session) -> None:
    """Drop functions of ours that no trigger calls any more."""
    rows = session.run(
        f"SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = {OURS} "
        "AND p.proname ~ '^kck_rows_(insert|update|delete|truncate)_[0-9a-f]{20}$' "
        "AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)"
    )
    for (function,) in rows:
        session.run(f"DROP FUNCTION IF EXISTS {function}")


def connect() -> None:
    """Put triggers in place after each ``migrate``: of the last app, when every table is there."""
    pre_migrate.connect(_before_migrate, dispatch_uid="kck_flow.rows")
    post_migrate.connect(_after_migrate, dispatch_uid="kck_flow.rows")


def _before_migrate(sender: Any, using: str, plan: Any = (), **_: Any) -> None:
    """Take the triggers off the tables of apps that are about to be migrated: a column that is renamed or dropped under
    one would make every later write fail.
    """
    if not plan or not is_last(sender, using):
        return
    session = Session(connections[using])
    labels = about_to_change(plan)
    leaving = any(backwards and migration.app_label == "kck_flow" for migration, backwards in plan)
    names = {model._meta.db_table for model in apps.get_models() if model._meta.app_label in labels}
    there = _installed(session)
    for part, found in sorted(there.items()):
        relation = _table(found)
        if leaving or not relation or relation.strip('"').replace('""', '"') in names:
            patiently(session, part, lambda part=part: _drop(session, part))
            forget()
    if leaving:
        _sweep(session)


def _after_migrate(sender: Any, using: str, **_: Any) -> None:
    if is_last(sender, using):
        install(using)


# -- what signals need not tell
# ----------------------------------------------------------------------------------------------------------------------

_believed: dict[str, tuple[float, dict[str, set[str]]]] = {}


def forget() -> None:
    """Look again which triggers are there."""
    _believed.clear()


def served(session: Session, relation: str) -> set[str]:
    """Return the names of the edges on a table that triggers serve, as seen a second ago at most."""
    alias = session.alias
    known = _believed.get(alias)
    if known is None or time.monotonic() > known[0]:
        found: dict[str, list[set[str]]] = defaultdict(list)
        for part in _installed(session).values():
            whole = part.keys() == set(OPERATIONS) and all(one[1] == "A" for one in part.values())
            for one in part.values():
                table, edges = _serves(one[2])
                found[table].append(edges if whole else set())
        known = _believed[alias] = (
            time.monotonic() + BELIEVED_SECONDS,
            {table: several[0].intersection(*several[1:]) for table, several in found.items()},
        )
    return known[1].get(relation, set())


def told(session: Session, relation: str) -> set[str]:
    """Return the effects (``watches.effect``) that a trigger of a table has told in this transaction, which has written
    to it: exact, where ``served`` is a second old.
    """
    found = session.run("SELECT current_setting(%s, true)", [setting(relation)])[0][0]
    return {effect(name) for name in (found or "").split(", ")} - {""}
