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
import time
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from django.apps import apps
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.models.signals import post_migrate, pre_migrate

from .. import recorded
from ..conf import conf
from ..definition import (
    ROW,
    Captured,
    Definition,
    FlowDefinition,
    NotCaptured,
    Part,
    Split,
    flow_definition,
    literal,
    stored,
)
from ..errors import DeclarationError
from ..recorded import Recording, Typed
from ..registry import registry
from ..spread import alias_of
from ..stock import Flow, Stock
from ..store import events, gaps, generations
from ..store.refreshes import TRIGGERED
from ..store.session import Session
from ..tracked import tracked_definition
from ..walked import stock_definition
from . import books, history
from . import gaps as capturing

logger = logging.getLogger("kck_flow")

OPERATIONS = ("insert", "update", "delete", "truncate")
_SEEN = {
    "insert": "REFERENCING NEW TABLE AS new_rows ",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows ",
    "delete": "REFERENCING OLD TABLE AS old_rows ",
    "truncate": "",
}
TRIES, LOCK_SECONDS = 5, 2
# How many columns one statement groups by, and from how many sets on alike rows are gathered first.
MOST_COLUMNS, MANY_SETS = 400, 8
# In so many stocks a row is counted for each by itself.
FEW_STOCKS = 4
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


def functions(table: Table, definitions: Sequence[Captured]) -> dict[str, tuple[str, str]]:
    """Return (name, statement that creates it) of the function for each operation; the name carries a hash of it."""
    made = {}
    for operation in OPERATIONS:
        body = _body(operation, table, definitions)
        path = ", ".join(["pg_catalog", *table.path, "pg_temp"])
        rest = (
            "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {path} SET timezone = 'UTC' SET extra_float_digits = 1 AS $kck$ {body} $kck$"
        )
        name = f"kck_{operation}_{sha256((table.relation + rest).encode()).hexdigest()[:20]}"
        made[operation] = name, f"CREATE FUNCTION {table.schema}{name}() {rest}"
    return made


def _body(operation: str, table: Table, definitions: Sequence[Captured]) -> str:
    if operation == "truncate":
        return _of_truncate(table, definitions)
    some = "old_rows" if operation == "delete" else "new_rows"
    stocks = [one for one in definitions if isinstance(one, Definition)]
    flows = [one for one in definitions if isinstance(one, FlowDefinition)]
    names = _columns(definitions)
    # Most statements change one row: whether this did, and in which stocks that row is and was, is one question.
    is_in = [f"kck_is_{place}" for place in range(len(stocks))]
    was_in = [f"kck_was_{place}" for place in range(len(stocks))] if operation == "update" else []
    known = ", ".join([f"EXISTS (SELECT FROM {some} OFFSET 1)", *(one.member for one in stocks)])
    asked = f"SELECT {known} INTO {', '.join(['kck_many', *is_in])} FROM {some} AS {ROW} LIMIT 1"
    if operation == "update":
        seen = [
            *map(_quoted, names),
            *(f"{one.member} AS kck_in_{place}" for place, one in enumerate(stocks)),
            "1 AS kck_one",
        ]
        side = f"SELECT {', '.join(seen)} FROM"
        members = "".join(f", {row}.kck_in_{place}" for row in "no" for place in range(len(stocks)))
        asked = (
            # A row that left one partition, and was kept from the other, was there only before. Compared are bytes:
            # what is equal, and looks different, may be told apart below.
            f"SELECT n.kck_one IS NULL OR EXISTS (SELECT FROM old_rows OFFSET 1), n.* *= o.*{members} "
            f"INTO {', '.join(['kck_many', 'kck_same', *is_in, *was_in])} FROM ({side} old_rows AS {ROW} LIMIT 1) AS o "
            f"LEFT JOIN ({side} new_rows AS {ROW} LIMIT 1) AS n ON true"
        )
    text = f"DECLARE {' boolean; '.join(['kck_many', 'kck_same', *is_in, *was_in])} boolean; "
    text += f"BEGIN {asked}; IF NOT FOUND OR kck_same AND NOT kck_many THEN RETURN NULL; END IF; "
    if stocks:
        many = "; ".join(_of_many(operation, table, part) for part in _parts(stocks))
        if len(stocks) > FEW_STOCKS:
            number = " + ".join(f"{name}::integer" for name in (*is_in, *was_in))
            text += f"kck_many := kck_many OR {number} > {FEW_STOCKS}; "
        text += f"IF kck_many THEN {many}; ELSE "
        for place, one in enumerate(stocks):
            either = " OR ".join(each[place] for each in (is_in, was_in) if each)
            text += f"IF {either} THEN {_of_one(operation, table, one)}; END IF; "
        text += "END IF; "
    if flows:
        parts = [f"kck_changed AS MATERIALIZED ({_changed(operation, table, flows)})"]
        if any(one.recording is not None for one in flows):
            parts += [f"pair AS MATERIALIZED ({_pairs(flows)})", *_events(table, flows)]
        text += f"WITH {', '.join(parts)} {_of_flows(table, flows)}; "
    return f"{text}RETURN NULL; END".replace("{kck}", table.schema)


