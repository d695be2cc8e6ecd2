"""Edges on models in SQL: which products a changed row reaches, and the triggers that append what it does to them.

Where a row's columns alone say which product it belongs to, a statement-level trigger spells the keys and appends
what ``spread`` would, in the writer's own transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from django.apps import apps
from django.db import models

from .. import spelling
from ..definition import NotCaptured, literal
from ..errors import DeclarationError
from ..primer import On, Primer
from ..registry import registry
from ..spelling import Part
from ..spread import AUGMENT, CHANGE, REFRESH, STALE, alias_of
from ..stock import EventWindow, Flow
from .bodies import quoted
from .tables import COLUMNS_FIRST, OPERATIONS, Table

_OLD, _NEW = "(p.o).", "(p.n)."
PREFIX = "kck_rows_"


@dataclass(frozen=True)
class Told:
    """What a changed row does: to which product, or family.

    Attributes:
        kind: ``stale``, ``refresh`` or ``change``.
        key: SQL of the product's key, ``{row}`` in the row's place; None for the whole family.
    """

    key_base: str
    kind: str
    key: str | None


@dataclass(frozen=True)
class Watch:
    """One edge on a model, in SQL.

    Attributes:
        columns: Those it watches, by the name that a ``Row`` has them by.
        told: What a change of them does: the product itself first, then what is declared below.
        about: SQL of which rows it is about, ``{row}`` in the row's place, new ones alone; empty: all, however changed.
    """

    key_base: str
    then: str
    label: str
    relation: str
    identity: str
    columns: Mapping[str, models.Field[Any, Any]]
    told: tuple[Told, ...]
    about: str = ""

    @cached_property
    def name(self) -> str:
        """What a trigger calls the edges that it serves: an edge that is declared otherwise is another."""
        columns = sorted(_column(field) for field in self.columns.values())
        said = repr((self.identity, columns, sorted(map(repr, self.told)), self.about))
        return f"{self.key_base}:{self.then}:{sha256(said.encode()).hexdigest()[:12]}"


def effect(name: str) -> str:
    """Return which product an edge reaches, and how, of its name: as all edges alike are called."""
    return name.rpartition(":")[0]


_compiled: dict[str, tuple[int, dict[Any, tuple[Watch | None, str]]]] = {}


def watched(alias: str) -> dict[str, list[Watch]]:
    """Return the edges that triggers of a database serve, by table."""
    found: dict[str, list[Watch]] = defaultdict(list)
    for watch, _ in _all(alias).values():
        if watch is not None:
            found[watch.relation].append(watch)
    return dict(sorted(found.items()))


def why_not(primer: Primer, on: On, alias: str) -> str:
    """Return why no trigger can serve an edge on a model; empty where one can."""
    found = _all(alias).get((primer.name, id(on)))
    return found[1] if found is not None else "it names no model"


def name_of(primer: Primer, on: On, alias: str) -> str:
    """Return what a trigger calls an edge; empty where none can serve it."""
    watch, _ = _all(alias).get((primer.name, id(on)), (None, ""))
    return watch.name if watch is not None else ""


def _all(alias: str) -> dict[Any, tuple[Watch | None, str]]:
    known = _compiled.get(alias)
    if known is not None and known[0] == registry.generation:
        return known[1]
    made: dict[Any, tuple[Watch | None, str]] = {}
    for model in registry.models():
        for primer, on in registry.on_model(model):
            try:
                made[primer.name, id(on)] = _watch(primer, on, model, alias), ""
            except (NotCaptured, DeclarationError) as error:  # the checks tell the latter
                made[primer.name, id(on)] = None, str(error)
    # Signals and triggers share out edges by product and effect: of two alike, one that only Python can tell takes the
    # other with it.
    for model in registry.models():
        alike = defaultdict(list)
        for primer, on in registry.on_model(model):
            alike[primer.name, on.then].append((primer.name, id(on)))
        for several in alike.values():
            if any(made[one][0] is None for one in several):
                why = next(made[one][1] for one in several if made[one][0] is None)
                made.update({one: (None, made[one][1] or why) for one in several})
    _compiled[alias] = registry.generation, made
    return made


def _watch(primer: Primer, on: On, model: type[models.Model], alias: str) -> Watch:
    """Return an edge in SQL. Raises NotCaptured: only signals can serve it, and why."""
    options = model._meta
    if primer.capture == "signals":
        raise NotCaptured("capture is 'signals'")
    if alias_of(primer) != alias:
        raise NotCaptured(f"its products live in the database {alias_of(primer)!r}")
    if options.parents and any(parent._meta.concrete_model is not model for parent in options.parents):
        raise NotCaptured(f"a row of {options.label} stands in several tables")
    if isinstance(options.pk, models.CompositePrimaryKey):
        raise NotCaptured(f"the primary key of {options.label} is made of several columns")
    if isinstance(on.key, EventWindow):
        return _events(on.key.flow, on, options)
    if callable(on.key):
        raise NotCaptured(f"which product a row belongs to, a function tells ({_named(on.key)})")
    by_attname = {field.attname: field for field in options.concrete_fields}
    columns = _columns(on, model)
    if on.then == AUGMENT:
        for name, field in columns.items():
            if hasattr(field, "from_db_value") and not isinstance(field, models.JSONField):
                raise NotCaptured(f"what {name} holds only Python can tell")
    try:
        needed = on._mapped(primer, {name: name for name in by_attname})
    except KeyError as error:
        raise NotCaptured(f"{options.label} has no column {error}") from None
    own: str | None = None
    given: dict[str, Part] | None = None
    if needed is not None:
        given = {}
        for name, attname in needed.items():
            field = by_attname[attname]
            given[name] = spelling.part_of(field, f"{{row}}{quoted(_column(field))}")
        own = spelling.key(primer, given)
    elif on.then == AUGMENT:
        raise NotCaptured("a row belongs to the whole family, and cannot be folded into it")
    kind = CHANGE if on.then == AUGMENT else REFRESH if on.then == REFRESH else STALE
    told = [Told(primer.name, kind, own)]
    if kind == STALE:
        told += _below(primer, given, {primer.name})
    return Watch(
        primer.name,
        on.then,
        options.label,
        quoted(options.db_table),
        _column(options.pk),
        columns,
        tuple(told),
    )


def _events(flow: Flow, on: On, options: Any) -> Watch:
    """Return a flow's edge on its events. Raises NotCaptured: SQL cannot spell its windows' keys."""
    spelled = [literal(flow.name)]
    for one in flow.own_parameters:
        kind = spelling.taken(one)
        if kind == "text":
            raise NotCaptured(f"of a long text, an event keeps its beginning ({one.name!r})")
        cast = {"int": "::numeric", "decimal": "::numeric", "instant": "::timestamptz", "date": "::date"}
        sql = f'({{row}}"args" ->> {literal(one.name)}){cast.get(kind, "")}'
        spelled.append(Part(sql, kind).text())
    start = flow.windows.sql('{row}"at"')
    spelled.append(flow.windows.text_sql(f"({start})"))
    key = "(" + " || '/' || ".join(spelled) + ")"
    about = f'{{row}}"key_base" = {literal(flow.name)}'
    columns = _columns(on, apps.get_model(options.label))
    told = (Told(flow.name, CHANGE, key),)
    return Watch(flow.name, on.then, options.label, quoted(options.db_table), "id", columns, told, about)


def _columns(on: On, model: type[models.Model]) -> dict[str, models.Field[Any, Any]]:
    """Return the columns that an edge watches, as ``capture`` picks them from a row that was read."""
    concrete = {field.attname: field for field in model._meta.concrete_fields}
    if on.fields is None:
        return concrete
    by_name = {field.name: field.attname for field in model._meta.concrete_fields}
    names = {by_name.get(name, name) for name in on.fields if name != "pk"} | {model._meta.pk.attname}
    if isinstance(on.key, str):
        names.add(on.key)
    elif isinstance(on.key, Mapping):
        names.update(on.key.values())
    return {name: field for name, field in concrete.items() if name in names}


def _below(primer: Primer, given: Mapping[str, Part] | None, above: set[str]) -> Iterator[Told]:
    """Yield what is declared to be stale, or refreshed, with a product: all of a family where SQL cannot tell which."""
    for downstream, on in registry.on_product(primer.name):
        if on.then == AUGMENT or downstream.name in above:
            continue
        parts: dict[str, Part] | None = {}
        text: str | None = None
        try:
            if given is None or callable(on.key):
                raise NotCaptured("only Python can tell")
            mapped = on._mapped(downstream, {name: name for name in given})
            if mapped is None:
                raise NotCaptured("all of them")
            parts = {name: given[upstream] for name, upstream in mapped.items()}
            text = spelling.key(downstream, parts)
        except (NotCaptured, KeyError):
            parts = None
        yield Told(downstream.name, REFRESH if on.then == REFRESH else STALE, text)
        if on.then != REFRESH:
            yield from _below(downstream, parts, above | {downstream.name})


def _column(field: models.Field[Any, Any]) -> str:
    return str(field.column)


def _named(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))


# -- the trigger
# ----------------------------------------------------------------------------------------------------------------------


def functions(table: Table, watches: Sequence[Watch]) -> dict[str, tuple[str, str]]:
    """Return (name, statement that creates it) of the function for each operation; the name carries a hash of it."""
    made = {}
    path = ", ".join(["pg_catalog", *table.path, "pg_temp"])
    for operation in OPERATIONS:
        body = " ".join(_body(operation, table, watches).split("\n"))
        rest = (
            "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {path} SET timezone = 'UTC' SET datestyle = 'ISO' SET extra_float_digits = 1 "
            f"SET bytea_output = 'hex' AS $kck$ {COLUMNS_FIRST}{body} $kck$"
        )
        name = f"{PREFIX}{operation}_{sha256((table.relation + rest).encode()).hexdigest()[:20]}"
        made[operation] = name, f"CREATE FUNCTION {table.schema}{name}() {rest}"
    return made


def _body(operation: str, table: Table, watches: Sequence[Watch]) -> str:
    names = ", ".join(sorted({watch.name for watch in watches}))
    says = f"PERFORM set_config({literal(setting(table.relation))}, {literal(names)}, true);"
    if operation == "truncate":
        told = sorted(
            {
                (one.key_base, STALE if one.kind == CHANGE else one.kind)
                for watch in watches
                if not watch.about
                for one in watch.told
            }
        )
        if not told:
            return f"BEGIN {says} RETURN NULL; END"
        rows = ", ".join(f"({literal(base)}, {literal(kind)})" for base, kind in told)
        label = literal(watches[0].label)
        return (
            f"BEGIN {says} INSERT INTO {table.schema}kck_pending (key_base, kind, source, reason) "
            f"SELECT base, kind, {label}, {label} || ' truncated' FROM (VALUES {rows}) AS v (base, kind) "
            # A flush between tests empties our tables with the rest, and should leave them empty.
            f"WHERE EXISTS (SELECT 1 FROM {table.schema}kck_product) "
            f"OR EXISTS (SELECT 1 FROM {table.schema}kck_refresh) "
            "OR current_setting('transaction_isolation') <> 'read committed'; RETURN NULL; END"
        )
    # A row that left one partition, and was kept from the other, was there only before.
    some = "new_rows" if operation == "insert" else "old_rows"
    verb = {"insert": "added", "update": "changed", "delete": "deleted"}[operation]
    pairs = f"pair AS MATERIALIZED ({_pairs(operation, watches)})"
    marks = list(dict.fromkeys(_marks(operation, table, watches)))
    changes = [
        _changes(operation, table, watch, watch.told[0])
        for watch in watches
        if watch.told[0].kind == CHANGE and (not watch.about or operation == "insert")
    ]
    if not marks and not changes:
        return f"BEGIN {says} RETURN NULL; END"
    parts = [pairs]
    statements = []
    label = literal(watches[0].label)
    if marks:
        spelled = " UNION ".join(f"SELECT {mark}" for mark in marks)
        parts.append(
            "told AS MATERIALIZED (SELECT base, kind, key, "
            f"CASE WHEN key IS NOT NULL THEN {_digest('key')} END AS digest "
            f"FROM ({spelled}) AS t)"
        )
        parts.append(
            f"""put AS (INSERT INTO {table.schema}kck_pending (key_base, digest, kind, source, reason)
            SELECT base, digest, kind, {label}, {label} || ' {verb}' FROM told ORDER BY base, digest
            RETURNING digest, kind)"""
        )
    if changes:
        parts.append(
            f"""altered AS (INSERT INTO {table.schema}kck_pending (key_base, digest, kind, source, change, reason)
            SELECT base, {_digest("key")}, 'change', {label}, jsonb_build_object(
                'id', replace(id::text, '-', ''), 'old', before, 'new', after, 'key', NULL,
                'at', to_jsonb(clock_timestamp())), {label} || ' {verb}'
            FROM ({" UNION ALL ".join(changes)}) AS c WHERE key IS NOT NULL)"""
        )
    found = (
        "SELECT coalesce(array_agg(DISTINCT digest) FILTER (WHERE digest IS NOT NULL AND kind = 'stale'), '{}') "
        f"INTO kck_stale FROM {'put' if marks else '(SELECT NULL::uuid AS digest, NULL::text AS kind) AS nothing'};"
    )
    statements.append(f"WITH {', '.join(parts)} {found}")
    if marks:
        # A statement of its own, whose snapshot sees the edges that were committed meanwhile (function_mark_below.sql).
        statements.append(
            f"""IF kck_stale <> '{{}}'
            AND EXISTS (SELECT 1 FROM {table.schema}kck_edge WHERE upstream = ANY(kck_stale)) THEN
            WITH RECURSIVE below AS (
                SELECT e.upstream_key AS origin, e.downstream, e.downstream_key, e.mode
                FROM {table.schema}kck_edge e WHERE e.upstream = ANY(kck_stale)
                UNION
                SELECT b.origin, e.downstream, e.downstream_key, e.mode
                FROM {table.schema}kck_edge e JOIN below b ON e.upstream = b.downstream
                WHERE b.mode = 'stale' AND e.mode = 'stale')
            INSERT INTO {table.schema}kck_pending (key_base, digest, kind, source, reason)
            SELECT split_part(downstream_key, '/', 1), downstream, min(mode), min(origin), {label} || ' {verb}'
            FROM below WHERE mode <> 'augment' GROUP BY downstream, downstream_key, (mode = 'stale');
            END IF;"""
        )
    return (
        f"DECLARE kck_stale uuid[]; BEGIN {says} IF NOT EXISTS (SELECT 1 FROM {some}) THEN RETURN NULL; END IF; "
        f"{' '.join(statements)} RETURN NULL; END"
    )


def setting(relation: str) -> str:
    """Return the name under which a table's triggers say in their transaction what they have told."""
    return f"kck_flow.rows_{sha256(relation.encode()).hexdigest()[:16]}"


