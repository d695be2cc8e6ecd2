"""How a stock or flow becomes SQL: which rows are in it, to which key and facet values each belongs, what it adds.

A definition is a handful of expressions of one row, as Django compiles them, with their values written out: a trigger
has no parameters. Its generation is a hash of it, so every process and every restored database arrives at the same one.
What is no expression of the row alone cannot be captured, and says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet, ValidationError
from django.db import connections, models
from django.db.models import Aggregate, Avg, Count, F, Lookup, Q, Sum, Value
from django.db.models.expressions import Col, CombinedExpression, Func, RawSQL, Subquery, Window
from django.db.models.functions import Cast, Now, Random
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual
from django.db.models.sql import Query
from django.db.models.sql.where import AND, ExtraWhere, WhereNode

from . import recorded
from .errors import DeclarationError
from .recorded import Recording, Source, concrete

if TYPE_CHECKING:
    from .parameter import Parameter
    from .stock import Facet, Flow, Stock

# The row, in every expression of a definition.
ROW = "kck_row"
# A grouping of this many expressions is what PostgreSQL tells apart in one number.
MOST_FACETS = 30
# What came about so long ago is gathered: a clock that was set back a little must not bring it on again.
LAG = "interval '1 minute'"
# How far from now an instant may be that a stock is compared with.
MOST_OFFSET = timedelta(days=365_000)
# What a field raises of a value that is none of its own.
NO_VALUE = (TypeError, ValueError, ValidationError)
_COMPARISONS = (GreaterThan, GreaterThanOrEqual, LessThan, LessThanOrEqual)
_SAFE = ("+", "-", "*")
_UNSTEADY = (
    "random",
    "clock_timestamp",
    "statement_timestamp",
    "now",
    "gen_random_uuid",
    "timeofday",
    "nextval",
)
# Always the same of the same, and no row makes them fail. Of others nobody knows.
_STEADY = (
    *(
        "lower",
        "upper",
        "btrim",
        "ltrim",
        "rtrim",
        "trim",
        "length",
        "char_length",
        "left",
        "right",
        "reverse",
    ),
    *("replace", "strpos", "concat", "md5", "sha224", "sha256", "sha384", "sha512", "ascii"),
    *("coalesce", "nullif", "greatest", "least", "abs", "sign", "floor", "ceiling", "round"),
)


class NotCaptured(Exception):
    """A stock that no trigger can follow; the text says why, after "because "."""


@dataclass(frozen=True, slots=True)
class Part:
    """One expression of the row, and how its value is written in jsonb.

    Attributes:
        raw: SQL of what is grouped by.
        kind: ``plain, number, text`` or ``instant``.
    """

    raw: str
    kind: str

    def jsonb(self, sql: str | None = None) -> str:
        """Return SQL of the value in its normal form; ``sql`` stands for ``raw`` where that was computed before."""
        given = sql or self.raw
        match self.kind:
            case "number":
                found = f"to_jsonb(trim_scale(({given})::numeric))"
            case "text":
                found = f"to_jsonb({{kck}}kck_text({given}))"
            case "instant":
                found = f"""to_jsonb(to_char({given} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))"""
            case _:
                found = f"to_jsonb({given})"
        return f"coalesce({found}, 'null'::jsonb)"


@dataclass(frozen=True, slots=True)
class Split:
    """A facet of a definition: one part, or several for a combination."""

    name: str
    parts: tuple[Part, ...]

    def jsonb(self, given: Sequence[str] | None = None) -> str:
        texts = [part.jsonb(given[i] if given else None) for i, part in enumerate(self.parts)]
        return texts[0] if len(texts) == 1 else f"jsonb_build_array({', '.join(texts)})"


@dataclass(frozen=True, kw_only=True)
class Captured:
    """What a stock and a flow have in common, in SQL. Every expression speaks of the row as ``kck_row``.

    Attributes:
        relation: Its table, quoted.
        columns: The columns that any expression looks at.
        args: Its parameters, by name.
        splits: The total's facets, in order; the total itself is 0, the first facet 1.
    """

    key_base: str
    relation: str
    columns: tuple[str, ...]
    args: tuple[tuple[str, Part], ...]
    splits: tuple[Split, ...]
    version: int

    kind: ClassVar[str]

    @cached_property
    def generation(self) -> int:
        """63 bits of a hash: of a changed definition, another."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    def to_json(self) -> dict[str, Any]:
        """Return the definition as the table of generations keeps it: lists for tuples, lists for parts and splits."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "recording"}
        text = json.dumps(
            own | {"kind": self.kind}, default=lambda one: [getattr(one, f.name) for f in fields(one)]
        )
        found: dict[str, Any] = json.loads(text)
        return found

    def args_jsonb(self, given: Mapping[str, str] | None = None) -> str:
        """Return SQL of the parameters as an object in its normal form; ``given`` stands for their ``raw``."""
        if not self.args:
            return "'{}'::jsonb"
        pairs = (f"{literal(name)}, {part.jsonb((given or {}).get(name))}" for name, part in self.args)
        return f"jsonb_build_object({', '.join(pairs)})"

    def trial(self) -> str:
        """Return a query that fails if the table does not fit the definition, and reads nothing."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Definition(Captured):
    """A captured stock.

    Attributes:
        member: Whether a row is in it: true or false, never NULL. Where time alone moves rows in and out: whether it is
            in it at any time.
        amount: What a row adds to the sum; None where rows are counted.
        begins, ends: The instants from which on it is in it, and no longer; None where time is nothing to it.
    """

    member: str
    amount: str | None = None
    begins: str | None = None
    ends: str | None = None

    kind = "stock"

    @property
    def timed(self) -> bool:
        """Whether rows come and go with time alone: what is held is dated."""
        return self.begins is not None or self.ends is not None

    def dates(self) -> list[tuple[str, int]]:
        """Return what a row does and when, as (SQL of the instant, 1 or -1) each."""
        found = [(self.begins or "'-infinity'::timestamptz", 1)]
        return found + ([(self.ends, -1)] if self.ends is not None else [])

    def trial(self) -> str:
        recount = self.recount().replace("{now}", "clock_timestamp()")
        return f"SELECT * FROM ({recount}) AS tried LIMIT 0"

    def recount(self) -> str:
        """Return a query of all that the stock holds: args, start_at, facet, facet_value, n, amount; one pass over the
        table. What counts from a certain instant on has that as ``start_at``, all else, and what came about long ago,
        ``-infinity``; ``{now}`` stands for the present instant.
        """
        amount = self.amount or "NULL::numeric"
        own = "".join(f"{part.raw} AS a{i}, " for i, (_, part) in enumerate(self.args))
        columns = f"{own}{columns_of(self.splits)}{amount} AS m"
        rows = f"{self.relation} AS {ROW}"
        names = [f"a{i}" for i in range(len(self.args))]
        args = self.args_jsonb({name: f"a{i}" for i, (name, _) in enumerate(self.args)})
        if not self.timed:
            inner = f"SELECT {columns} FROM {rows} WHERE {self.member}"
            shown = f"{args} AS args, '-infinity'::timestamptz AS start_at, "
            return grouped(inner, self.splits, by=names, shown=shown, measure="sum(m)")
        dates = ", ".join(
            f"(CASE WHEN {at} <= {{now}} - {LAG} THEN '-infinity' ELSE {at} END, {sign})"
            for at, sign in self.dates()
        )
        inner = (
            f"SELECT {columns}, kck_date.at, kck_date.sign FROM {rows} "
            f"CROSS JOIN LATERAL (VALUES {dates}) AS kck_date (at, sign) WHERE {self.member}"
        )
        shown = f"{args} AS args, at AS start_at, "
        by = [*names, "at"]
        return grouped(inner, self.splits, by=by, shown=shown, number="sum(sign)", measure="sum(m * sign)")