_INTO = "kck_delta (generation, args_digest, args, facet, facet_value, at, n, amount, start_at)"


def _of_one(operation: str, table: Table, one: Definition) -> str:
    """Return the statement that counts for one stock, which it is in, what became of one row."""
    if operation == "update":
        return _of_many(operation, table, [one]) if one.timed else _of_moved(table, one)
    rows = f"{'old_rows' if operation == 'delete' else 'new_rows'} AS {ROW}"
    sign = "1" if operation == "insert" else "-1"
    args, amount, at = "'{}'::jsonb", "NULL::numeric", "NULL::timestamptz"
    if one.args or one.amount:
        # OFFSET has both computed once, and not again wherever their names stand.
        own = f"{one.args_jsonb()} AS args, {one.amount or amount} AS amount"
        rows, args = f"{rows} CROSS JOIN LATERAL (SELECT {own} OFFSET 0) AS k", "k.args"
        amount = f"{sign} * k.amount"
    values = (
        f"({facet}::smallint, {value})"
        for facet, value in enumerate(["'null'::jsonb", *(split.jsonb() for split in one.splits)])
    )
    rows += f" CROSS JOIN LATERAL (VALUES {', '.join(values)}) AS v (facet, facet_value)"
    if one.timed:
        dates = ", ".join(f"({at}, {way})" for at, way in one.dates())
        rows += f" CROSS JOIN LATERAL (VALUES {dates}) AS d (at, way)"
        sign, amount, at = f"{sign} * d.way", f"{amount} * d.way", "d.at"
    return (
        f"INSERT INTO {table.schema}{_INTO} SELECT {one.generation}, {_digest(table, one.args, args)}, {args}, "
        f"v.facet, v.facet_value, transaction_timestamp(), {sign}, {amount}, {at} FROM {rows}"
    )


def _of_truncate(table: Table, definitions: Sequence[Captured]) -> str:
    """Return the body that says what a TRUNCATE does, which shows no rows: what stocks hold is worth nothing, and flows
    to the outside have missed what left.
    """
    told = []
    rows = ", ".join(f"({one.generation}::bigint)" for one in definitions if isinstance(one, Definition))
    if rows:
        told.append(
            f"INSERT INTO {table.schema}kck_delta "
            "(generation, args_digest, args, facet, facet_value, at, n, kind) "
            "SELECT g, '00000000-0000-0000-0000-000000000000', '{}', 0, 'null', transaction_timestamp(), 0, "
            f"'invalidate' FROM (VALUES {rows}) AS v (g);"
        )
    leaving = [
        one.generation
        for one in definitions
        if isinstance(one, FlowDefinition) and None in (sql for _, sql in one.sinks)
    ]
    if leaving:
        told.append(f"{gaps.truncated(table.schema, leaving)};")
    return f"BEGIN {' '.join([*told, 'RETURN NULL;'])} END"


