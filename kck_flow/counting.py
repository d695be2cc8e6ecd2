"""Stocks and flows asked in Python: rows counted now, their members, and the value that readers get."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import connections, models, router
from django.db.models import Avg, Count, F, Sum
from django.db.models.functions import Cast, Collate
from django.db.models.lookups import Exact
from django.db.models.sql import Query

from .definition import (
    Part,
    Split,
    column_of,
    columns_of,
    condition_of,
    grouped,
    is_distinct,
    is_star,
    model_of,
    part_of,
    query_of,
)
from .recorded import concrete

if TYPE_CHECKING:
    from .key import Key
    from .stock import Facet, Flow, Stock

# What the tables tell of a key: facet (0 is the total), facet value, number of rows, sum.
Told = tuple[int, Any, int, Any]


def home_of(stock: Stock) -> str:
    """Return the database that a stock's rows, and hence its deltas, stand in."""
    return stock.database or str(router.db_for_write(model_of(stock)))


def count(stock: Stock, key: Key) -> Any:
    """Return what a key of a stock holds, counted now in one statement, in the caller's snapshot.

    The rows are passed over twice: once for the total, and once for all facets, whose joins may multiply them. Those of
    a stock that a ``ModelTracker`` counts are looked at one by one.
    """
    if stock.tracker is not None:
        return stock.tracker.count(stock, key)
    alias = home_of(stock)
    rows = _rows_of(stock, key).using(alias).order_by()
    measured = _measured(stock)
    total, params = rows.values("pk", **measured).query.get_compiler(using=alias).as_sql()
    what = _aggregate(stock, measured)
    number = "count(*)"
    if isinstance(stock.measure, Avg):  # of the rows that have a value
        number = f"count({'DISTINCT ' if is_distinct(stock.measure) else ''}kck_m)"
    texts, given = [f"SELECT 0, 'null'::jsonb, {number}, {what} FROM ({total}) AS rows"], list(params)
    if stock.facets:
        names = [[f"f{s}_{i}" for i in range(len(facet.lookups))] for s, facet in enumerate(stock.facets)]
        lookups = {
            name: F(lookup)
            for one, facet in zip(names, stock.facets, strict=True)
            for name, lookup in zip(one, facet.lookups, strict=True)
        }
        split = rows.annotate(**lookups).values("pk", *lookups, **measured)
        text, params = split.query.get_compiler(using=alias).as_sql()
        splits = [
            Split("", tuple(_part(name, split.query.annotation_select[name].output_field) for name in one))
            for one in names
        ]
        inner = f"SELECT {columns_of(splits)}{'kck_m' if measured else 'NULL AS kck_m'} FROM ({text}) AS s"
        texts.append(grouped(inner, splits, number=number, measure=what, total=False))
        given += params
    with connections[alias].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(texts), given)
        found = cursor.fetchall()
    return stock.shape.display((facet, decoded(value), n, amount) for facet, value, n, amount in found)


def _part(name: str, output: Any) -> Part:
    sql = f's."{name}"'
    return part_of(sql, concrete(output)) or Part(sql, "plain")


def members(stock: Stock, key: Key, facets: Mapping[str, Any]) -> Any:
    """Return the rows that a key of a stock counts, in the order of their primary key; see ``Cache.members``."""
    if stock.tracker is not None:
        raise ValueError(f"Only Python can tell the members of {stock.name!r}: there is no queryset of them.")
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
        column, value = column_of(parameter), key.params[parameter.name]
        rows = rows.filter(**{column: value})
        if isinstance(value, str):
            # Keys are compared byte by byte; a column may have a type or a collation that takes several for one.
            rows = rows.filter(Exact(Collate(Cast(F(column), models.TextField()), "C"), value))
    return rows


def _members(stock: Stock) -> Any:
    manager = model_of(stock)._base_manager
    if stock.members is None:
        return manager.all()
    # Each row once, whatever its predicate joins.
    return manager.filter(pk__in=manager.filter(stock.members).values("pk"))


def _measured(stock: Stock) -> dict[str, Any]:
    measure = stock.measure
    if measure is None or is_star(measure.get_source_expressions()[0]):
        return {}
    given = measure.get_source_expressions()[0]
    if measure.filter is not None:
        given = models.Case(models.When(condition_of(measure), then=given))
    return {"kck_m": given}


def _aggregate(stock: Stock, measured: Mapping[str, Any]) -> str:
    if not measured:
        return "count(*)"
    measure = stock.measure
    # An average is two sums, here and where triggers keep it, or its last digits would differ.
    function = "sum" if isinstance(measure, Avg) else measure.function
    return f"{function}({'DISTINCT ' if is_distinct(measure) else ''}kck_m)"


def decoded(value: Any) -> Any:
    """Return what a jsonb column holds: raw cursors give it as text."""
    return json.loads(value, parse_float=Decimal) if isinstance(value, str) else value


