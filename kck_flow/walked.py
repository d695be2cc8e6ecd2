"""A stock whose members only Python can tell: what is kept of it, and the walk over its rows that counts it.

What is saved and deleted adds its deltas, as with any captured stock. The count that they are added to passes over the
rows in Python, in the snapshot in which it is published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from django.db import connections

from . import counting
from .definition import Definition, _Compiler, column_of, definition, model_of
from .entry import Row
from .errors import ComputeFailed, DeclarationError
from .key import Key
from .stock import Stock
from .tracked import looks, tracked_model, watched_fields

if TYPE_CHECKING:
    from .tracker import ModelTracker

CHUNK = 2000  # rows fetched at once: the walk takes no more memory than these


@dataclass(frozen=True, kw_only=True)
class TrackedStock(Definition):
    """A stock that is counted from what Python sees. No trigger is made from it.

    Attributes:
        watched: The columns that its members are told by.
        capture: What tells it from a stock that triggers capture, wherever definitions are kept.
        alias: The database of its rows.
        walk: Returns (parameters, facet values) of each member, JSON each, in their normal form.
    """

    watched: tuple[str, ...]
    capture: str = "signals"
    alias: str = field(compare=False)
    walk: Callable[[], Iterator[tuple[str, str]]] = field(compare=False, repr=False)

    @property
    def moving(self) -> tuple[str, ...]:
        """The columns that say where a member counts: its key, its facets."""
        return self.columns

    def told(self) -> Iterator[str]:
        """Yield the SQL of what has to be known of a row: its key (NULL: none), its facet values, no instant."""
        parts = " AND ".join(f"{part.raw} IS NOT NULL" for _, part in self.args) or "true"
        yield f"CASE WHEN {parts} THEN {self.args_jsonb()}::text END".replace("{kck}", "")
        values = ", ".join(split.jsonb() for split in self.splits)
        yield f"jsonb_build_array({values})::text".replace("{kck}", "")
        yield "NULL::text"

    def to_json(self) -> dict[str, Any]:
        own = Definition(**{one.name: getattr(self, one.name) for one in fields(Definition)}).to_json()
        return own | {"watched": list(self.watched), "capture": self.capture}

    def recount(self) -> str:
        """Return a query of all that the stock holds, see ``Definition``: of what a walk over its rows has counted,
        now, on this thread's connection, in the transaction that has begun there. The query is to be run in that, too.
        """
        with connections[self.alias].cursor() as cursor:
            cursor.execute("SELECT set_config('kck_flow.walked', %s, true)", [_counted(self.walk())])
        return _summed("current_setting('kck_flow.walked')")


def _counted(members: Iterable[tuple[str, str]]) -> str:
    """Return the numbers of members by key and facet values, JSON."""
    counts = sorted(Counter(members).items())
    rows = ", ".join(f'{{"args": {args}, "facets": {values}, "n": {n}}}' for (args, values), n in counts)
    return f"[{rows}]"


def _summed(given: str) -> str:
    """Return a query of such numbers, each facet by itself: args, facet, facet_value, n, amount, start_at."""
    return (
        "SELECT m.args, (v.place - 1)::smallint AS facet, v.value AS facet_value, sum(m.n)::bigint AS n, "
        "NULL::numeric AS amount, '-infinity'::timestamptz AS start_at "
        f"FROM jsonb_to_recordset({given}::jsonb) AS m (args jsonb, facets jsonb, n bigint) "
        "CROSS JOIN LATERAL jsonb_array_elements('[null]'::jsonb || m.facets) WITH ORDINALITY AS v (value, place) "
        "GROUP BY 1, 2, 3"
    )


def stock_definition(stock: Stock, alias: str) -> Definition:
    """Return a stock's definition, whoever captures it.

    Raises:
        NotCaptured: it cannot be captured.
        DeclarationError: it is declared wrongly.
    """
    if stock.capture != "signals" and stock.tracker is None:
        return definition(stock, alias)
    if stock.tracker is None:
        raise DeclarationError(
            "capture is 'signals', and no ModelTracker has it among its stocks: "
            "ModelTracker(model, fields_to_track, states_to_stocks_func, flows, stocks=[…])"
        )
    if stock.capture != "signals":
        raise DeclarationError(
            f"a ModelTracker counts it, and its capture is {stock.capture!r}: say 'signals'"
        )
    if stock.members is not None or stock.queryset is not None or stock.measure is not None:
        raise DeclarationError(
            "a ModelTracker tells its members, and they are counted: leave out members, queryset and measure"
        )
    model = tracked_model(stock.tracker.model)
    if tracked_model(model_of(stock)) is not model:
        raise DeclarationError(
            f"its rows are those of {model_of(stock)._meta.label}, and its ModelTracker watches {model._meta.label}"
        )
    watched = tuple(one.attname for one in watched_fields(model, stock.tracker.fields_to_track))
    compiler = _Compiler(model, alias)
    args, splits = compiler.args(stock.parameters), compiler.splits(stock.facets)
    function = stock.tracker.states_to_stocks_func
    name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
    return TrackedStock(
        key_base=stock.name,
        relation=compiler.relation,
        columns=tuple(sorted(compiler.columns)),
        args=args,
        splits=splits,
        member=f"{name} says {stock.name}",
        version=stock.version,
        watched=watched,
        alias=alias,
        walk=lambda: _members(stock, alias, None),
    )


def count(stock: Stock, key: Key) -> Any:
    """Return what a key of such a stock holds, counted now: every row that its parameters pick is looked at."""
    alias = counting.home_of(stock)
    given = _counted(_members(stock, alias, key))
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT facet, facet_value, n FROM ({_summed('%s')}) AS counted", [given])
        found = cursor.fetchall()
    return stock.shape.display((facet, counting.decoded(value), int(n), None) for facet, value, n in found)


def _members(stock: Stock, alias: str, key: Key | None) -> Iterator[tuple[str, str]]:
    tracker = stock.tracker
    assert tracker is not None
    found = stock_definition(stock, alias)
    assert isinstance(found, TrackedStock)
    rows = looks(model_of(stock), alias, found.watched, [list(found.told())])
    if key is not None:
        rows = rows.filter(**{column_of(one): key.params[one.name] for one in stock.parameters})
    for pk, *values, args, facets, _ in rows.iterator(chunk_size=CHUNK):
        row = Row(dict(zip(found.watched, values, strict=True)))
        if args is not None and _is_member(stock, tracker, row, pk):
            yield args, facets


def _is_member(stock: Stock, tracker: ModelTracker, row: Row, pk: Any) -> bool:
    try:
        return any(state == stock.name for _, state in tracker.transitions(None, row))
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise ComputeFailed(
            f"{stock.name!r} cannot be counted: the states of the row {pk} of {model_of(stock)._meta.label}: {cause}",
            key=stock.name,
            cause=cause,
        ) from error