def _of_moved(table: Table, one: Definition) -> str:
    """Return the statement that counts for one stock that one row was in, or is: what it is not in both times."""
    facets = [split.jsonb() for split in one.splits]
    found = {f"f{i}": sql for i, sql in enumerate(facets, 1)}
    found |= {"args": one.args_jsonb()} if one.args else {}
    found |= {"amount": one.amount} if one.amount else {}
    # What a row that is no member would give is never computed: it may be an error, a cast of the wrong text.
    side = ", ".join(
        [f"{one.member} AS m", *(f"CASE WHEN {one.member} THEN {sql} END AS {n}" for n, sql in found.items())]
    )
    both = "o.m AND n.m" + (" AND o.args = n.args" if one.args else "")
    rows = []
    for facet in range(len(facets) + 1):
        same = both + (f" AND o.f{facet} = n.f{facet}" if facet else "")
        for row, sign in (("o", "-1"), ("n", "1")):
            value = f"{row}.f{facet}" if facet else "'null'::jsonb"
            args = f"{row}.args" if one.args else "'{}'::jsonb"
            amount = "NULL::numeric"
            if one.amount:
                more = "coalesce(n.amount, 0) - coalesce(o.amount, 0)" if row == "n" else "0"
                amount = f"CASE WHEN {same} THEN {more} ELSE {sign} * {row}.amount END"
            n = f"CASE WHEN {row}.m AND NOT ({same}) THEN {sign} ELSE 0 END"
            rows.append(f"({facet}::smallint, {args}, {value}, {n}, {amount})")
    return f"""INSERT INTO {table.schema}{_INTO}
        SELECT {one.generation}, {_digest(table, one.args, "v.args")}, v.args, v.facet, v.facet_value,
               transaction_timestamp(), v.n, v.amount, NULL
        FROM (SELECT {side} FROM old_rows AS {ROW} OFFSET 0) AS o
        CROSS JOIN (SELECT {side} FROM new_rows AS {ROW} OFFSET 0) AS n
        CROSS JOIN LATERAL (VALUES {", ".join(rows)}) AS v (facet, args, facet_value, n, amount)
        WHERE v.n <> 0{" OR v.amount <> 0" if one.amount else ""}"""


@dataclass
class _Set:
    """What some stocks count by: columns of one grouping set.

    Attributes:
        args, parts, at: The parameters, what a facet value consists of (nothing: the total), the instant from which on
            it counts, in SQL (None: always).
        users: The stocks, each with its facet's number and the sign of what happens at the instant.
    """

    args: tuple[tuple[str, Part], ...]
    parts: tuple[Part, ...]
    at: str | None
    users: dict[int, tuple[int, int]]

    @property
    def raw(self) -> list[str]:
        """SQL of the columns."""
        columns = [part.raw for part in (*(part for _, part in self.args), *self.parts)]
        return columns + ([self.at] if self.at is not None else [])


def _sets(stocks: Sequence[Definition]) -> list[_Set]:
    """Return what stocks count by, what they share once."""
    found: dict[Any, _Set] = {}
    for place, one in enumerate(stocks):
        for at, way in one.dates() if one.timed else [(None, 1)]:
            for facet, parts in enumerate([(), *(split.parts for split in one.splits)]):
                again = 0
                while (
                    place
                    in found.setdefault((one.args, parts, at, again), _Set(one.args, parts, at, {})).users
                ):
                    again += 1  # two facets, alike but for their names
                found[one.args, parts, at, again].users[place] = facet, way
    return list(found.values())


def _parts(stocks: Sequence[Definition]) -> list[list[Definition]]:
    """Return stocks as lists, each few enough for one statement."""
    parts: list[list[Definition]] = [[]]
    for one in stocks:
        if sum(len(each.raw) for each in _sets([*parts[-1], one])) > MOST_COLUMNS and parts[-1]:
            parts.append([])
        parts[-1].append(one)
    return parts