def by_value(splits: Sequence[Split], counted: Part) -> tuple[Split, ...]:
    """Return the facets of what is counted distinct: of each value that is counted, how many rows have it, for each of
    a facet's; behind them, as a facet of its own, for the total.

    Raises:
        NotCaptured: they are too many.
    """
    if len(splits) >= MOST_FACETS:
        raise NotCaptured(
            f"what is counted distinct is one more facet, and {MOST_FACETS} are as many as can be"
        )
    return (*(Split(one.name, (*one.parts, counted)) for one in splits), Split("", (counted,)))


def is_partial(found: Definition, end: str | None) -> bool:
    """Whether a stock counts fewer rows than it has members as an end of a flow (SQL): its measure leaves some out."""
    if end is None:
        return False
    inner = end.removeprefix("coalesce(").removesuffix(", false)")
    whole = " AND ".join([inner, *(f"{part.raw} IS NOT NULL" for _, part in found.args)])
    return found.member != f"coalesce({whole}, false)"


def columns_of(splits: Sequence[Split]) -> str:
    """Return SQL of the parts of some facets, as columns ``f0_0, f0_1, f1_0, …``, each with a comma behind it."""
    parts = ((s, i, part) for s, split in enumerate(splits) for i, part in enumerate(split.parts))
    return "".join(f"{part.raw} AS f{s}_{i}, " for s, i, part in parts)


