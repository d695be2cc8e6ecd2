"""ModelTracker: states that only Python can compute, the flows between them, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Model

from . import walked
from .entry import Row
from .errors import DeclarationError
from .key import Key
from .stock import Flow, Stock
from .tracked import State, state_of


class ModelTracker:
    """Watches the objects of a model, and tells flows how each has moved from state to state.

    Args:
        model: The model, or ``"app_label.ModelName"``.
        fields_to_track: Names of fields of its table, all that the states depend on. Where none of them has changed,
            nothing has moved.
        states_to_stocks_func: A function of (the previous values, the current ones), a ``Row`` of these fields each
            (of a foreign key its column, ``author_id``); the first is None for an object that is new, the second for
            one that is deleted. It returns two tuples of equal length, the states before and after: an object may be
            in several at once. They are compared element by element, and each that differs is one transition. A state
            is a ``Stock``, its key base, or what stands in for a stock, a text or a whole number; None is the outside.
            It is called once for each save, looks at nothing but its arguments, and changes nothing.
        flows: The ``Flow`` classes that it feeds, each with ``capture = "signals"``; their sources and sinks are
            states.
        stocks: The ``Stock`` classes that it counts, each with ``capture = "signals"``: the objects of which the
            function says so. Then the states of one side must follow from that side alone: a row is counted as one
            that is new.

    What it sees are objects that this application saves and deletes one at a time: ``save()``, ``create()``,
    ``delete()``, of a queryset too. ``update()``, ``bulk_create()``, ``bulk_update()``, SQL and other programs it does
    not see.

    Raises:
        DeclarationError: a flow or stock is none, or has a tracker already.
    """

    def __init__(
        self,
        model: type[Model] | str,
        fields_to_track: Sequence[str],
        states_to_stocks_func: Callable[[Any, Any], tuple[Sequence[Any], Sequence[Any]]],
        flows: Sequence[type[Flow]],
        *,
        stocks: Sequence[type[Stock]] = (),
    ) -> None:
        if not callable(states_to_stocks_func):
            raise DeclarationError(
                "states_to_stocks_func is a function of (previous, current) that returns two tuples of states, "
                f"not {states_to_stocks_func!r}."
            )
        for name, kind, listed in (("flows", Flow, flows), ("stocks", Stock, stocks)):
            if not isinstance(listed, (list, tuple)):
                raise DeclarationError(f"{name} is a list of {kind.__name__} classes, not {listed!r}.")
            for one in listed:
                if not (isinstance(one, type) and issubclass(one, kind)):
                    raise DeclarationError(f"{name} is a list of {kind.__name__} classes; {one!r} is none.")
                if getattr(one, "tracker", None) is not None:
                    raise DeclarationError(f"{one.__name__} is fed by a ModelTracker already.")
        self.model = model
        self.fields_to_track = fields_to_track
        self.states_to_stocks_func = states_to_stocks_func
        self.flows, self.stocks = tuple(flows), tuple(stocks)
        for one in (*self.flows, *self.stocks):
            one.tracker = self  # type: ignore[attr-defined]

    def transitions(self, previous: Row | None, current: Row | None) -> list[tuple[State, State]]:
        """Return the states before and after, pair by pair, those that are the same included.

        Raises:
            DeclarationError: the function returned something else than two tuples of states of equal length.
        """
        found = self.states_to_stocks_func(previous, current)
        if (
            not isinstance(found, (tuple, list))
            or len(found) != 2
            or not all(isinstance(side, (tuple, list)) for side in found)
            or len(found[0]) != len(found[1])
        ):
            raise DeclarationError(
                f"{self!r}: states_to_stocks_func returned {found!r}; it has to be two tuples of equal length."
            )
        return [(state_of(before), state_of(after)) for before, after in zip(*found, strict=True)]

    def count(self, stock: Stock, key: Key) -> Any:
        """Return what a key of a stock that this one counts holds, row by row."""
        return walked.count(stock, key)

    def __repr__(self) -> str:
        model = self.model if isinstance(self.model, str) else getattr(self.model, "__name__", self.model)
        return f"ModelTracker({model}, {getattr(self.states_to_stocks_func, '__qualname__', '?')})"