def _of_many(operation: str, table: Table, stocks: Sequence[Definition]) -> str:
    """Return the statement that counts, for some stocks, what became of many rows.

    Rows are grouped by the raw columns that stocks count by, all in one pass, and each group is spelled once.
    """
    sets = _sets(stocks)
    rows = _signed(operation, _columns(stocks))
    if len(sets) > MANY_SETS and table.grouped:
        # Each row is looked up in each set: those that no stock can tell apart once.
        rows = _summed(table, _columns(stocks), f"({rows})")
    members = ", ".join(f"{one.member} AS kck_m{i}" for i, one in enumerate(stocks))
    amounts = {i: one.amount for i, one in enumerate(stocks) if one.amount}
    columns, names, which, args, values, dates = [], [], [], [], [], []
    for number, each in enumerate(sets):
        own = [f"c{number}_{k}" for k in range(len(each.raw))]
        names.append(own)
        # What a row that is in none of them would give is never computed: it may be an error.
        anyone = " OR ".join(f"kck_m{i}" for i in each.users)
        columns += [
            f"CASE WHEN {anyone} THEN {raw} END AS {name}" for raw, name in zip(each.raw, own, strict=True)
        ]
        which += [f"WHEN grouping({own[0]}) = 0 THEN {number}"] if own else []
        given = iter(own)
        pairs = [f"{literal(name)}, {part.jsonb(next(given))}" for name, part in each.args]
        args.append(f"jsonb_build_object({', '.join(pairs)})" if pairs else "'{}'::jsonb")
        values.append(
            Split("", each.parts).jsonb(list(given)[: len(each.parts)]) if each.parts else "'null'::jsonb"
        )
        dates.append(own[-1] if each.at is not None else "NULL::timestamptz")
    (total,) = [number for number, own in enumerate(names) if not own] or [-1]
    sums = [f"(sum(kck_sign) FILTER (WHERE kck_m{i}))::bigint" for i in range(len(stocks))]
    more = {i: f"sum(kck_sign * a{i}) FILTER (WHERE kck_m{i})" for i in amounts}
    moved = " OR ".join(f"{one} <> 0" for one in (*sums, *more.values()))
    inner = ", ".join(
        [
            *columns,
            *(f"CASE WHEN kck_m{i} THEN {amount} END AS a{i}" for i, amount in amounts.items()),
            *(f"kck_m{i}" for i in range(len(stocks))),
            "kck_sign",
        ]
    )
    grouped = ", ".join(
        [
            f"CASE {' '.join(which)} ELSE {total} END AS which" if which else f"{total} AS which",
            *(name for own in names for name in own),
            *(f"{one} AS n{i}" for i, one in enumerate(sums)),
            *(f"{one} AS a{i}" for i, one in more.items()),
        ]
    )
    digest = _digest(table, [arg for one in stocks for arg in one.args], "e.args")
    told = " UNION ALL ".join(_told_of(i, one, sets, more) for i, one in enumerate(stocks))
    return f"""INSERT INTO {table.schema}{_INTO}
        SELECT e.generation, {digest}, e.args, e.facet, e.facet_value, transaction_timestamp(), e.n, e.amount,
               e.start_at
        FROM (
            SELECT *, {_by_set(args)} AS args, {_by_set(values)} AS facet_value, {_by_set(dates)} AS start_at
            FROM (
                SELECT {grouped} FROM (
                    SELECT {inner} FROM (SELECT {ROW}.*, {members} FROM ({rows}) AS {ROW} OFFSET 0) AS {ROW} OFFSET 0
                ) AS spread
                GROUP BY GROUPING SETS ({", ".join(f"({', '.join(own)})" for own in names)}) HAVING {moved}
            ) AS summed OFFSET 0
        ) AS g CROSS JOIN LATERAL ({told}) AS e
            (generation, args, facet, facet_value, n, amount, start_at)"""


def _by_set(given: Sequence[str]) -> str:
    """Return SQL of what is given for each set, for the set at hand."""
    if len(set(given)) == 1:
        return given[0]
    return f"CASE which {' '.join(f'WHEN {number} THEN {one}' for number, one in enumerate(given))} END"


def _told_of(place: int, one: Definition, sets: Sequence[_Set], amounts: Container[int]) -> str:
    """Return a query of what a group tells of one stock: nothing, or one row."""
    own = {number: each.users[place] for number, each in enumerate(sets) if place in each.users}
    facet = _case("g.which", {number: facet for number, (facet, _) in own.items()})
    way = _case("g.which", {number: way for number, (_, way) in own.items()})
    n, amount = f"g.n{place}", f"g.a{place}" if place in amounts else "NULL::numeric"
    moved = f"({n} <> 0 OR {amount} <> 0)" if place in amounts else f"{n} <> 0"
    if one.timed:
        n, amount = f"{n} * {way}", f"{amount} * {way}"
    mine = f" AND g.which IN ({', '.join(map(str, own))})" if len(own) < len(sets) else ""
    return (
        f"SELECT {one.generation}::bigint, g.args, ({facet})::smallint, g.facet_value, {n}, {amount}, g.start_at "
        f"WHERE {moved}{mine}"
    )