class Shape:
    """How what is counted becomes the value that readers get, worked out once.

    Args:
        query: A query in which the facets' lookups can be resolved.
        facets: The facets, in order.
        measure: What is counted; rows where not given.
        ends: Names of the facets that a flow has besides, whose values are names of stocks.
    """

    def __init__(
        self, query: Query, facets: Sequence[Facet], measure: Any = None, ends: Sequence[str] = ()
    ) -> None:
        self.names = [*(facet.name for facet in facets), *ends]
        self._given = [*(facet.values for facet in facets), *(None for _ in ends)]
        self._typed = [_typing(query, facet.lookups) for facet in facets] + [_as_it_is for _ in ends]
        self._measure = _measuring(query, measure)
        self._distinct = isinstance(measure, Count) and is_distinct(measure)
        self.zero = self._measure(0, None)

    def typed(self, facet: int, value: Any) -> Any:
        """Return a facet's value in the type of its column, that of NULL is None; ``facet`` counts from 1."""
        return self._typed[facet - 1](value)

    def is_found(self, facet: int) -> bool:
        """Whether a facet shows whatever is found, and not the values that it was given; ``facet`` counts from 1."""
        return self._given[facet - 1] is None

    def settled(self) -> Shape:
        """Return the same shape with the facets' values looked up, once, for many keys."""
        found = copy.copy(self)
        found._given = [None if given is None else list(_listed(given)) for given in self._given]
        return found

    def display(self, rows: Iterable[Told]) -> dict[str, Any]:
        """Return the value, ``{"value": …, "facets": {name: {value: …}}}``.

        Values given by a facet come in their order, zeros included, and no others; those found are in order, None last.
        """
        if self._distinct:
            rows = self._told_apart(rows)
        total: Any = self.zero
        facets: list[dict[Any, Any]] = [{} for _ in self.names]
        for facet, value, n, amount in rows:
            measured = self._measure(n, amount)
            if facet == 0:
                total = measured
            elif n or measured:
                facets[facet - 1][self._typed[facet - 1](value)] = measured
        ordered = (self._in_order(found, given) for found, given in zip(facets, self._given, strict=True))
        return {"value": total, "facets": dict(zip(self.names, ordered, strict=True))}

    def _told_apart(self, rows: Iterable[Told]) -> Iterable[Told]:
        """Return what a distinct count comes to: where triggers keep it, each row tells of one value how many have it,
        the value behind those of the facet (``definition.by_value``).
        """
        counts: dict[tuple[int, str], list[Any]] = {}
        for facet, value, n, amount in rows:
            if amount is not None:
                yield facet, value, int(amount), amount  # counted by the database
            elif facet and n > 0:
                whole = facet > len(self.names)
                of = None if whole else value[0] if len(value) == 2 else value[:-1]
                found = counts.setdefault((0 if whole else facet, repr(of)), [of, 0])
                found[1] += 1
        for (facet, _), (of, n) in counts.items():
            yield facet, of, n, n

    def _in_order(self, found: Mapping[Any, Any], given: Any) -> dict[Any, Any]:
        if given is not None:
            return {value: found.get(value, self.zero) for value in _listed(given)}
        return dict(sorted(found.items(), key=lambda one: _rank(one[0])))


def _listed(given: Any) -> Iterable[Any]:
    listed = given() if callable(given) else given
    found: Iterable[Any] = listed.all() if hasattr(listed, "all") else listed
    return found


def shape_of(stock: Stock) -> Shape:
    """Return how a stock's value looks."""
    return Shape(query_of(stock), stock.facets, stock.measure)


def shape_of_flow(flow: Flow, model: type[models.Model], facets: Sequence[str]) -> Shape:
    """Return how a flow's value looks: of the rows of a model, by its facets, those of its ends behind its own."""
    return Shape(Query(model), flow.facets, ends=facets[len(flow.facets) :])


def _measuring(query: Query, measure: Any) -> Callable[[int, Any], Any]:
    if measure is None or isinstance(measure, Count):
        # Of a captured stock the rows that count are told, of others what the database counted.
        return lambda n, amount: n if amount is None else int(amount)
    if not isinstance(measure, (Sum, Avg)):
        return lambda n, amount: amount
    given = measure.get_source_expressions()[0].resolve_expression(query.clone())
    if isinstance(measure, Avg):
        return _averaging(concrete(given.output_field))
    if isinstance(concrete(given.output_field), models.DecimalField):
        return lambda n, amount: Decimal(amount or 0)
    # A sum of whole numbers is one, whatever numeric says; of floats it is what the database made of them.
    return lambda n, amount: int(amount or 0) if (amount or 0) == int(amount or 0) else amount


def _averaging(output: Any) -> Callable[[int, Any], Any]:
    """Return what makes a mean of (number of values, their sum): of decimals a decimal, of whole numbers a float, of
    nothing None.
    """
    if isinstance(output, models.DecimalField):
        return lambda n, amount: Decimal(amount) / n if n else None
    if isinstance(output, models.DurationField):
        return lambda n, amount: amount / n if n else None
    return lambda n, amount: float(Decimal(amount) / n) if n else None


def _typing(query: Query, lookups: Sequence[str]) -> Callable[[Any], Any]:
    kinds = [_typing_one(concrete(F(one).resolve_expression(query.clone()).output_field)) for one in lookups]
    if len(kinds) == 1:
        return kinds[0]
    return lambda values: tuple(kind(value) for kind, value in zip(kinds, values, strict=True))


def _typing_one(output: Any) -> Callable[[Any], Any]:
    if isinstance(output, (models.CharField, models.TextField, models.BooleanField)):
        return _as_it_is  # JSON has them, NULL too
    to_python: Callable[[Any], Any] = output.to_python
    if isinstance(output, models.DateTimeField):
        to_python = datetime.fromisoformat
    elif isinstance(output, models.DecimalField):
        to_python = Decimal
    return lambda value: None if value is None else to_python(value)


def _as_it_is(value: Any) -> Any:
    return value


def _rank(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_rank(one) for one in value)
    return (value is None, "" if value is None else value)
