"""Stock, Flow and Facet: what is counted, what moves it, and how it is split.

A stock is the set of a model's rows that a predicate picks; its product is their number (or a sum over them), in all
and by the values of its facets. Where the predicate, the facets and the parameters are expressions of the row alone,
every write to the table is captured in the writer's own transaction, and the product is what a count would say, at
every instant. Where they are not, it is computed as other products are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from . import counting, windows
from .definition import model_of
from .errors import DeclarationError
from .parameter import Parameter
from .primer import On, Primer

if TYPE_CHECKING:
    from django.db.models import Model, Q, QuerySet

    from .entry import Change
    from .key import Key
    from .tracker import ModelTracker


class Facet:
    """A split of a stock: by a column, a transform of one, or something a relation leads to.

    Args:
        name: Its name in the value, ``{"facets": {name: {…}}}``.
        lookup: What Django's ``filter`` would call it, ``"joined__year"``, ``"customer__country"``; the name where not
            given.
        values: Which values are shown, in this order, zeros included: a list, a queryset of one column
            (``values_list(…, flat=True)``) or a function that returns either. Without it, whatever is found.
        label: For people; the name where not given.
    """

    def __init__(
        self,
        name: str,
        lookup: str | None = None,
        values: Iterable[Any] | Callable[[], Iterable[Any]] | None = None,
        *,
        label: Any = "",
    ) -> None:
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"A facet's name is a text, not {name!r}.")
        if lookup is not None and (not isinstance(lookup, str) or not lookup):
            raise DeclarationError(
                f"The lookup of facet {name!r} is a text, as filter() takes it ('customer__country'), not {lookup!r}."
            )
        if (
            values is not None
            and not callable(values)
            and (isinstance(values, str) or not hasattr(values, "__iter__"))
        ):
            raise DeclarationError(
                f"The values of facet {name!r} are a list, a queryset or a function, not {values!r}."
            )
        self.name = name
        self.lookups: tuple[str, ...] = (lookup or name,)
        self.values = values
        self.label = label or name

    def through(self, prefix: str) -> Facet:
        """Return the same facet for a stock from which a relation leads to this one's model:
        ``COUNTRY.through("customer")``.
        """
        if not isinstance(prefix, str) or not prefix:
            raise DeclarationError(f"Facet {self.name!r} goes through a relation, not {prefix!r}.")
        found = Facet(self.name, values=self.values, label=self.label)
        found.lookups = tuple(f"{prefix}__{lookup}" for lookup in self.lookups)
        return found

    def __mul__(self, other: Any) -> Facet:
        """Return the combination of two facets, whose values are tuples: ``Facet("country") * Facet("plan")``."""
        if not isinstance(other, Facet):
            return NotImplemented
        found = Facet(f"{self.name}*{other.name}", label=f"{self.label} × {other.label}")
        found.lookups = self.lookups + other.lookups
        return found

    def __repr__(self) -> str:
        return f"Facet({self.name!r}, {'*'.join(self.lookups)!r})"


class Stock(Primer):
    """A counted set of rows. Its value is ``{"value": 4391, "facets": {"plan": {"pro": 1204, …}, …}}``.

    Attributes:
        model: The model whose rows are counted (with ``members``), or None (with ``queryset``).
        members: Which of them, a ``Q``; all where not given.
        queryset: Any queryset, in place of both.
        facets: How the total is split.
        measure: What is counted: ``Count("*")``; rows that have a value, ``Count("plan")``; how many values there are,
            ``Count("plan", distinct=True)``; ``Sum("balance")`` and ``Avg("balance")`` over whole numbers or decimals.
            A mean of decimals is a decimal, of whole numbers a float, of nothing None.
        capture: ``"triggers"``: what any program writes is in the value at its commit. ``"signals"``: which rows are in
            it only a ``ModelTracker`` can tell, and what this application saves is in the value. None: the value is
            computed, and kept as long as the expiries say.
        schedule: Of a captured stock, when what it holds is recorded; of another, when it is counted anew.

    A parameter of the stock names a column of the model: its own name, or its ``field``.
    """

    model: type[Model] | str | None = None
    members: Q | None = None
    queryset: QuerySet[Any] | None = None
    facets: Sequence[Facet] = ()
    measure: Any = None
    capture: Literal["triggers", "signals"] | None = "triggers"
    # The one that counts it; it says so itself.
    tracker: ModelTracker | None = None
    _captures = ("triggers", "signals", None)

    def compute(self, key: Key) -> Any:
        """Count now, in one statement."""
        return counting.count(self, key)

    @cached_property
    def shape(self) -> counting.Shape:
        """How what is counted becomes the value; worked out once."""
        return counting.shape_of(self)


class WindowParameter(Parameter[datetime]):
    """Which window of a flow is meant: its first instant, spelled as the flow's windows are (``2026-01-31T10``)."""

    def __init__(self, window: windows.Window) -> None:
        self._window = window
        self.expected = (
            f"the beginning of a window such as {window.text_of(datetime(2026, 1, 1, tzinfo=UTC))}"
        )
        super().__init__("window", default=None)

    def parse(self, text: str) -> datetime:
        return self._window.parse(text)

    def to_text(self, value: Any) -> str:
        if not isinstance(value, datetime):
            return str(value)
        return self._window.text_of(self._window.start_of(value))


class EventWindow:
    """Which window of a flow each of its events belongs to: the ``key`` of its edge on them."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def __call__(self, change: Change) -> Any:
        """Return the key of the window that a new event is in; none for others'."""
        event = change.new
        if event is None or event.key_base != self.flow.name:
            return None
        return self.flow.build_key(**event.args, window=event.at)

    def __repr__(self) -> str:
        return f"EventWindow({self.flow.name!r})"