def _case(of: str, given: Mapping[int, int]) -> str:
    """Return SQL of a number, by another."""
    if all(number == one for number, one in given.items()):
        return of
    if len(set(given.values())) == 1:
        return str(next(iter(given.values())))
    return f"CASE {of} {' '.join(f'WHEN {number} THEN {one}' for number, one in given.items())} END"


def _of_flows(table: Table, flows: Sequence[FlowDefinition]) -> str:
    """Return the statement that counts transitions: each row before a change beside itself after it.

    Of a parametrised flow, a row that moved from one key to another left the one for the outside, and came to the other
    from there: two transitions, each with one side.
    """
    counted = " UNION ALL ".join(_transitions(place, one) for place, one in enumerate(flows))
    # Where they are kept as events, too, the pairs stand in front of both statements.
    own = (
        ""
        if any(one.recording is not None for one in flows)
        else f"""
            WITH pair AS MATERIALIZED ({_pairs(flows)})"""
    )
    digest = _digest(table, [arg for one in flows for arg in one.args])
    return f"""
        INSERT INTO {table.schema}kck_delta (generation, args_digest, args, facet, facet_value, start_at, at, n)
        SELECT generation, {digest}, args, facet, facet_value, start_at, transaction_timestamp(), count(*)
        FROM ({own}
            {counted}
        ) AS moved
        GROUP BY generation, args, facet, facet_value, start_at"""


def _pairs(flows: Sequence[FlowDefinition]) -> str:
    """Return a query of the rows that a statement changed, each before (``o``) beside itself after (``n``)."""
    keys = ", ".join(_quoted(column) for column in flows[0].identity)
    before, after = (_side(flows, keys, sign) for sign in ("< 0", "> 0"))
    return f"""
                SELECT o AS o, n AS n FROM ({before}) AS o FULL JOIN ({after}) AS n USING ({keys})
            """


def _side(flows: Sequence[FlowDefinition], keys: str, sign: str) -> str:
    """Return a query of one side of a change, the rows whose sign is so: what each flow has to know of them.

    Flows of one table share most of it (the stocks they connect, the facets), and what is shared is computed once.
    """
    shared: dict[str, str] = {}

    def once(sql: str) -> str:
        return shared.setdefault(sql, f"kck_x{len(shared)}")

    seen = []
    for place, one in enumerate(flows):
        ends = [sql for _, sql in (*one.sources, *one.sinks) if sql is not None]
        seen.append(f"{once(one.inside)} AS i{place}, {once(one.args_jsonb())} AS a{place}")
        seen += [f"{once(sql)} AS e{place}_{number}" for number, sql in enumerate(ends)]
        seen += [f"{once(split.jsonb())} AS f{place}_{number}" for number, split in enumerate(one.splits)]
        if one.at is not None:
            seen.append(f"{once(one.at)} AS t{place}")
        typed = _typed(one)
        filled = typed.filled if typed is not None else ()
        seen += [f"{once(column.sql)} AS v{place}_{number}" for number, column in enumerate(filled)]
    computed = ", ".join(f"{sql} AS {name}" for sql, name in shared.items())
    # OFFSET keeps the planner from writing each expression out again wherever its name stands.
    rows = f"SELECT {keys}, {computed} FROM kck_changed AS {ROW} WHERE kck_sign {sign} OFFSET 0"
    return f"SELECT {keys}, true AS here, {', '.join(seen)} FROM ({rows}) AS kck_side"


@dataclass(frozen=True)
class _Moves:
    """One flow's transitions, in SQL: ``p.o`` is the row before, ``p.n`` after; ``k.had`` and ``k.has`` tell which of
    them count, ``c.source`` and ``c.sink`` are the names of the ends.

    Attributes:
        rows, where: From what, and which of it.
        args: The parameters, as jsonb.
        facets: The row's own facets, as jsonb, as it came into the sink or, where that is the outside, as it left.
        when: The transition's instant.
    """

    rows: str
    where: str
    args: str
    facets: tuple[str, ...]
    when: str