def _pairs(operation: str, watches: Sequence[Watch]) -> str:
    """Return a query of the rows that a statement changed, before (``o``) beside after (``n``)."""
    identity = quoted(watches[0].identity)
    columns = sorted({_column(field) for watch in watches for field in watch.columns.values()})
    names = ", ".join(dict.fromkeys([identity, *map(quoted, columns)]))
    old, new = (f"(SELECT {names} FROM {rows}_rows)" for rows in ("old", "new"))
    # The two sides of a row that moves from one product to another are one change.
    change = ", gen_random_uuid() AS id" if any(watch.then == AUGMENT for watch in watches) else ""
    if operation == "insert":
        return f"SELECT kck_n AS o, kck_n AS n{change} FROM {new} AS kck_n"
    if operation == "delete":
        return f"SELECT kck_o AS o, kck_o AS n{change} FROM {old} AS kck_o"
    return f"SELECT kck_o AS o, kck_n AS n{change} FROM {old} AS kck_o FULL JOIN {new} AS kck_n USING ({identity})"


def _sides(operation: str) -> tuple[str, ...]:
    return {"insert": (_NEW,), "delete": (_OLD,), "update": (_OLD, _NEW)}[operation]


def _differs(operation: str, table: Table, watch: Watch) -> str:
    if operation != "update":
        return "true"
    identity = quoted(watch.identity)
    unlike = [f"({_OLD}{identity} IS NULL) <> ({_NEW}{identity} IS NULL)"]
    for field in watch.columns.values():
        name = quoted(_column(field))
        # What the type's own equality takes for equal (or has none), its text tells apart.
        text = _column(field) in table.bytewise or not table.grouped
        cast = '::text COLLATE "C"' if text else ""
        unlike.append(f"({_OLD}{name}){cast} IS DISTINCT FROM ({_NEW}{name}){cast}")
    return f"({' OR '.join(unlike)})"