def grouped(
    inner: str,
    splits: Sequence[Split],
    *,
    by: Sequence[str] = (),
    shown: str = "",
    number: str = "count(*)",
    measure: str,
    total: bool = True,
) -> str:
    """Return a query of a count by facets: what is ``shown``, facet, facet_value, n, amount; one pass over ``inner``.

    Args:
        inner: SQL of the rows, with the columns of ``columns_of(splits)`` and those of ``by``.
        by: Columns that everything is grouped by.
        shown: SQL of what is told of them, with a comma behind it.
        number: SQL of the number of rows.
        measure: SQL of the sum.
        total: Whether the total, facet 0, is among the facets.
    """
    facets = [[f"f{s}_{i}" for i in range(len(split.parts))] for s, split in enumerate(splits)]
    sets = [[*by, *names] for names in ([[], *facets] if total else facets)]
    # Of each facet its first part tells whether it is grouped by: GROUPING is 0 where it is.
    which = " ".join(f"WHEN grouping({names[0]}) = 0 THEN {s + 1}" for s, names in enumerate(facets))
    values = " ".join(f"WHEN {s + 1} THEN {split.jsonb(facets[s])}" for s, split in enumerate(splits))
    columns = "".join(f"{name}, " for name in [*by, *(name for names in facets for name in names)])
    facet = f"CASE {which} ELSE 0 END" if facets else "0"
    grouping = ", ".join(f"({', '.join(one)})" for one in sets)
    outer = (
        f"SELECT {columns}{facet} AS facet, {number} AS n, {measure} AS amount "
        f"FROM ({inner}) AS rows GROUP BY GROUPING SETS ({grouping})"
    )
    value = f"CASE facet {values} ELSE 'null'::jsonb END" if facets else "'null'::jsonb"
    text = f"SELECT {shown}facet, {value} AS facet_value, n, amount FROM ({outer}) AS counted"
    return text.replace("{kck}", "")  # on our own connections our functions are on the path


@dataclass(frozen=True, kw_only=True)
class FlowDefinition(Captured):
    """A captured flow. Every expression speaks of one side of a change as ``kck_row``.

    Attributes:
        identity: The columns that tell a row before a change from another after it.
        sources, sinks: (name, whether a row is in it) each; the name is empty, and the SQL None, for the outside.
        inside: Whether a row is in any stock that flows connect with these.
        window: SQL of the beginning of the window that the instant ``{at}`` is in.
        at: SQL of the transition's instant; None for the transaction's.
        recording: How its transitions are kept as events, None where they are not. No part of what it counts, and
            hence not of its generation: switched on or off, it counts on.
    """

    identity: tuple[str, ...]
    sources: tuple[tuple[str, str | None], ...]
    sinks: tuple[tuple[str, str | None], ...]
    inside: str
    window: str
    at: str | None
    recording: Recording | None = None

    kind = "flow"

    @property
    def facets(self) -> tuple[str, ...]:
        """The names of the facets, those of the ends included."""
        ends = [name for name, of in (("source", self.sources), ("sink", self.sinks)) if len(of) > 1]
        return (*(split.name for split in self.splits), *ends)

    def trial(self) -> str:
        ends = [sql for _, sql in (*self.sources, *self.sinks) if sql is not None]
        more = [split.jsonb() for split in self.splits] + ([self.at] if self.at is not None else [])
        identity = [f'{ROW}."{column}"' for column in self.identity]
        what = ", ".join([*identity, *ends, self.inside, self.args_jsonb(), *more]).replace("{kck}", "")
        return f"SELECT {what} FROM {self.relation} AS {ROW} LIMIT 0"