def _moves(place: int, one: FlowDefinition) -> _Moves:
    numbers = iter(range(len(one.sources) + len(one.sinks)))

    def column(sql: str | None) -> str | None:
        return None if sql is None else f"e{place}_{next(numbers)}"

    def was(name: str) -> str:
        return f"(k.had AND coalesce((p.o).{name}, false))"

    def now_is(name: str) -> str:
        return f"(k.has AND coalesce((p.n).{name}, false))"

    def left(name: str | None) -> str:
        return f"NOT {was(f'i{place}')}" if name is None else f"{was(name)} AND NOT {now_is(name)}"

    def came(name: str | None) -> str:
        return f"NOT {now_is(f'i{place}')}" if name is None else f"{now_is(name)} AND NOT {was(name)}"

    source = " ".join(f"WHEN {left(column(sql))} THEN {literal(name)}" for name, sql in one.sources)
    sink = " ".join(f"WHEN {came(column(sql))} THEN {literal(name)}" for name, sql in one.sinks)
    when = now = "transaction_timestamp()"
    if one.at is not None:
        given = f"CASE WHEN k.has THEN (p.n).t{place} END"
        sane = f"{given} BETWEEN '1900-01-01Z'::timestamptz AND {now} + interval '1 day'"
        when = f"CASE WHEN {sane} THEN {given} ELSE {now} END"
    halves = "(VALUES (true, true)) AS h (had, has)"
    if one.args:
        apart = f"(p.o).here AND (p.n).here AND (p.o).a{place} <> (p.n).a{place}"
        halves = (
            "(VALUES (true, true, false), (true, false, true), (false, true, true)) AS h (had, has, apart) "
            f"WHERE h.apart = coalesce({apart}, false)"
        )
    rows = f"""FROM pair AS p
        CROSS JOIN LATERAL (
            SELECT h.had AND coalesce((p.o).here, false) AS had, h.has AND coalesce((p.n).here, false) AS has
            FROM {halves}
        ) AS k
        CROSS JOIN LATERAL (SELECT CASE {source} END AS source, CASE {sink} END AS sink) AS c"""
    return _Moves(
        rows,
        "WHERE c.source IS NOT NULL AND c.sink IS NOT NULL AND NOT (c.source = '' AND c.sink = '')",
        f"CASE WHEN c.sink <> '' THEN (p.n).a{place} ELSE (p.o).a{place} END",
        tuple(
            f"CASE WHEN c.sink <> '' THEN (p.n).f{place}_{number} ELSE (p.o).f{place}_{number} END"
            for number in range(len(one.splits))
        ),
        when,
    )


def _transitions(place: int, one: FlowDefinition) -> str:
    """Return a query of what one flow's transitions count, a row for each facet of each."""
    moves = _moves(place, one)
    facets = ["'null'::jsonb", *moves.facets]
    for name, ends in (("source", one.sources), ("sink", one.sinks)):
        if len(ends) > 1:
            facets.append(f"coalesce(to_jsonb(nullif(c.{name}, '')), 'null'::jsonb)")
    rows = ", ".join(f"({number}::smallint, {facet})" for number, facet in enumerate(facets))
    return f"""
        SELECT {one.generation}::bigint AS generation,
               {moves.args} AS args,
               v.facet, v.facet_value, {one.window.replace("{at}", f"({moves.when})")} AS start_at
        {moves.rows}
        CROSS JOIN LATERAL (VALUES {rows}) AS v (facet, facet_value)
        {moves.where}"""


