"""What a capturing trigger does, in SQL: one function for each operation of a table, serving every definition.

A statement-level trigger sees the rows that a statement left and those it found. Each definition's effect is summed
over them, and what does not come out at zero is appended as deltas, in the writer's own transaction.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from .. import recorded
from ..definition import ROW, Captured, Definition, FlowDefinition, Part, Split, literal
from ..recorded import Recording, Typed
from ..store import events, gaps
from ..store.refreshes import TRIGGERED
from .tables import COLUMNS_FIRST, OPERATIONS, Table

# How many columns one statement groups by, and from how many sets on alike rows are gathered first.
MOST_COLUMNS, MANY_SETS = 400, 8
# In so many stocks a row is counted for each by itself.
FEW_STOCKS = 4


def functions(table: Table, definitions: Sequence[Captured]) -> dict[str, tuple[str, str]]:
    """Return (name, statement that creates it) of the function for each operation; the name carries a hash of it."""
    made = {}
    for operation in OPERATIONS:
        body = _body(operation, table, definitions)
        path = ", ".join(["pg_catalog", *table.path, "pg_temp"])
        rest = (
            "RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {path} SET timezone = 'UTC' SET extra_float_digits = 1 "
            f"AS $kck$ {COLUMNS_FIRST}{body} $kck$"
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
            *map(quoted, names),
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
    keys = ", ".join(quoted(column) for column in flows[0].identity)
    before, after = (_side(flows, keys, sign) for sign in ("< 0", "> 0"))
    return f"""
                SELECT kck_o AS o, kck_n AS n FROM ({before}) AS kck_o FULL JOIN ({after}) AS kck_n USING ({keys})
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
        typed = typed_of(one)
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
            columns = [quoted(each.column) for each in (recording.typed.subject, *recording.typed.filled)]
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
    keys = [f"coalesce((p.n).{quoted(name)}, (p.o).{quoted(name)})" for name in one.identity]
    state = "'due'" if recording.due else "''"
    if recording.typed is None:
        subject = keys[0] if len(keys) == 1 else f"jsonb_build_array({', '.join(keys)})"
        more = f"{literal(recording.subject)}::text AS subject_type, ({subject})::text AS subject_id"
    else:
        more = f"{keys[0]} AS {quoted(recording.typed.subject.column)}"
        for number, column in enumerate(recording.typed.filled):
            value = f"CASE WHEN c.sink <> '' THEN (p.n).v{place}_{number} ELSE (p.o).v{place}_{number} END"
            more += f", {value} AS {quoted(column.column)}"
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
    columns = "".join(f"{quoted(name)}, " for name in names)
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
        *map(quoted, names),
        *(f'{quoted(name)}::text COLLATE "C"' for name in names if name in table.bytewise),
    ]
    by = f"GROUP BY {', '.join(grouped)} " if grouped else ""
    columns = "".join(f"{quoted(name)}, " for name in names)
    return f"SELECT {columns}sum(kck_sign) AS kck_sign FROM {rows} AS kck_both {by}HAVING sum(kck_sign) <> 0"


def _columns(definitions: Iterable[Captured]) -> list[str]:
    return sorted({column for one in definitions for column in one.columns})


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def typed_of(one: Captured) -> Typed | None:
    """Return the model of the project's own that keeps the events of a definition."""
    recording = one.recording if isinstance(one, FlowDefinition) else None
    return recording.typed if recording is not None else None
