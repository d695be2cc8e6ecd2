"""How a flow whose states Python computes is counted: what it moves between, and what SQL tells of a row for it.

No trigger is made from such a definition. The states come from a function; parameters, facets and instants are columns
of the row, told by the database in the same normal form as what triggers capture, so that both are read alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.expressions import RawSQL

from .definition import ROW, Captured, _Compiler
from .errors import DeclarationError
from .primer import names_of
from .stock import Flow, Stock

# What a row can be in: a stock (by its key base) or what stands in for one; None is the outside.
State: TypeAlias = str | int | None
# A longer text is no name; and no facet value is cut, as those of columns are.
LONGEST_STATE = 200


@dataclass(frozen=True, kw_only=True)
class TrackedDefinition(Captured):
    """A flow that is counted from what Python sees. Every expression speaks of one side of a change as ``kck_row``.

    Attributes:
        moving: The columns that say which key a row belongs to; facets move nothing by themselves.
        sources, sinks: The states it moves rows between; None is the outside.
        window: SQL of the beginning of the window that the instant ``{at}`` is in.
        at: SQL of the transition's instant; None for the transaction's.
        capture: What tells it from a flow that triggers capture, wherever definitions are kept.
    """

    moving: tuple[str, ...]
    sources: tuple[State, ...]
    sinks: tuple[State, ...]
    window: str
    at: str | None
    capture: str = "signals"

    kind = "flow"

    @property
    def facets(self) -> tuple[str, ...]:
        """The names of the facets, those of the ends included."""
        ends = [name for name, of in (("source", self.sources), ("sink", self.sinks)) if len(of) > 1]
        return (*(split.name for split in self.splits), *ends)

    def told(self) -> Iterator[str]:
        """Yield the SQL of what has to be known of a row: its key, its facet values, its instant; text each."""
        yield f"{self.args_jsonb()}::text".replace("{kck}", "")
        values = ", ".join(split.jsonb() for split in self.splits)
        yield f"jsonb_build_array({values})::text".replace("{kck}", "")
        yield f"({self.at or 'NULL'})::text"


def tracked_definition(flow: Flow, alias: str) -> TrackedDefinition:
    """Return the definition of a flow that a ``ModelTracker`` feeds.

    Raises:
        NotCaptured: a facet or a parameter is no expression of the row alone.
        DeclarationError: it is declared wrongly.
    """
    if flow.tracker is None:
        raise DeclarationError(
            "capture is 'signals', and no ModelTracker has it among its flows: "
            "ModelTracker(model, fields_to_track, states_to_stocks_func, flows)"
        )
    if flow.capture != "signals":
        raise DeclarationError(f"a ModelTracker feeds it, and its capture is {flow.capture!r}: say 'signals'")
    model = tracked_model(flow.tracker.model)
    watched_fields(model, flow.tracker.fields_to_track)
    compiler = _Compiler(model, alias)
    args = compiler.args(flow.own_parameters)
    moving = tuple(sorted(compiler.columns))
    at = None
    if flow.at is not None:
        when = compiler.resolve(flow.at, "at")
        if not isinstance(when.output_field, models.DateTimeField):
            raise DeclarationError(f"at names {flow.at!r}, which is no DateTimeField")
        at = compiler.sql(when)
    given: dict[str, Any] = {
        "splits": compiler.splits(flow.facets),
        "sources": _ends(flow, "sources"),
        "sinks": _ends(flow, "sinks"),
    }
    return TrackedDefinition(
        key_base=flow.name,
        relation=compiler.relation,
        columns=tuple(sorted(compiler.columns)),  # of all that was compiled above
        args=args,
        moving=moving,
        window=flow.windows.sql("{at}"),
        at=at,
        version=flow.version,
        **given,
    )


def state_of(given: Any) -> State:
    """Return a state in its one form: a stock's key base, a text, a whole number, or None.

    Raises:
        DeclarationError: it is none of these.
    """
    if given is None:
        return None
    stock = given if isinstance(given, type) else type(given)
    if issubclass(stock, Stock) and names_of(stock):
        return str(names_of(stock)[0])
    # The value itself of a member of TextChoices or IntegerChoices.
    if isinstance(given, str) and len(given) <= LONGEST_STATE and "\x00" not in given:
        return str.__str__(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return int.__int__(given)
    raise DeclarationError(
        f"A state is a Stock, its key base, a text of {LONGEST_STATE} characters at most, a whole number, or None for "
        f"the outside; not {given!r}."
    )


def looks(
    model: type[models.Model], alias: str, attnames: Sequence[str], told: Sequence[Sequence[str]]
) -> models.QuerySet[Any, Any]:
    """Return a query of a model's rows as Python looks at them: primary key, columns, and what SQL tells of each (in
    which the row is ``kck_row``), one after the other.
    """
    notes = {
        f"kck_{number}_{place}": RawSQL(sql.replace("%", "%%"), (), output_field=models.TextField())
        for number, one in enumerate(told)
        for place, sql in enumerate(one)
    }
    # Not by a manager of the model's, which may leave rows out.
    rows: models.QuerySet[Any, Any] = models.QuerySet(model, using=alias).annotate(**notes).order_by()
    rows.query.change_aliases({rows.query.get_initial_alias(): ROW})
    found: models.QuerySet[Any, Any] = rows.values_list("pk", *attnames, *notes)
    return found


def _ends(flow: Flow, which: str) -> tuple[State, ...]:
    listed = getattr(flow, which)
    if not isinstance(listed, (list, tuple)) or not listed:
        raise DeclarationError(f"{which} is {listed!r}; give a list of states, None for the outside")
    found = tuple(map(state_of, listed))
    if len(set(found)) < len(found):
        raise DeclarationError(f"{which} names a state twice: {listed!r}")
    return found


def tracked_model(given: Any) -> type[models.Model]:
    """Return the model whose rows are tracked, of a proxy the one with the table. Raises DeclarationError."""
    found = given
    if isinstance(found, str):
        try:
            found = apps.get_model(found)
        except (LookupError, ValueError):
            raise DeclarationError(
                f"its ModelTracker names {given!r}, which is no model (write 'app_label.ModelName')"
            ) from None
    if not (isinstance(found, type) and issubclass(found, models.Model)) or found._meta.abstract:
        raise DeclarationError(f"its ModelTracker names {given!r}, which is no model with rows")
    concrete: type[models.Model] = found._meta.concrete_model or found
    return concrete


def watched_fields(model: type[models.Model], names: Any) -> tuple[models.Field[Any, Any], ...]:
    """Return the fields that a tracker looks at. Raises DeclarationError: one is no column of the model's own table."""
    if not isinstance(names, (list, tuple)) or not names:
        raise DeclarationError(f"fields_to_track is {names!r}; give a list of fields of {model._meta.label}")
    own = {field.attname: field for field in model._meta.local_concrete_fields}
    known = own | {field.name: field for field in own.values()}
    found = []
    for name in names:
        if name not in known:
            try:
                model._meta.get_field(name)
                why = "stands in another table"
            except (FieldDoesNotExist, TypeError):
                why = "is not there"
            raise DeclarationError(
                f"fields_to_track names {name!r}, which {why}; "
                f"the columns of {model._meta.label} are: {', '.join(sorted(own))}"
            )
        found.append(known[name])
    return tuple(dict.fromkeys(found))