def stored(found: Mapping[str, Any], events: Mapping[str, Any] | None = None) -> Captured:
    """Return the definition that the table of generations holds; ``events``: how its transitions are kept."""
    given = {name: _tuples(value) for name, value in found.items() if name != "kind"}
    given["args"] = tuple((name, Part(*part)) for name, part in given["args"])
    given["splits"] = tuple(
        Split(name, tuple(Part(*part) for part in parts)) for name, parts in given["splits"]
    )
    if found["kind"] != "flow":
        return Definition(**given)
    return FlowDefinition(**given, recording=Recording.from_json(events) if events else None)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def definition(stock: Stock, alias: str) -> Definition:
    """Return a stock's definition.

    Raises:
        NotCaptured: it cannot be captured.
        DeclarationError: it is declared wrongly.
    """
    if stock.capture is None:
        raise NotCaptured("capture is None")
    model = model_of(stock)
    compiler = _Compiler(model, alias)
    steady, moments = _apart(_where(stock, model, compiler))
    conditions, amount = [compiler.where(steady)], None
    begins, ends, more = compiler.dates(moments)
    conditions += more
    splits = compiler.splits(stock.facets)
    if stock.measure is not None:
        more, amount = compiler.measure(stock.measure)
        conditions += more
        if is_distinct(stock.measure):
            splits = by_value(splits, compiler.counted(stock.measure))
    args = compiler.args(stock.parameters)
    conditions += [f"{part.raw} IS NOT NULL" for _, part in args]
    return Definition(
        key_base=stock.name,
        relation=compiler.relation,
        splits=splits,
        columns=tuple(sorted(compiler.columns)),
        member=f"coalesce({' AND '.join(conditions)}, false)",
        args=args,
        amount=amount,
        begins=begins,
        ends=ends,
        version=stock.version,
    )


def flow_definition(
    flow: Flow,
    alias: str,
    sources: Sequence[Stock | None],
    sinks: Sequence[Stock | None],
    inside: Sequence[Stock],
) -> FlowDefinition:
    """Return a flow's definition.

    Args:
        sources, sinks: Its ends; None is the outside.
        inside: The stocks that flows connect with them, the ends among them.

    Raises:
        NotCaptured: an end, a facet or a parameter is no expression of the row alone.
        DeclarationError: it is declared wrongly.
    """
    if not sources or not sinks or not inside:
        raise DeclarationError("sources and sinks name at least one stock, and None for the outside")
    models_of = {model_of(stock)._meta.concrete_model for stock in inside}
    if len(models_of) > 1:
        names = ", ".join(sorted(model._meta.label for model in models_of if model is not None))
        raise DeclarationError(f"its stocks count different models ({names}): a row cannot move between them")
    model = model_of(inside[0])
    compiler = _Compiler(model, alias)

    def member(stock: Stock) -> str:
        if stock.capture == "signals":
            raise NotCaptured(f"only Python can tell the members of {stock.name!r}")
        return f"coalesce({compiler.where(_where(stock, model, compiler))}, false)"

    def end(stock: Stock | None) -> tuple[str, str | None]:
        return ("", None) if stock is None else (stock.name, member(stock))

    at = None
    if flow.at is not None:
        when = compiler.resolve(flow.at, "at")
        if not isinstance(when.output_field, models.DateTimeField):
            raise DeclarationError(f"at names {flow.at!r}, which is no DateTimeField")
        at = compiler.sql(when)
    pk = tuple(field.column for field in getattr(model._meta, "pk_fields", None) or [model._meta.pk])
    given: dict[str, Any] = {
        "args": compiler.args(flow.own_parameters),
        "splits": compiler.splits(flow.facets),
        "sources": tuple(map(end, sources)),
        "sinks": tuple(map(end, sinks)),
        "inside": f"({' OR '.join(map(member, inside))})",
    }
    return FlowDefinition(
        key_base=flow.name,
        relation=compiler.relation,
        columns=tuple(sorted({*compiler.columns, *pk})),  # of all that was compiled above
        identity=pk,
        window=flow.windows.sql("{at}"),
        at=at,
        version=flow.version,
        recording=recorded.recording_of(flow, model, alias, compiler.sources(flow)),
        **given,
    )