def _events(table: Table, flows: Sequence[FlowDefinition]) -> list[str]:
    """Return the parts of the statement that keep transitions as events, and that wish for their callables to be
    called: one wish for a statement, in the writer's transaction, as any other mark on its way.
    """
    kept = [(place, one, one.recording) for place, one in enumerate(flows) if one.recording is not None]
    shared = [one for one in kept if one[2].typed is None]
    parts = {}
    if shared:
        told = " UNION ALL ".join(_told(*one) for one in shared)
        parts["kck_events"] = _appended(
            f"{table.schema}kck_event", [*recorded.COLUMNS, "subject_type", "subject_id"], told
        )
    for place, one, recording in kept:
        if recording.typed is not None:
            columns = [_quoted(each.column) for each in (recording.typed.subject, *recording.typed.filled)]
            told = _told(place, one, recording)
            # Table by table, and flow by flow: each has columns of its own.
            parts[f"kck_events{place}"] = _appended(
                recording.typed.relation, [*recorded.COLUMNS, *columns], told
            )
    texts = [f"{name} AS ({statement})" for name, statement in parts.items()]
    slots = [(one.key_base, events.slot_key(one.key_base)) for _, one, recording in kept if recording.due]
    if slots:
        wishes = ", ".join(
            f"({literal(flow)}, {literal(str(key))}, '{key.digest}'::uuid)" for flow, key in slots
        )
        due = " UNION ALL ".join(
            f"SELECT key_base FROM {name} WHERE callback_state = 'due'" for name in parts
        )
        texts.append(
            f"""kck_wished AS (
        INSERT INTO {table.schema}kck_pending (key_base, digest, kind, source, reason)
        SELECT w.base, w.digest, 'refresh', '{TRIGGERED}', 'events' FROM (VALUES {wishes}) AS w (flow, base, digest)
        WHERE w.flow IN ({due}))"""
        )
    return texts


def _appended(relation: str, columns: Sequence[str], told: str) -> str:
    """Return the statement that appends events to a table. Of one row, the earlier has the lower number."""
    names = ", ".join(columns)
    return f"""
        INSERT INTO {relation} ({names}) SELECT {names} FROM ({told}) AS told ORDER BY at
        RETURNING key_base, callback_state"""


def _told(place: int, one: FlowDefinition, recording: Recording) -> str:
    """Return a query of one flow's transitions as events, with the columns of the table that keeps them."""
    moves = _moves(place, one)
    facets = (
        f"{literal(split.name)}, {value}" for split, value in zip(one.splits, moves.facets, strict=True)
    )
    keys = [f"coalesce((p.n).{_quoted(name)}, (p.o).{_quoted(name)})" for name in one.identity]
    state = "'due'" if recording.due else "''"
    if recording.typed is None:
        subject = keys[0] if len(keys) == 1 else f"jsonb_build_array({', '.join(keys)})"
        more = f"{literal(recording.subject)}::text AS subject_type, ({subject})::text AS subject_id"
    else:
        more = f"{keys[0]} AS {_quoted(recording.typed.subject.column)}"
        for number, column in enumerate(recording.typed.filled):
            value = f"CASE WHEN c.sink <> '' THEN (p.n).v{place}_{number} ELSE (p.o).v{place}_{number} END"
            more += f", {value} AS {_quoted(column.column)}"
    return f"""
        SELECT {literal(one.key_base)}::text AS key_base, {one.generation}::bigint AS generation, {moves.args} AS args,
               nullif(c.source, '') AS source, nullif(c.sink, '') AS sink, {moves.when} AS at,
               pg_current_xact_id()::text::bigint AS xact, jsonb_build_object({", ".join(facets)}) AS facets,
               {state} AS callback_state, {more}
        {moves.rows}
        {moves.where}"""


def _digest(table: Table, parameters: Sequence[Any], args: str = "args") -> str:
    """Return SQL of the digest of ``args``: that of no parameters is a constant to the planner, and most have none."""
    digest = f"{table.schema}kck_digest"
    none = f"{digest}('{{}}'::jsonb)"
    return f"CASE WHEN {args} = '{{}}'::jsonb THEN {none} ELSE {digest}({args}) END" if parameters else none


def _signed(operation: str, names: Sequence[str]) -> str:
    """Return a query of the rows before and after a statement, each with the sign of what it stands for."""
    columns = "".join(f"{_quoted(name)}, " for name in names)
    after, before = (
        f"SELECT {columns}1 AS kck_sign FROM new_rows",
        f"SELECT {columns}-1 AS kck_sign FROM old_rows",
    )
    return {"insert": after, "delete": before}.get(operation, f"{after} UNION ALL {before}")