# What an event tells ``Flow.augment``.
EVENT_FIELDS = ("key_base", "args", "subject_type", "subject_id", "source", "sink", "at", "xact", "facets")


class Flow(Primer):
    """Transitions between stocks, counted in windows. Its value is ``{"value": 12, "facets": {…}}``.

    A row that was in one of the sources and is now in one of the sinks is one transition, whoever moved it. None,
    among sources or sinks, is the outside: the row was not there before (or is not any more), or is in none of the
    stocks that flows connect with these.

    Attributes:
        sources, sinks: Stocks of one model, as classes or key bases, or None.
        facets: How the transitions are split, by what the row was at the time: as it came into the sink, or, where that
            is the outside, as it left. With several sources or sinks there are ``"source"`` and ``"sink"``, too.
        window: How long a window is: ``"hour" "day" "week" "month"``, or a timedelta (from 1970-01-01 UTC on).
        tz: Zone in which days, weeks and months begin; the project's ``TIME_ZONE`` where not given.
        at: Column that says when the transition was; where not given, when the writer's transaction began. What lies
            before 1900, or more than a day ahead, or is NULL, counts as of that transaction.
        capture: ``"triggers"``: transitions whoever makes them. ``"signals"``: those that a ``ModelTracker`` sees,
            between states that only Python can compute; sources and sinks are its states, and None is what it calls so.
        from_history: Count, as its triggers are first put in place, what was before: from the events that an earlier
            definition of it has kept (as ``kck_flow.models.Event``); where there are none, from ``at``, of each row
            that is in a sink by then.
        record_events: Keep each transition, too, in the writer's transaction: True, as a row of
            ``kck_flow.models.Event``; a model of your own, a subclass of ``kck_flow.models.FlowEvent`` (the class, or
            ``"app_label.ModelName"``), as a row of that.
        event_callables: Functions of ``(object, source, sink)``, called for each transition once its transaction has
            committed, at least once: the row as it is then (None where it is gone), and key bases of stocks (None is
            the outside). One that raises is called again, later.

    ``cache.get("churning/2026-01-31T10")`` is one window, ``cache.get("churning")`` all of them.

    ``augment`` may be overridden, of a flow that records its events: then the value of a window is what it makes of
    them, one after the other, and the counts of ``series``, of all windows and of processes stay what they are.
    """

    sources: Sequence[type[Stock] | str | int | None] = ()
    sinks: Sequence[type[Stock] | str | int | None] = ()
    facets: Sequence[Facet] = ()
    window: str | timedelta = "hour"
    tz: str | None = None
    at: str | None = None
    from_history: bool = False
    record_events: bool | type[Model] | str = False
    event_callables: Sequence[Callable[[Any, str | None, str | None], Any]] = ()
    capture: Literal["triggers", "signals"] = "triggers"
    # The one that feeds it; it says so itself.
    tracker: ModelTracker | None = None
    _captures = ("triggers", "signals")

    def __init__(self) -> None:
        # Whether a window's value is what ``augment`` makes of its events, and no plain count.
        self.is_own = type(self).augment is not Flow.augment
        if self.is_own:
            edge = On("kck_flow.Event", key=EventWindow(self), then="augment", fields=EVENT_FIELDS)
            self.depends_on = (*(self.depends_on or ()), edge)
        super().__init__()
        self.windows = windows.Window(self.window, self.tz)
        self.own_parameters = self.parameters
        self.parameters = (*self.parameters, WindowParameter(self.windows))

    # Both filled in by those who know more: the registry which stocks there are, the cache what is in the tables.
    ends: Callable[[], tuple[Sequence[Stock | None], Sequence[Stock | None], Sequence[Stock]]]
    events_of: ClassVar[Callable[[Flow, Key], list[Change]]]

    def compute(self, key: Key) -> Any:
        """What a flow counted is the record itself: there is nothing to compute it from. Where ``augment`` is a flow's
        own, its events are.

        Raises:
            NotPrimed: some of its events have been pruned.
        """
        if not self.is_own:
            raise NotImplementedError(
                f"{self.name!r} is counted as rows move, and that is not in place: manage.py migrate"
            )
        changes = Flow.events_of(self, key)
        return self.augment(key, self.shape.display([]), changes) if changes else self.shape.display([])

    def augment(self, key: Key, value: Any, changes: Sequence[Change]) -> Any:
        """Return a window's value, ``{"value": …, "facets": {…}}``, after some more transitions: one more each, in all
        and by each facet.

        To keep more of each window than that, override it, and call it first. Of each change, ``new`` is the event: a
        ``Row`` with ``source``, ``sink``, ``subject_id``, ``at``, ``facets`` (a dict) and ``args``; ``old`` is None.
        They come in any order.
        """
        for change in changes:
            event = change.new
            value["value"] += 1
            given = {**event.facets, "source": event.source, "sink": event.sink}
            for place, name in enumerate(self.shape.names, 1):
                if name not in given:
                    continue  # kept before the facet was declared: nobody knows its value
                found = self.shape.typed(place, given[name])
                counts = value["facets"][name]
                # Where the values are given, others are not shown.
                if found in counts or self.shape.is_found(place):
                    counts[found] = counts.get(found, 0) + 1
        return value

    @cached_property
    def shape(self) -> counting.Shape:
        """How what is counted becomes the value; worked out once."""
        _, _, inside = self.ends()
        names = [facet.name for facet in self.facets]
        for name, listed in (("source", self.sources), ("sink", self.sinks)):
            if len(listed) > 1:
                names.append(name)
        return counting.shape_of_flow(self, model_of(inside[0]), names)