def event_mistakes(flow: Flow, alias: str, inside: Sequence[Stock]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the model that is to keep the events of a flow that can be captured, as (what is wrong,
    what to do)."""
    model = model_of(inside[0])
    yield from recorded.mistakes(flow, model, alias, _Compiler(model, alias).sources(flow))


def event_overlooking(flow: Flow, alias: str, inside: Sequence[Stock]) -> list[str]:
    """Return the foreign keys of such a model that overlook events when it is read."""
    return recorded.overlooking(flow.record_events, _Compiler(model_of(inside[0]), alias).sources(flow))


def mistakes(stock: Stock) -> Iterator[tuple[str, str]]:
    """Yield what is declared wrongly, as (what is wrong, what to do)."""
    if (stock.model is None) == (stock.queryset is None):
        both = "both a model and a queryset" if stock.model is not None else "neither a model nor a queryset"
        yield f"it has {both}", "Give a model (with members, a Q), or a queryset."
        return
    if stock.queryset is not None and not isinstance(stock.queryset, models.QuerySet):
        yield f"queryset is {stock.queryset!r}", "Give a queryset, Model.objects.filter(…)."
        return
    if stock.members is not None and (stock.queryset is not None or not isinstance(stock.members, Q)):
        yield f"members is {stock.members!r}", "Give a Q, with a model."
        return
    try:
        model = model_of(stock)
    except DeclarationError as error:
        yield str(error), "Name a model of an installed app."
        return
    if not isinstance(stock.facets, (list, tuple)) or not all(
        hasattr(one, "lookups") for one in stock.facets
    ):
        yield f"facets is {stock.facets!r}", "Give a list of Facet(…)."
        return
    names = [facet.name for facet in stock.facets]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"two facets are named {name!r}", "Rename one of them; its lookup may stay."
    if len(names) > MOST_FACETS:
        yield (
            f"it has {len(names)} facets",
            f"PostgreSQL tells {MOST_FACETS} apart in one pass: leave some out.",
        )
    known = ", ".join(sorted(one.name for one in model._meta.get_fields() if getattr(one, "concrete", False)))
    for facet in stock.facets:
        for lookup in facet.lookups:
            try:
                output = concrete(F(lookup).resolve_expression(query_of(stock)).output_field)
            except (FieldError, AttributeError):
                yield (
                    f"facet {facet.name!r}: {model._meta.label} has no {lookup!r}",
                    f"Its fields are: {known}.",
                )
                continue
            if kind_of(output) is None:
                yield (
                    f"facet {facet.name!r} is a {type(output).__name__}, whose values cannot be told apart as text",
                    "Split by a column of text, numbers, dates, times, booleans or UUIDs.",
                )
    for parameter in stock.parameters:
        name = column_of(parameter)
        try:
            F(name).resolve_expression(query_of(stock))
        except FieldError:
            yield (
                f"parameter {parameter.name!r}: {model._meta.label} has no column {name!r}",
                f"Name the parameter like a column, or give its field. The fields are: {known}.",
            )
    if stock.members is not None:
        try:
            Query(model).add_q(stock.members)
        except (FieldError, *NO_VALUE) as error:
            yield f"members: {str(error).rstrip('.')}", "Write it as filter() takes it."
    if stock.measure is not None:
        if not isinstance(stock.measure, Aggregate):
            yield (
                f"measure is {stock.measure!r}",
                'Give Count("*"), Count("column"), Sum("column") or Avg("column").',
            )
            return
        try:
            stock.measure.resolve_expression(query_of(stock))
        except FieldError as error:
            yield f"measure: {str(error).rstrip('.')}", "Measure a column of the model."


def query_of(stock: Stock) -> Query:
    """Return a query in which a stock's lookups can be resolved."""
    return stock.queryset.query.clone() if stock.queryset is not None else Query(model_of(stock))


def column_of(parameter: Parameter[Any]) -> str:
    """Return the column of a counted model that a parameter names."""
    return getattr(parameter, "field", None) or parameter.name


def model_of(stock: Stock) -> type[models.Model]:
    """Return the model whose rows a stock counts. Raises DeclarationError: there is none."""
    found: Any = stock.queryset.model if stock.queryset is not None else stock.model
    if isinstance(found, str):
        try:
            found = apps.get_model(found)
        except (LookupError, ValueError):
            raise DeclarationError(
                f"model: there is no model {stock.model!r} (write 'app_label.ModelName')"
            ) from None
    if not (isinstance(found, type) and issubclass(found, models.Model)):
        raise DeclarationError("it has neither a model nor a queryset")
    return found


def _where(stock: Stock, model: type[models.Model], compiler: _Compiler) -> Any:
    if stock.queryset is None:
        if stock.members is None:
            return None
        try:
            return compiler.query.build_where(stock.members)
        except FieldError as error:
            if "Joined field references" in str(error):
                raise NotCaptured("members reaches into another table") from None
            raise DeclarationError(f"members: {error}") from None
        except NO_VALUE as error:
            raise DeclarationError(f"members: {error}") from None
    query = stock.queryset.query
    for what, is_so in (
        ("a combination of querysets", query.combinator),
        ("sliced", query.is_sliced),
        ("distinct", query.distinct),
        ("grouped", query.group_by is not None),
        ("extended with extra()", query.extra_tables or query.extra),
        ("joined to another table", sum(count > 0 for count in query.alias_refcount.values()) > 1),
    ):
        if is_so:
            raise NotCaptured(f"its queryset is {what}")
    return query.where


def _apart(node: Any) -> tuple[Any, list[tuple[Any, timedelta]]]:
    """Return (what is so until a write changes it, comparisons of a column with the present instant) of a predicate."""
    if not isinstance(node, WhereNode) or node.negated or node.connector != AND:
        return node, []
    steady: list[Any] = []
    moments: list[tuple[Any, timedelta]] = []
    for child in node.children:
        offset = _from_now(child.rhs) if isinstance(child, _COMPARISONS) else None
        if offset is None:
            steady.append(child)
        else:
            moments.append((child, offset))
    return WhereNode(steady, node.connector), moments


def _from_now(given: Any) -> timedelta | None:
    """Return how far from the present instant an expression is: of ``Now() - timedelta(days=30)``, minus 30 days."""
    if isinstance(given, Now):
        return timedelta(0)
    if not isinstance(given, CombinedExpression) or given.connector not in ("+", "-"):
        return None
    distance = given.rhs.value if isinstance(given.rhs, Value) else None
    if not isinstance(given.lhs, Now) or not isinstance(distance, timedelta):
        return None
    return distance if given.connector == "+" else -distance


class _Compiler:
    """Compiles expressions of one row of a model, and remembers the columns they look at."""

    def __init__(self, model: type[models.Model], alias: str) -> None:
        self.model = model
        self.query = Query(model)
        self.query.get_initial_alias()
        self.relation = connections[alias].ops.quote_name(model._meta.db_table)
        self.compiler = self.query.get_compiler(using=alias)
        self.columns: set[str] = set()

    def where(self, node: Any) -> str:
        if node is None or not getattr(node, "children", True):
            return "true"
        return self.sql(node)

    def sql(self, node: Any) -> str:
        """Return the SQL of an expression of the row. Raises NotCaptured: it is none of the row alone."""
        nodes = list(_walk(node))
        for one in nodes:
            _refuse_unsteady(one)
        for one in nodes:
            _refuse(one)
            if isinstance(one, Col):
                if one.target.model._meta.concrete_model is not self.model._meta.concrete_model:
                    raise NotCaptured(f"{one.target} stands in another table")
                self.columns.add(str(one.target.column))
        base = self.query.base_table
        try:
            text, params = self.compiler.compile(node.relabeled_clone({base: ROW}))
        except EmptyResultSet:
            return "false"
        except FullResultSet:
            return "true"
        return (
            f"({text % tuple(literal(one) for one in params)})" if params else f"({text.replace('%%', '%')})"
        )

    def dates(
        self, moments: Sequence[tuple[Lookup[Any], timedelta]]
    ) -> tuple[str | None, str | None, list[str]]:
        """Return (from when a row is in it, until when, what else must be so) of conditions on the present instant."""
        begins: list[str] = []
        ends: list[str] = []
        more: list[str] = []
        for lookup, offset in moments:
            if not isinstance(concrete(lookup.lhs.output_field), models.DateTimeField):
                raise NotCaptured("only a DateTimeField can be compared with Now() exactly")
            if abs(offset) > MOST_OFFSET:
                raise NotCaptured(f"an instant {offset.days:,} days from now may be none in PostgreSQL")
            column = self.sql(lookup.lhs)
            more.append(f"{column} IS NOT NULL")
            # Whatever the column holds, the sum is an instant: what a trigger raises, the write fails with.
            sane = f"LEAST(GREATEST({column}, '0001-01-01Z'::timestamptz), '9999-12-31Z'::timestamptz)"
            # At equality `>` and `<=` have their change; the others one tick of PostgreSQL's clock later.
            late = isinstance(lookup, (GreaterThanOrEqual, LessThan))
            ticks = -offset // timedelta(microseconds=1) + late
            at = f"({sane} + '{ticks} microseconds'::interval)"
            (ends if isinstance(lookup, (GreaterThan, GreaterThanOrEqual)) else begins).append(at)
        first = f"GREATEST({', '.join(begins)})" if begins else None
        last = f"LEAST({', '.join(ends)})" if ends else None
        if first is not None and last is not None:
            more.append(f"{first} < {last}")
        return first, last, more

    def resolve(self, lookup: str, what: str) -> Any:
        try:
            return F(lookup).resolve_expression(self.query, allow_joins=False)
        except FieldError as error:
            if "Joined field references" in str(error):
                raise NotCaptured(f"{what} reaches into another table") from None
            raise DeclarationError(f"{what}: {error}") from None

    def part(self, lookup: str, what: str) -> tuple[Part, models.Field[Any, Any]]:
        """Return a column, or a transform of one, as a part; and the field of its values."""
        found = self.resolve(lookup, what)
        output = concrete(found.output_field)
        part = part_of(self.sql(found), output)
        if part is None:
            raise NotCaptured(f"{what} is a {type(output).__name__}, which has no one spelling as a value")
        return part, output

    def args(self, parameters: Sequence[Parameter[Any]]) -> tuple[tuple[str, Part], ...]:
        found = []
        for parameter in parameters:
            part, output = self.part(column_of(parameter), f"parameter {parameter.name!r}")
            if isinstance(output, (models.FloatField, models.DateTimeField)):
                name = column_of(parameter)
                raise NotCaptured(f"{type(output).__name__} {name!r} has no one spelling as a key")
            found.append((parameter.name, part))
        return tuple(found)

    def splits(self, facets: Sequence[Facet]) -> tuple[Split, ...]:
        return tuple(
            Split(one.name, tuple(self.part(lookup, f"facet {one.name!r}")[0] for lookup in one.lookups))
            for one in facets
        )

    def sources(self, flow: Flow) -> dict[str, Source]:
        """Return what columns of an event can be filled with, by name: the values of parameters and facets."""
        if isinstance(flow.record_events, bool):
            return {}  # the shared table has none for them
        named = {parameter.name: column_of(parameter) for parameter in flow.own_parameters}
        named |= {facet.name: facet.lookups[0] for facet in flow.facets if len(facet.lookups) == 1}
        found = {}
        for name, lookup in named.items():
            part, output = self.part(lookup, f"facet {name!r}")
            sql = f"{{kck}}kck_text({part.raw})" if part.kind == "text" else part.raw
            seen = self.resolve(lookup, name)
            found[name] = Source(sql, part.jsonb(), output, seen.target if isinstance(seen, Col) else None)
        return found

    def measure(self, measure: Any) -> tuple[list[str], str | None]:
        """Return (what else a row must be to be measured, what it adds to the sum or None)."""
        if not isinstance(measure, Aggregate):
            raise DeclarationError(f"measure is Count('*'), Count(…), Sum(…) or Avg(…), not {measure!r}")
        if type(measure) not in (Count, Sum, Avg):
            raise NotCaptured(f"a {type(measure).__name__} is not the sum of what its rows add")
        if is_distinct(measure) and type(measure) is not Count:
            raise NotCaptured(
                f"a distinct {type(measure).__name__.lower()} is not the sum of what its rows add"
            )
        more = []
        if measure.filter is not None:
            try:
                more.append(self.where(self.query.build_where(condition_of(measure))))
            except FieldError:
                raise NotCaptured("the measure's filter reaches into another table") from None
        (given,) = measure.get_source_expressions()[:1]
        if type(measure) is Count:
            if not is_star(given):
                more.append(f"{self.sql(self._expression(given))} IS NOT NULL")
            return more, None
        found = self._expression(given)
        output = concrete(found.output_field)
        if isinstance(output, models.FloatField):
            raise NotCaptured("a sum of floats depends on the order of its rows; use a DecimalField")
        if kind_of(output) not in ("plain", "number"):
            raise NotCaptured(f"a {type(output).__name__} is no number that could be summed")
        if type(measure) is Avg:  # two sums: of the values, and of the rows that have one
            more.append(f"{self.sql(found)} IS NOT NULL")
        return more, f"({self.sql(found)})::numeric"

    def counted(self, measure: Any) -> Part:
        """Return what a distinct count tells apart. Raises NotCaptured: SQL cannot."""
        found = self._expression(measure.get_source_expressions()[0])
        part = part_of(self.sql(found), concrete(found.output_field))
        if part is None:
            raise NotCaptured(
                f"the values of a {type(concrete(found.output_field)).__name__} cannot be told apart as text"
            )
        return part

    def _expression(self, given: Any) -> Any:
        try:
            return given.resolve_expression(self.query, allow_joins=False)
        except FieldError as error:
            if "Joined field references" in str(error):
                raise NotCaptured("measure reaches into another table") from None
            raise DeclarationError(f"measure: {error}") from None


def condition_of(measure: Any) -> Any:
    """Return the condition of a measure's filter, as a Q (Django 6 wraps it)."""
    found = getattr(measure.filter, "condition", measure.filter)
    return found if isinstance(found, Q) else Q(found)


def is_distinct(measure: Any) -> bool:
    """Whether a measure takes each value once."""
    return bool(getattr(measure, "distinct", False))


def is_star(given: Any) -> bool:
    return getattr(given, "name", None) in ("pk",) or type(given).__name__ == "Star"


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.get_source_expressions() if hasattr(node, "get_source_expressions") else ():
        if child is not None:
            yield from _walk(child)


def _refuse_unsteady(one: Any) -> None:
    if isinstance(one, Now):
        raise NotCaptured(
            "Now changes without a write, and is no comparison of a DateTimeField that the other conditions are "
            "joined to by AND"
        )
    if isinstance(one, Random) or (isinstance(one, Func) and str(one.function or "").lower() in _UNSTEADY):
        raise NotCaptured(f"{type(one).__name__} changes without a write")
    if isinstance(one, Func) and not isinstance(one, (Aggregate, Cast, Window)):
        # Those without a name are Django's own parts of dates and of JSON.
        own = not one.function and type(one).__module__.startswith("django.db.models.")
        if not own and str(one.function or "").lower() not in _STEADY:
            raise NotCaptured(
                f"nobody knows whether {type(one).__name__} always gives the same, and never fails"
            )


def _refuse(one: Any) -> None:
    if isinstance(one, (Query, Subquery, Window, Aggregate)):
        raise NotCaptured("it looks at other rows")
    if isinstance(one, (RawSQL, ExtraWhere)):
        raise NotCaptured("raw SQL may look at anything")
    if isinstance(one, Cast) or (
        isinstance(one, CombinedExpression)
        and (one.connector not in _SAFE or not isinstance(concrete(one.output_field), models.DecimalField))
    ):
        # Whatever a trigger raises, the write fails with it.
        raise NotCaptured(f"{type(one).__name__} may fail for some row, and its write would fail with it")


def part_of(sql: str, output: Any) -> Part | None:
    """Return an expression whose values a field holds as a part; None where they have no one spelling."""
    kind = kind_of(output)
    if kind == "text":  # bytewise, whatever its collation thinks equal
        sql = f'({sql}::text COLLATE "C")'
    elif isinstance(output, models.FloatField):
        sql = f"({sql}::text::numeric)"
    return Part(sql, kind) if kind is not None else None


def kind_of(output: Any) -> str | None:
    """Return how the values of a field are written in jsonb; None where they have no one spelling."""
    if isinstance(output, models.DateTimeField):
        return "instant"
    if isinstance(output, (models.BooleanField, models.IntegerField, models.UUIDField, models.DateField)):
        return "plain"
    if isinstance(output, (models.DecimalField, models.FloatField)):
        return "number"
    if isinstance(output, (models.CharField, models.TextField, models.FileField)):
        return "text"
    return None


def literal(value: Any) -> str:
    """Return a value as SQL text, the same with every driver. Raises NotCaptured: it has no such text."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return f"({int(value)})" if value < 0 else str(int(value))
        case Decimal() if value.is_finite():
            return f"({value:f})" if value < 0 else f"{value:f}"
        case float():
            return f"'{value!r}'::float8"
        case str():
            if "\x00" in value:
                raise NotCaptured("a text with a NUL has no place in SQL")
            quoted = value.replace("'", "''")
            return f"'{quoted}'" if "\\" not in value else "E'" + quoted.replace("\\", "\\\\") + "'"
        case UUID():
            return f"'{value}'::uuid"
        case datetime():
            if value.tzinfo is None:
                return f"'{value.isoformat()}'::timestamp"
            return f"'{value.astimezone(UTC).isoformat()}'::timestamptz"
        case date():
            return f"'{value.isoformat()}'::date"
        case time():
            return f"'{value.isoformat()}'::time"
        case timedelta():
            return f"'{value.total_seconds()!r} seconds'::interval"
        case list() | tuple():
            return f"ARRAY[{', '.join(map(literal, value))}]"
    raise NotCaptured(f"{type(value).__name__} {value!r} has no text in SQL that all drivers share")