def _marks(operation: str, table: Table, watches: Sequence[Watch]) -> Iterator[str]:
    """Yield, for each mark that a row may become, the rest of a ``SELECT`` of (base, kind, key)."""
    for watch in watches:
        differs = _differs(operation, table, watch)
        for one in watch.told:
            if one.kind == CHANGE:
                continue
            head = f"{literal(one.key_base)}::text AS base, {literal(one.kind)}::text AS kind"
            if one.key is None:
                yield f'{head}, NULL::text COLLATE "C" AS key FROM pair AS p WHERE {differs}'
                continue
            for side in _sides(operation):
                key = _on(one.key, side, table)
                yield f"{head}, {key} AS key FROM pair AS p WHERE {differs} AND {key} IS NOT NULL"


def _changes(operation: str, table: Table, watch: Watch, one: Told) -> str:
    """Return a query of (base, key, before, after, id). A row moved from one product to another reaches both, each with
    its own side.
    """
    assert one.key is not None
    base = f"{literal(one.key_base)}::text AS base"
    rows = {side: _row(watch, side) for side in (_OLD, _NEW)}
    keys = {side: _on(one.key, side, table) for side in (_OLD, _NEW)}
    nothing = "NULL::jsonb"
    if operation == "insert":
        about = _on(watch.about, _NEW, table) or "true"
        new = f"{keys[_NEW]} AS key, {nothing} AS before, {rows[_NEW]} AS after, p.id"
        return f"SELECT {base}, {new} FROM pair AS p WHERE {about}"
    if operation == "delete":
        return f"SELECT {base}, {keys[_OLD]} AS key, {rows[_OLD]} AS before, {nothing} AS after, p.id FROM pair AS p"
    differs = _differs(operation, table, watch)
    identity = quoted(watch.identity)
    both = f"{_OLD}{identity} IS NOT NULL AND {_NEW}{identity} IS NOT NULL AND {keys[_OLD]} = {keys[_NEW]}"
    return (
        f"SELECT {base}, {keys[_NEW]} AS key, {rows[_OLD]} AS before, {rows[_NEW]} AS after, "
        f"p.id FROM pair AS p WHERE {both} AND {differs} "
        f"UNION ALL SELECT {base}, {keys[_OLD]}, {rows[_OLD]}, {nothing}, p.id FROM pair AS p "
        f"WHERE {_OLD}{identity} IS NOT NULL AND coalesce({both}, false) IS FALSE AND {differs} "
        f"UNION ALL SELECT {base}, {keys[_NEW]}, {nothing}, {rows[_NEW]}, p.id FROM pair AS p "
        f"WHERE {_NEW}{identity} IS NOT NULL AND coalesce({both}, false) IS FALSE AND {differs}"
    )