def _changed(operation: str, table: Table, definitions: Sequence[Captured]) -> str:
    """Return the rows that a statement changed, each with the sign of its change; columns that nobody watches left out.

    Of an update, rows that look the same before and after cancel out here, before any expression is computed.
    """
    names = _columns(definitions)
    rows = f"({_signed(operation, names)})"
    return f"({_summed(table, names, rows)})" if operation == "update" and table.grouped else rows


def _summed(table: Table, names: Sequence[str], rows: str) -> str:
    """Return a query of signed rows, those that look alike in some columns as one, with the sum of their signs."""
    grouped = [
        *map(_quoted, names),
        *(f'{_quoted(name)}::text COLLATE "C"' for name in names if name in table.bytewise),
    ]
    by = f"GROUP BY {', '.join(grouped)} " if grouped else ""
    columns = "".join(f"{_quoted(name)}, " for name in names)
    return f"SELECT {columns}sum(kck_sign) AS kck_sign FROM {rows} AS kck_both {by}HAVING sum(kck_sign) <> 0"


def _columns(definitions: Iterable[Captured]) -> list[str]:
    return sorted({column for one in definitions for column in one.columns})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# -- in the database
# ----------------------------------------------------------------------------------------------------


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
        _patiently(session, part, lambda part=part: _drop(session, part, there[part]))
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
        typed = _typed(one)
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


def _typed(one: Captured) -> Typed | None:
    """Return the model of the project's own that keeps the events of a definition."""
    recording = one.recording if isinstance(one, FlowDefinition) else None
    return recording.typed if recording is not None else None


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


def _installed(session: Session) -> dict[str, dict[str, tuple[str, str]]]:
    """Return our triggers by table, each (function, whether it is enabled) by operation."""
    rows = session.run(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), t.tgname, p.proname, t.tgenabled::text "
        "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgname LIKE 'kck\\_capture\\_%' AND NOT t.tgisinternal"
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
                    f"{_SEEN[operation]}FOR EACH STATEMENT EXECUTE FUNCTION {table.schema}{name}()"
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

    _patiently(session, table.relation, replace)
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
    """Drop functions that no trigger calls any more."""
    rows = session.run(
        "SELECT p.oid::regprocedure::text FROM pg_proc p "
        "WHERE p.proname ~ '^kck_(insert|update|delete|truncate)_[0-9a-f]{20}$' "
        "AND NOT EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgfoid = p.oid)"
    )
    for (function,) in rows:
        session.run(f"DROP FUNCTION IF EXISTS {function}")


def _patiently(session: Session, relation: str, work: Any) -> None:
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


def connect() -> None:
    """Put triggers in place after each ``migrate``: of the last app, when every table is there."""
    pre_migrate.connect(_before_migrate, dispatch_uid="kck_flow.triggers")
    post_migrate.connect(_after_migrate, dispatch_uid="kck_flow.triggers")


def _before_migrate(sender: Any, using: str, plan: Any = (), **_: Any) -> None:
    """Take the triggers off the tables of apps that are about to be migrated: a column that is renamed or dropped under
    one would make every later write fail. What is written until they are back is not captured, and their stocks know.
    """
    if sender.name != _last_app() or not plan or using not in conf.DATABASES:
        return
    if connections[using].vendor != "postgresql":
        return
    session = Session(connections[using])
    if session.run("SELECT to_regclass('kck_generation')")[0][0] is None:
        return
    known = session.run("SELECT to_regclass('kck_gap')")[0][0] is not None
    labels = {migration.app_label for migration, _ in plan if migration.operations}
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
            _patiently(session, relation, lambda relation=relation: _take_off(session, relation, noted=known))
        elif any(model is not None and model.partition(".")[0] in labels for model in kept):
            # Functions of this release may need tables that are still to come.
            if "kck_flow" in labels or not known:
                _patiently(
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
        typed = _typed(one)
        if isinstance(one, FlowDefinition) and typed is not None and typed.model.partition(".")[0] in labels:
            found[place] = replace(one, recording=None)
    if _install(session, table, found, there):
        _sweep(session)


def _last_app() -> str:
    return str([config for config in apps.get_app_configs() if config.models_module is not None][-1].name)


def _after_migrate(sender: Any, using: str, **_: Any) -> None:
    if sender.name == _last_app() and using in conf.DATABASES and connections[using].vendor == "postgresql":
        install(using)
