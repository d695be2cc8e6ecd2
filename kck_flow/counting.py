"""How a stock becomes SQL: which rows are in it, to which key and facet values each belongs, what it adds.

A definition is a handful of expressions of one row, as Django compiles them, with their values written out: a trigger
has no parameters. Its generation is a hash of it, so every process and every restored database arrives at the same one.
What is no expression of the row alone cannot be captured, and says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet
from django.db import connections, models, router
from django.db.models import Aggregate, Count, F, Q, Sum
from django.db.models.expressions import Col, CombinedExpression, Func, RawSQL, Subquery, Window
from django.db.models.functions import Cast, Now, Random
from django.db.models.sql import Query
from django.db.models.sql.where import ExtraWhere

from .errors import DeclarationError

if TYPE_CHECKING:
    from .key import Key
    from .stock import Flow, Stock

# The row, in every expression of a definition.
ROW = "kck_row"
# A grouping of this many expressions is what PostgreSQL tells apart in one number.
MOST_FACETS = 30
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


@dataclass(frozen=True, slots=True)
class Definition:
    """A captured stock in SQL. Every expression speaks of the row as ``kck_row``.

    Attributes:
        relation: Its table, quoted.
        columns: The columns that any expression looks at.
        member: Whether a row is in it: true or false, never NULL.
        args: The stock's parameters, by name.
        splits: The total's facets, in order; the total itself is 0, the first facet 1.
        amount: What a row adds to the sum; None where rows are counted.
    """

    key_base: str
    relation: str
    columns: tuple[str, ...]
    member: str
    args: tuple[tuple[str, Part], ...] = ()
    splits: tuple[Split, ...] = ()
    amount: str | None = None
    version: int = 1

    @property
    def generation(self) -> int:
        """63 bits of a hash: of a changed definition, another."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    def to_json(self) -> dict[str, Any]:
        """Return the definition as the table of generations keeps it."""
        return {
            "key_base": self.key_base,
            "relation": self.relation,
            "columns": list(self.columns),
            "member": self.member,
            "args": [[name, part.raw, part.kind] for name, part in self.args],
            "splits": [
                [split.name, [[part.raw, part.kind] for part in split.parts]] for split in self.splits
            ],
            "amount": self.amount,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Definition:
        """Return the definition that ``to_json`` gave."""
        return cls(
            found["key_base"],
            found["relation"],
            tuple(found["columns"]),
            found["member"],
            tuple((name, Part(raw, kind)) for name, raw, kind in found["args"]),
            tuple(Split(name, tuple(Part(*part) for part in parts)) for name, parts in found["splits"]),
            found["amount"],
            found["version"],
        )

    def args_jsonb(self, given: Mapping[str, str] | None = None) -> str:
        """Return SQL of the parameters as an object in its normal form."""
        if not self.args:
            return "'{}'::jsonb"
        pairs = (f"{literal(name)}, {part.jsonb((given or {}).get(name))}" for name, part in self.args)
        return f"jsonb_build_object({', '.join(pairs)})"

    def trial(self) -> str:
        """Return a query that fails if the table does not fit the definition, and reads nothing."""
        return f"SELECT * FROM ({self.recount()}) AS tried LIMIT 0"

    def recount(self, only: str = "") -> str:
        """Return a query of everything the stock holds: args, facet, facet_value, n, amount; one pass over the table.

        Args:
            only: SQL that picks the rows of some keys, beginning with ``AND``.
        """
        parts = [("a", i, part) for i, (_, part) in enumerate(self.args)]
        parts += [
            (f"f{s}_", i, part) for s, split in enumerate(self.splits) for i, part in enumerate(split.parts)
        ]
        names = [f"{prefix}{i}" for prefix, i, _ in parts]
        own = [f"a{i}" for i in range(len(self.args))]
        sets = [own] + [
            own + [f"f{s}_{i}" for i in range(len(split.parts))] for s, split in enumerate(self.splits)
        ]
        facets = [[f"f{s}_{i}" for i in range(len(split.parts))] for s, split in enumerate(self.splits)]
        firsts = [names[0] for names in facets]
        # Of each facet its first part tells whether it is grouped by: GROUPING is 0 where it is.
        which = " ".join(f"WHEN grouping({first}) = 0 THEN {s + 1}" for s, first in enumerate(firsts))
        facet = f"CASE {which} ELSE 0 END" if firsts else "0"
        values = " ".join(
            f"WHEN {s + 1} THEN {split.jsonb(facets[s])}" for s, split in enumerate(self.splits)
        )
        value = f"CASE facet {values} ELSE 'null'::jsonb END" if firsts else "'null'::jsonb"
        columns = "".join(f"{part.raw} AS {name}, " for name, (_, _, part) in zip(names, parts, strict=True))
        inner = (
            f"SELECT {columns}{self.amount or 'NULL::numeric'} AS m FROM {self.relation} AS {ROW} "
            f"WHERE {self.member}{only}"
        )
        grouped = ", ".join(f"({', '.join(one)})" for one in sets)
        # Without parameters and facets there is the empty set alone: one row, of an empty table, too.
        outer = (
            f"SELECT {''.join(f'{name}, ' for name in names)}{facet} AS facet, count(*) AS n, sum(m) AS amount "
            f"FROM ({inner}) AS rows GROUP BY GROUPING SETS ({grouped})"
        )
        args = self.args_jsonb({name: f"a{i}" for i, (name, _) in enumerate(self.args)})
        text = f"SELECT {args} AS args, facet, {value} AS facet_value, n, amount FROM ({outer}) AS counted"
        return text.replace("{kck}", "")  # on our own connections our functions are on the path


@dataclass(frozen=True, slots=True)
class FlowDefinition:
    """A captured flow in SQL. Every expression speaks of one side of a change as ``kck_row``.

    Attributes:
        identity: The columns that tell a row before a change from another after it.
        sources, sinks: (name, whether a row is in it) each; the name is empty, and the SQL None, for the outside.
        inside: Whether a row is in any stock that flows connect with these.
        window: SQL of the beginning of the window that the instant ``{at}`` is in.
        at: SQL of the transition's instant; None for the transaction's.
    """

    key_base: str
    relation: str
    columns: tuple[str, ...]
    identity: tuple[str, ...]
    sources: tuple[tuple[str, str | None], ...]
    sinks: tuple[tuple[str, str | None], ...]
    inside: str
    args: tuple[tuple[str, Part], ...]
    splits: tuple[Split, ...]
    window: str
    at: str | None
    version: int = 1

    @property
    def generation(self) -> int:
        """63 bits of a hash: of a changed definition, another."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 1

    @property
    def facets(self) -> tuple[str, ...]:
        """The names of the facets, those of the ends included."""
        ends = [name for name, of in (("source", self.sources), ("sink", self.sinks)) if len(of) > 1]
        return (*(split.name for split in self.splits), *ends)

    def to_json(self) -> dict[str, Any]:
        """Return the definition as the table of generations keeps it."""
        return {
            "kind": "flow",
            "key_base": self.key_base,
            "relation": self.relation,
            "columns": list(self.columns),
            "identity": list(self.identity),
            "sources": [list(one) for one in self.sources],
            "sinks": [list(one) for one in self.sinks],
            "inside": self.inside,
            "args": [[name, part.raw, part.kind] for name, part in self.args],
            "splits": [
                [split.name, [[part.raw, part.kind] for part in split.parts]] for split in self.splits
            ],
            "window": self.window,
            "at": self.at,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> FlowDefinition:
        """Return the definition that ``to_json`` gave."""
        return cls(
            found["key_base"],
            found["relation"],
            tuple(found["columns"]),
            tuple(found["identity"]),
            tuple((name, sql) for name, sql in found["sources"]),
            tuple((name, sql) for name, sql in found["sinks"]),
            found["inside"],
            tuple((name, Part(raw, kind)) for name, raw, kind in found["args"]),
            tuple(Split(name, tuple(Part(*part) for part in parts)) for name, parts in found["splits"]),
            found["window"],
            found["at"],
            found["version"],
        )

    def args_jsonb(self) -> str:
        """Return SQL of the parameters as an object in its normal form."""
        if not self.args:
            return "'{}'::jsonb"
        pairs = (f"{literal(name)}, {part.jsonb()}" for name, part in self.args)
        return f"jsonb_build_object({', '.join(pairs)})"

    def trial(self) -> str:
        """Return a query that fails if the table does not fit the definition, and reads nothing."""
        ends = [sql for _, sql in (*self.sources, *self.sinks) if sql is not None]
        more = [split.jsonb() for split in self.splits] + ([self.at] if self.at is not None else [])
        identity = [f'{ROW}."{column}"' for column in self.identity]
        what = ", ".join([*identity, *ends, self.inside, self.args_jsonb(), *more]).replace("{kck}", "")
        return f"SELECT {what} FROM {self.relation} AS {ROW} LIMIT 0"


def stored(found: Mapping[str, Any]) -> Definition | FlowDefinition:
    """Return the definition that the table of generations holds."""
    return FlowDefinition.from_json(found) if found.get("kind") == "flow" else Definition.from_json(found)


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
        inside: The stocks that flows connect with them.

    Raises:
        NotCaptured: an end, a facet or a parameter is no expression of the row alone.
        DeclarationError: it is declared wrongly.
    """
    ends = [stock for stock in (*sources, *sinks) if stock is not None]
    if not sources or not sinks or not ends:
        raise DeclarationError("sources and sinks name at least one stock, and None for the outside")
    models_of = {model_of(stock)._meta.concrete_model for stock in (*ends, *inside)}
    if len(models_of) > 1:
        names = ", ".join(sorted(model._meta.label for model in models_of if model is not None))
        raise DeclarationError(f"its stocks count different models ({names}): a row cannot move between them")
    model = model_of(ends[0])
    compiler = _Compiler(model, alias)

    def member(stock: Stock) -> str:
        return f"coalesce({compiler.where(_where(stock, model, compiler))}, false)"

    def end(stock: Stock | None) -> tuple[str, str | None]:
        return ("", None) if stock is None else (stock.name, member(stock))

    args = []
    for parameter in flow.own_parameters:
        name = getattr(parameter, "field", None) or parameter.name
        part, output = compiler.part(name, f"parameter {parameter.name!r}")
        if isinstance(output, (models.FloatField, models.DateTimeField)):
            raise NotCaptured(f"{type(output).__name__} {name!r} has no one spelling as a key")
        args.append((parameter.name, part))
    splits = tuple(
        Split(
            facet.name, tuple(compiler.part(lookup, f"facet {facet.name!r}")[0] for lookup in facet.lookups)
        )
        for facet in flow.facets
    )
    at = None
    if flow.at is not None:
        when = compiler.resolve(flow.at, "at")
        if not isinstance(when.output_field, models.DateTimeField):
            raise DeclarationError(f"at names {flow.at!r}, which is no DateTimeField")
        at = compiler.sql(when)
    given_sources, given_sinks = tuple(map(end, sources)), tuple(map(end, sinks))
    within = " OR ".join(member(stock) for stock in inside) or "false"
    pk = [field.column for field in getattr(model._meta, "pk_fields", None) or [model._meta.pk]]
    return FlowDefinition(
        flow.name,
        connections[alias].ops.quote_name(model._meta.db_table),
        tuple(sorted({*compiler.columns, *pk})),
        tuple(pk),
        given_sources,
        given_sinks,
        f"({within})",
        tuple(args),
        splits,
        flow.windows.sql("{at}"),
        at,
        flow.version,
    )


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
    columns: set[str] = set()
    member = compiler.where(_where(stock, model, compiler))
    amount = None
    measure = stock.measure
    if measure is not None:
        more, amount = compiler.measure(measure)
        member = f"{member} AND {more}" if more else member
    args = []
    for parameter in stock.parameters:
        name = getattr(parameter, "field", None) or parameter.name
        part, output = compiler.part(name, f"parameter {parameter.name!r}")
        if isinstance(output, (models.FloatField, models.DateTimeField)):
            raise NotCaptured(f"{type(output).__name__} {name!r} has no one spelling as a key")
        args.append((parameter.name, part))
        member = f"{member} AND {part.raw} IS NOT NULL"
    splits = [
        Split(
            facet.name, tuple(compiler.part(lookup, f"facet {facet.name!r}")[0] for lookup in facet.lookups)
        )
        for facet in stock.facets
    ]
    columns = compiler.columns
    return Definition(
        stock.name,
        connections[alias].ops.quote_name(model._meta.db_table),
        tuple(sorted(columns)),
        f"coalesce({member}, false)",
        tuple(args),
        tuple(splits),
        amount,
        stock.version,
    )


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
                output = concrete(F(lookup).resolve_expression(_query(stock, model)).output_field)
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
        name = getattr(parameter, "field", None) or parameter.name
        try:
            F(name).resolve_expression(_query(stock, model))
        except FieldError:
            yield (
                f"parameter {parameter.name!r}: {model._meta.label} has no column {name!r}",
                f"Name the parameter like a column, or give its field. The fields are: {known}.",
            )
    if stock.members is not None:
        try:
            Query(model).add_q(stock.members)
        except FieldError as error:
            yield f"members: {str(error).rstrip('.')}", "Write it as filter() takes it."
    if stock.measure is not None:
        if not isinstance(stock.measure, Aggregate):
            yield f"measure is {stock.measure!r}", 'Give Count("*"), or Sum("column").'
            return
        try:
            stock.measure.resolve_expression(_query(stock, model))
        except FieldError as error:
            yield f"measure: {str(error).rstrip('.')}", "Measure a column of the model."


def _query(stock: Stock, model: type[models.Model]) -> Query:
    return stock.queryset.query.clone() if stock.queryset is not None else Query(model)


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


class _Compiler:
    """Compiles expressions of one row of a model, and remembers the columns they look at."""

    def __init__(self, model: type[models.Model], alias: str) -> None:
        self.model, self.alias = model, alias
        self.query = Query(model)
        self.query.get_initial_alias()
        self.connection = connections[alias]
        self.compiler = self.query.get_compiler(using=alias)
        self.columns: set[str] = set()

    def where(self, node: Any) -> str:
        if node is None or not getattr(node, "children", True):
            return "true"
        return self.sql(node)

    def sql(self, node: Any) -> str:
        """Return the SQL of an expression of the row. Raises NotCaptured: it is none of the row alone."""
        for one in _walk(node):
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
        text = self.sql(found)
        match kind := kind_of(output):
            case None:
                raise NotCaptured(
                    f"{what} is a {type(output).__name__}, which has no one spelling as a value"
                )
            case "text":  # bytewise, whatever its collation thinks equal
                return Part(f'({text}::text COLLATE "C")', kind), output
            case "number" if isinstance(output, models.FloatField):
                return Part(f"({text}::text::numeric)", kind), output
        return Part(text, kind), output

    def measure(self, measure: Any) -> tuple[str, str | None]:
        """Return (what else a row must be to be measured, what it adds to the sum or None)."""
        if not isinstance(measure, Aggregate):
            raise DeclarationError(f"measure is Count('*') or Sum(…), not {measure!r}")
        if type(measure) not in (Count, Sum):
            raise NotCaptured(f"a {type(measure).__name__} is not the sum of what its rows add")
        if getattr(measure, "distinct", False):
            raise NotCaptured("what is counted distinct is not the sum of what its rows add")
        more = []
        if measure.filter is not None:
            try:
                more.append(self.where(self.query.build_where(_condition(measure))))
            except FieldError:
                raise NotCaptured("the measure's filter reaches into another table") from None
        (given,) = measure.get_source_expressions()[:1]
        if type(measure) is Count:
            if not _is_star(given):
                more.append(f"{self.sql(self._expression(given))} IS NOT NULL")
            return " AND ".join(more), None
        found = self._expression(given)
        output = concrete(found.output_field)
        if isinstance(output, models.FloatField) or kind_of(output) not in ("plain", "number"):
            raise NotCaptured(
                f"a sum of {type(output).__name__} depends on the order of its rows; use a DecimalField"
            )
        return " AND ".join(more), f"({self.sql(found)})::numeric"

    def _expression(self, given: Any) -> Any:
        try:
            return given.resolve_expression(self.query, allow_joins=False)
        except FieldError as error:
            if "Joined field references" in str(error):
                raise NotCaptured("measure reaches into another table") from None
            raise DeclarationError(f"measure: {error}") from None


def _condition(measure: Any) -> Any:
    """Return the condition of a measure's filter, as a Q (Django 6 wraps it)."""
    found = getattr(measure.filter, "condition", measure.filter)
    return found if isinstance(found, Q) else Q(found)


def _is_star(given: Any) -> bool:
    return getattr(given, "name", None) in ("pk",) or type(given).__name__ == "Star"


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.get_source_expressions() if hasattr(node, "get_source_expressions") else ():
        if child is not None:
            yield from _walk(child)


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
    if isinstance(one, (Now, Random)) or (
        isinstance(one, Func) and str(one.function or "").lower() in _UNSTEADY
    ):
        raise NotCaptured(f"{type(one).__name__} changes without a write")


def concrete(output: Any) -> Any:
    """Return the field that holds the values of one: of a foreign key, the key's."""
    while getattr(output, "target_field", None) is not None and output.is_relation:
        output = output.target_field
    return output


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


# -- asked in Python
# ---------------------------------------------------------------------------------------------------


def home_of(stock: Stock) -> str:
    """Return the database that a stock's rows, and hence its deltas, stand in."""
    return stock.database or str(router.db_for_write(model_of(stock)))


def count(stock: Stock, key: Key) -> Any:
    """Return what a key of a stock holds, counted now in one statement, in the caller's snapshot."""
    alias = home_of(stock)
    rows = _rows_of(stock, key).using(alias)
    names: list[list[str]] = []
    measured = rows.order_by()
    annotations: dict[str, Any] = {}
    for place, facet in enumerate(stock.facets):
        names.append([f"kck_f{place}_{i}" for i in range(len(facet.lookups))])
        annotations.update(zip(names[-1], map(F, facet.lookups), strict=True))
    split = measured.annotate(**annotations).values("pk", *annotations, **_measured(stock))
    connection = connections[alias]
    facets, params = split.query.get_compiler(using=alias).as_sql()
    total, more = measured.values("pk", **_measured(stock)).query.get_compiler(using=alias).as_sql()
    quoted = connection.ops.quote_name
    fields = [[concrete(split.query.annotation_select[name].output_field) for name in one] for one in names]
    parts = [
        [
            Part(_raw(f"s.{quoted(name)}", output), kind_of(output) or "plain")
            for name, output in zip(one, outs, strict=True)
        ]
        for one, outs in zip(names, fields, strict=True)
    ]
    what = _aggregate(stock)
    text = f"SELECT 0, 'null'::jsonb, count(*), {what} FROM ({total}) AS s"
    given = list(more)
    for place, one in enumerate(parts):
        shown = Split("", tuple(one)).jsonb().replace("{kck}", "")
        text += f" UNION ALL SELECT {place + 1}, {shown}, count(*), {what} FROM ({facets}) AS s GROUP BY 2"
        given += params
    with connection.cursor() as cursor:
        cursor.execute(text, given)
        found = cursor.fetchall()
    return display(stock, [(facet, _json(value), n, amount) for facet, value, n, amount in found])


def members(stock: Stock, key: Key, facets: Mapping[str, Any]) -> Any:
    """Return the rows that a key of a stock counts, in the order of their primary key; see ``Cache.members``."""
    rows = _rows_of(stock, key).using(home_of(stock)).order_by("pk")
    known = {facet.name: facet for facet in stock.facets}
    for name, value in facets.items():
        if name not in known:
            raise ValueError(
                f"{stock.name!r} has no facet {name!r}. Its facets are: {', '.join(known) or 'none'}."
            )
        lookups = known[name].lookups
        for lookup, one in zip(lookups, value if len(lookups) > 1 else (value,), strict=True):
            rows = rows.filter(**{f"{lookup}__isnull": True} if one is None else {lookup: one})
    return rows


def _rows_of(stock: Stock, key: Key) -> Any:
    rows = stock.queryset.all() if stock.queryset is not None else _members(stock)
    for parameter in stock.parameters:
        rows = rows.filter(
            **{getattr(parameter, "field", None) or parameter.name: key.params[parameter.name]}
        )
    return rows


def _members(stock: Stock) -> Any:
    manager = model_of(stock)._base_manager
    if stock.members is None:
        return manager.all()
    # Each row once, whatever its predicate joins.
    return manager.filter(pk__in=manager.filter(stock.members).values("pk"))


def _measured(stock: Stock) -> dict[str, Any]:
    measure = stock.measure
    if measure is None or _is_star(measure.get_source_expressions()[0]):
        return {}
    given = measure.get_source_expressions()[0]
    return {
        "kck_m": given
        if measure.filter is None
        else models.Case(models.When(_condition(measure), then=given))
    }


def _aggregate(stock: Stock) -> str:
    measure = stock.measure
    if not _measured(stock):
        return "count(*)"
    distinct = "DISTINCT " if measure.distinct else ""
    return f'{measure.function}({distinct}s."kck_m")'


def _raw(sql: str, output: Any) -> str:
    if kind_of(output) == "text":
        return f'({sql}::text COLLATE "C")'
    return f"({sql}::text::numeric)" if isinstance(output, models.FloatField) else sql


def _json(value: Any) -> Any:
    return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value


def display(stock: Stock, rows: Iterable[tuple[int, Any, int, Any]]) -> dict[str, Any]:
    """Return a stock's value as readers get it, from (facet, facet value, number, sum) each.

    Facet values have the Python type of their column, that of NULL is None; those given by the facet come first, in
    their order and zeros included, and no others; those found are in order, None last.
    """
    total: Any = _zero(stock)
    facets: list[dict[Any, Any]] = [{} for _ in stock.facets]
    types = _types(stock)
    for facet, value, n, amount in rows:
        measured = _of(stock, n, amount)
        if facet == 0:
            total = measured
        elif n or measured:
            facets[facet - 1][_typed(types[facet - 1], value)] = measured
    shown = {
        facet.name: _ordered(stock, facet, found) for facet, found in zip(stock.facets, facets, strict=True)
    }
    return {"value": total, "facets": shown}


def facet_values(flow: Flow, found: FlowDefinition, stock: Stock) -> Callable[[int, Any], Any]:
    """Return what gives a facet's stored value the type of its column, by the facet's number."""
    query = Query(model_of(stock))
    types = [
        [concrete(F(one).resolve_expression(query).output_field) for one in facet.lookups]
        for facet in flow.facets
    ]

    def typed(number: int, value: Any) -> Any:
        return _typed(types[number - 1], value) if number <= len(types) else value

    return typed


def display_flow(
    flow: Flow, found: FlowDefinition, stock: Stock, rows: Iterable[tuple[int, Any, int, Any]]
) -> dict[str, Any]:
    """Return a flow's value as readers get it, from (facet, facet value, number, …) each."""
    total, typed = 0, facet_values(flow, found, stock)
    facets: dict[str, dict[Any, int]] = {name: {} for name in found.facets}
    for number, value, n, *_ in rows:
        if number == 0:
            total += n
        else:
            facets[found.facets[number - 1]][typed(number, value)] = n
    given = {facet.name: facet.values for facet in flow.facets if facet.values is not None}
    shown = {name: _in_order(values, given.get(name), 0) for name, values in facets.items()}
    return {"value": total, "facets": shown}


def _zero(stock: Stock) -> Any:
    return _of(stock, 0, None)


def _of(stock: Stock, n: int, amount: Any) -> Any:
    measure = stock.measure
    if measure is None or isinstance(measure, Count):
        return int(amount) if isinstance(measure, Count) and amount is not None else n
    if isinstance(measure, Sum):
        amount = amount or 0
        return int(amount) if amount == int(amount) and not _is_decimal(stock) else Decimal(amount)
    return amount


def _is_decimal(stock: Stock) -> bool:
    query = Query(model_of(stock))
    given = stock.measure.get_source_expressions()[0].resolve_expression(query)
    return isinstance(concrete(given.output_field), models.DecimalField)


def _types(stock: Stock) -> list[list[Any]]:
    query = Query(model_of(stock)) if stock.queryset is None else stock.queryset.query.clone()
    return [
        [concrete(F(one).resolve_expression(query).output_field) for one in facet.lookups]
        for facet in stock.facets
    ]


def _typed(outputs: Sequence[Any], value: Any) -> Any:
    if len(outputs) > 1:
        return tuple(_typed([output], one) for output, one in zip(outputs, value, strict=True))
    (output,) = outputs
    if value is None or isinstance(output, models.BooleanField):
        return value
    if isinstance(output, models.DateTimeField):
        return datetime.fromisoformat(value)
    if isinstance(output, models.DecimalField):
        return Decimal(value)
    return output.to_python(value)


def _ordered(stock: Stock, facet: Any, found: Mapping[Any, Any]) -> dict[Any, Any]:
    return _in_order(found, facet.values, _zero(stock))


def _in_order(found: Mapping[Any, Any], given: Any, zero: Any) -> dict[Any, Any]:
    if given is not None:
        listed = given() if callable(given) else given
        listed = listed.all() if hasattr(listed, "all") else listed
        return {value: found.get(value, zero) for value in listed}
    return dict(sorted(found.items(), key=lambda one: _rank(one[0])))


def _rank(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_rank(one) for one in value)
    return (value is None, "" if value is None else value)