def _on(key: str, side: str, table: Table) -> str:
    return key.replace("{row}", side).replace("{kck}", table.schema)


def _row(watch: Watch, side: str) -> str:
    """Return a row as jsonb, spelled as ``spread.plain`` does."""
    pairs = []
    for name, field in watch.columns.items():
        sql = f"{side}{quoted(_column(field))}"
        final: Any = field
        while final.is_relation:
            final = final.target_field
        if hasattr(getattr(final, "output_field", None) or final, "range_type"):
            bounds = (
                f"CASE WHEN lower_inc({sql}) THEN '[' ELSE '(' END || "
                f"CASE WHEN upper_inc({sql}) THEN ']' ELSE ')' END"
            )
            ends = (
                f"'lower', lower({sql}), 'upper', upper({sql}), 'bounds', {bounds}, 'empty', isempty({sql})"
            )
            sql = f"CASE WHEN {sql} IS NOT NULL THEN jsonb_build_object({ends}) END"
        elif final.get_internal_type() == "DurationField":
            sql = f"extract(epoch FROM {sql})"
        elif final.get_internal_type() == "DecimalField":
            sql = f"({sql})::text"  # a number of JSON would be a float to some
        pairs.append(f"{literal(name)}, {sql}")
    # A function takes no more than a hundred arguments.
    objects = [
        f"jsonb_build_object({', '.join(pairs[start : start + 40])})" for start in range(0, len(pairs), 40)
    ]
    return " || ".join(objects)


def _digest(text: str) -> str:
    return f"encode(substring(sha256(convert_to({text}, 'UTF8')) FOR 16), 'hex')::uuid"
