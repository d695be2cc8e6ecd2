"""The capture of counted tables: one function for each operation of a table, serving every definition in one pass.

A statement-level trigger sees the rows that a statement left and those it found. Each definition's effect is summed
over them, and what does not come out at zero is appended as deltas, in the writer's own transaction. No row that
another writer could want is touched, so writers never wait for one another, and nothing here can deadlock: a
transaction only appends, and only to a table that nobody locks.

In the shape of django-pgtrigger's, which cannot serve here: no ENABLE ALWAYS, no search path of its own, a trigger for
each product, and migrations in the model's own app.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connections, transaction
from django.db.models.signals import post_migrate, pre_migrate

from ..definition import (
    Captured,
    FlowDefinition,
    NotCaptured,
    flow_definition,
    stored,
)
from ..errors import DeclarationError
from ..registry import registry
from ..spread import alias_of
from ..stock import Flow, Stock
from ..store import events, gaps, generations
from ..store.session import Session
from ..tracked import tracked_definition
from ..walked import stock_definition
from . import books, history
from . import gaps as capturing
from .bodies import functions, typed_of
from .tables import OURS, SEEN, Table, about_to_change, is_last, patiently, table_of

logger = logging.getLogger("kck_flow")


def declared(alias: str) -> list[Captured]:
    """Return the definitions of the stocks and flows that live in a database, those that can be captured (or are told
    by what Python sees)."""
    found: list[Captured] = []
    for primer in registry.unique():
        if isinstance(primer, (Stock, Flow)) and alias_of(primer) == alias:
            with suppress(NotCaptured, DeclarationError):  # the checks say why
                if isinstance(primer, Stock):
                    found.append(stock_definition(primer, alias))
                elif primer.capture == "signals":
                    found.append(tracked_definition(primer, alias))
                else:
                    found.append(flow_definition(primer, alias, *registry.ends(primer)))
    return found


def install(alias: str) -> list[str]:
    """Put the definitions declared here in force, and the triggers that capture for all that are; returns the tables
    whose capture was changed. One that has nothing to do asks a handful of questions, and two of each model that keeps
    events.

    Raises:
        OperationalError: a table was locked by somebody all the while.
    """
    session = Session(connections[alias])
    if session.run("SELECT to_regclass('kck_gap')")[0][0] is None:
        return []
    wanted = declared(alias)
    known = {row[0]: (row[1], row[5]) for row in generations.in_force(session)}
    with transaction.atomic(using=alias):
        for one in wanted:
            if one.generation not in known:
                generations.declare(session, one.generation, one.key_base, one.relation, one.to_json())
                gaps.forget(session, one.generation)
            # One that was in force before, and is again, may have kept events then.
            if isinstance(one, FlowDefinition) and (
                one.generation not in known or _recorded(known, one.key_base) != _recording(one)
            ):
                generations.record(session, one.generation, one.key_base, _recording(one).get(one.generation))
        if known.keys() - {one.generation for one in wanted}:
            bases = [one.key_base for one in wanted]
            generations.retire(session, [one.generation for one in wanted], bases)
    if known.keys() - {one.generation for one in wanted}:
        generations.drop_retired(session)
    starting = {one.generation for one in wanted if _from_history(one)} & generations.not_begun(session)
    tables = _fitting(session, _tables(session), {one.generation for one in wanted})
    tables = {relation: _kept(session, found, tell=True) for relation, found in tables.items()}
    changed = []
    there = _installed(session)
    kept: set[str] = set()
    for relation, definitions in tables.items():
        table = table_of(session, relation)
        if table is not None:
            kept.update(table.parts)
            if _install(session, table, definitions, there, starting):
                changed.append(relation)
    for part in sorted(there.keys() - kept):
        patiently(session, part, lambda part=part: _drop(session, part, there[part]))
        changed.append(part)
    # Of those that are new where the triggers were right before, the count begins now.
    capturing.look(session)
    if changed:
        _sweep(session)
        books.open_books(session)
    return changed


def _from_history(one: Captured) -> bool:
    flow = registry.primers.get(one.key_base)
    return isinstance(one, FlowDefinition) and isinstance(flow, Flow) and flow.from_history


def _recorded(known: Mapping[int, tuple[str, Any]], key_base: str) -> dict[int, Any]:
    """Return how the definitions of a flow in force keep events, by generation; those that keep none left out."""
    return {number: kept for number, (base, kept) in known.items() if base == key_base and kept}


def _recording(one: FlowDefinition) -> dict[int, Any]:
    """Return how that should be."""
    return {one.generation: one.recording.to_json()} if one.recording is not None else {}


def _fitting(
    session: Session, tables: dict[str, list[Captured]], wanted: Container[int]
) -> dict[str, list[Captured]]:
    """Return the definitions that their tables fit. Of the others (a column was dropped, and yesterday's code still
    reads it) a trigger would fail every write: they are out of force.
    """
    fitting: dict[str, list[Captured]] = {}
    for relation, definitions in tables.items():
        if table_of(session, relation) is None:
            continue  # not migrated yet
        for one in definitions:
            try:
                with transaction.atomic(using=session.alias):
                    session.run(one.trial())
            except DatabaseError as error:
                generations.retire_one(session, one.generation)
                level = logging.ERROR if one.generation in wanted else logging.INFO
                first = str(error).strip().partition("\n")[0]
                logger.log(
                    level, "capture.refused family=%s table=%s error=%s", one.key_base, relation, first
                )
            else:
                fitting.setdefault(relation, []).append(one)
    return fitting


def _tables(session: Session) -> dict[str, list[Captured]]:
    """Return the definitions in force by table, those that triggers serve."""
    tables: dict[str, list[Captured]] = defaultdict(list)
    for _, _, relation, found, _, kept in generations.in_force(session):
        if found.get("capture") != "signals":
            tables[relation].append(stored(found, kept))
    return dict(sorted(tables.items()))


def _kept(session: Session, definitions: Sequence[Captured], *, tell: bool = False) -> list[Captured]:
    """Return definitions with the models of events that can take them, their tables named in full. Where one can not
    (it is not migrated yet, say), writes go on, and are counted: its events are not kept.
    """
    found: list[Captured] = []
    for one in definitions:
        typed = typed_of(one)
        if isinstance(one, FlowDefinition) and one.recording is not None and typed is not None:
            place, why = events.fitting(session, typed)
            kept = replace(one.recording, typed=replace(typed, relation=place)) if place is not None else None
            if kept is None and tell:
                # Where the table is not there yet, the migrate that makes it comes by here again.
                level = logging.ERROR if why != events.NO_TABLE else logging.WARNING
                logger.log(level, "events.refused family=%s model=%s why=%r", one.key_base, typed.model, why)
            found.append(replace(one, recording=kept))
        else:
            found.append(one)
    return found


def unkept(alias: str) -> list[tuple[str, str, str]]:
    """Return (flow, the model that is to keep its events, why it does not) of the definitions in force."""
    session = Session(connections[alias])
    found = []
    for definitions in _tables(session).values():
        for one in definitions:
            if (
                isinstance(one, FlowDefinition)
                and one.recording is not None
                and one.recording.typed is not None
            ):
                place, why = events.fitting(session, one.recording.typed)
                if place is None:
                    found.append((one.key_base, one.recording.typed.model, why))
    return found


def missing(alias: str) -> list[str]:
    """Return the tables whose triggers are not as what is declared and in force wants them; changes nothing."""
    session = Session(connections[alias])
    known = {row[0]: (row[1], row[5]) for row in generations.in_force(session)}
    wrong = {
        one.relation
        for one in declared(alias)
        if one.generation not in known
        or (isinstance(one, FlowDefinition) and _recorded(known, one.key_base) != _recording(one))
    }
    there = _installed(session)
    for relation, definitions in _tables(session).items():
        table = table_of(session, relation)
        if table is None or _wrong(table, functions(table, _kept(session, definitions)), there):
            wrong.add(relation)
    return sorted(wrong)


def _installed(session: Session) -> dict[str, dict[str, tuple[str, str]]]:
    """Return our triggers by table, each (function, whether it is enabled) by operation. Ours are those whose functions
    stand beside our tables: in another schema of the database somebody else may have tables of the same names.
    """
    rows = session.run(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname, p.proname, t.tgenabled::text "
        "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname LIKE 'kck\\_capture\\_%' AND NOT t.tgisinternal "
        f"AND p.pronamespace = {OURS}"
    )
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for part, trigger, function, enabled in rows:
        found[part][trigger.removeprefix("kck_capture_")] = (function, enabled)
    return dict(found)


def _wrong(
    table: Table, made: dict[str, tuple[str, str]], there: dict[str, dict[str, tuple[str, str]]]
) -> list[str]:
    """Return the parts of a table whose triggers are not those that were made."""
    right = {operation: (name, "A") for operation, (name, _) in made.items()}
    return [part for part in table.parts if there.get(part) != right]


def _install(
    session: Session,
    table: Table,
    definitions: Sequence[Captured],
    there: dict[str, dict[str, tuple[str, str]]],
    starting: Container[int] = (),
) -> bool:
    made = functions(table, definitions)
    wrong = _wrong(table, made, there)
    started = [one for one in definitions if isinstance(one, FlowDefinition) and one.generation in starting]
    if not wrong and not started:
        return False
    # History is read under the lock, and that takes its time: readers go on meanwhile.
    mode = "SHARE ROW EXCLUSIVE" if started else "ACCESS EXCLUSIVE"

    def replace() -> None:
        # Nobody writes to the table between here and the commit: capture was without a gap where it was whole before.
        session.run(f"LOCK TABLE {table.relation} IN {mode} MODE")
        at = gaps.oldest_writer(session)
        before = _captures(session, table, definitions)
        _witness(session, definitions, before, at)
        for name, statement in made.values():
            if not session.run("SELECT to_regproc(%s)", [f"{table.schema}{name}"])[0][0]:
                session.run(statement)
        for part in wrong:
            for operation, (name, _) in made.items():
                session.run(
                    f"CREATE OR REPLACE TRIGGER kck_capture_{operation} AFTER {operation.upper()} ON {part} "
                    f"{SEEN[operation]}FOR EACH STATEMENT EXECUTE FUNCTION {table.schema}{name}()"
                )
                session.run(f"ALTER TABLE {part} ENABLE ALWAYS TRIGGER kck_capture_{operation}")
        after = _captures(session, table, definitions)
        for generation, now in after.items():
            # Not those that the old functions did not serve: what was written since they were counted was not captured.
            if before[generation]:
                generations.adopt(session, generation, before[generation], now)
        for one in started:
            history.begin(session, one, before)
        _witness(session, definitions, after, at)

    patiently(session, table.relation, replace)
    logger.info("capture.installed table=%s products=%d", table.relation, len(definitions))
    return True


def _captures(session: Session, table: Table, definitions: Sequence[Captured]) -> dict[int, str]:
    return {
        one.generation: generations.captured_by(
            session, table.relation, one.generation, flow=isinstance(one, FlowDefinition)
        )
        for one in definitions
    }


def _witness(session: Session, definitions: Iterable[Captured], prints: Mapping[int, str], at: float) -> None:
    """Note what captures the flows of a table that nobody writes to."""
    for one in definitions:
        if isinstance(one, FlowDefinition):
            capturing.note(session, one.generation, one.key_base, prints[one.generation], at)


def _drop(session: Session, part: str, triggers: Iterable[str]) -> None:
    for operation in triggers:
        session.run(f"DROP TRIGGER IF EXISTS kck_capture_{operation} ON {part}")
    logger.info("capture.removed table=%s", part)


def _sweep(session: Session) -> None:
    """Drop functions of ours that no trigger calls any more."""
    rows = session.run(
        f"SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = {OURS} "
        "AND p.proname ~ '^kck_(insert|update|delete|truncate)_[0-9a-f]{20}$' "
        "AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)"
    )
    for (function,) in rows:
        session.run(f"DROP FUNCTION IF EXISTS {function}")


def connect() -> None:
    """Put triggers in place after each ``migrate``: of the last app, when every table is there."""
    pre_migrate.connect(_before_migrate, dispatch_uid="kck_flow.triggers")
    post_migrate.connect(_after_migrate, dispatch_uid="kck_flow.triggers")


def _before_migrate(sender: Any, using: str, plan: Any = (), **_: Any) -> None:
    """Take the triggers off the tables of apps that are about to be migrated: a column that is renamed or dropped under
    one would make every later write fail. What is written until they are back is not captured, and their stocks know.
    """
    if not plan or not is_last(sender, using):
        return
    session = Session(connections[using])
    if session.run("SELECT to_regclass('kck_generation')")[0][0] is None:
        return
    known = session.run("SELECT to_regclass('kck_gap')")[0][0] is not None
    labels = about_to_change(plan)
    # Without the tables that the triggers write to, nobody could write any more.
    leaving = any(backwards and migration.app_label == "kck_flow" for migration, backwards in plan)
    names = {model._meta.db_table for model in apps.get_models() if model._meta.app_label in labels}
    # Their definitions may have columns that are still to come; so may the table of definitions itself.
    rows = session.run(
        "SELECT relation, array_agg(to_jsonb(g) -> 'events' -> 'typed' ->> 'model') FROM kck_generation g WHERE live "
        "GROUP BY relation ORDER BY relation"
    )
    for relation, kept in rows:
        if leaving or relation.strip('"').replace('""', '"') in names:
            patiently(session, relation, lambda relation=relation: _take_off(session, relation, noted=known))
        elif any(model is not None and model.partition(".")[0] in labels for model in kept):
            # Functions of this release may need tables that are still to come.
            if "kck_flow" in labels or not known:
                patiently(
                    session, relation, lambda relation=relation: _take_off(session, relation, noted=known)
                )
            else:
                _keep_none(session, relation, labels)
    if leaving:
        _sweep(session)


def _take_off(session: Session, relation: str, *, noted: bool) -> None:
    table = table_of(session, relation)
    there = _installed(session)
    if noted and table is not None:
        # What its flows miss, they miss from here on, and not since they were last looked at. Should our own tables be
        # about to change under this release's statements, that is not known.
        with suppress(DatabaseError), transaction.atomic(using=session.alias):
            session.run(f"LOCK TABLE {relation} IN ACCESS EXCLUSIVE MODE")
            definitions = _tables(session).get(relation, [])
            at = gaps.oldest_writer(session)
            _witness(session, definitions, _captures(session, table, definitions), at)
    for part in table.parts if table is not None else ():
        if part in there:
            _drop(session, part, there[part])


def _keep_none(session: Session, relation: str, labels: Container[str]) -> None:
    """Have no events kept in tables of apps that are about to be migrated, for the same reason: what is written until
    then is counted, and no event is kept of it.
    """
    table = table_of(session, relation)
    there = _installed(session)
    if table is None or not any(part in there for part in table.parts):
        return
    found = _kept(session, _tables(session)[relation])
    for place, one in enumerate(found):
        typed = typed_of(one)
        if isinstance(one, FlowDefinition) and typed is not None and typed.model.partition(".")[0] in labels:
            found[place] = replace(one, recording=None)
    if _install(session, table, found, there):
        _sweep(session)


def _after_migrate(sender: Any, using: str, **_: Any) -> None:
    if is_last(sender, using):
        install(using)
