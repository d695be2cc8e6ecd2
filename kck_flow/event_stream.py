"""EventStream: the events that a flow keeps, as a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

from django.db import models
from django.db.models import Q, QuerySet, Value
from django.db.models.fields.json import KT
from django.db.models.lookups import Exact, IsNull

from . import recorded, spread
from .cache import flows
from .entry import Row
from .errors import DeclarationError
from .model_stream import ModelStream
from .primer import names_of
from .registry import registry
from .stock import Flow
from .store import cursors, events, gaps
from .store.session import caller

FIELDS = ("id", "source", "sink", "subject_id", "at", "xact", "facets", "args")


class EventStream(ModelStream):
    """The events of a flow that keeps them (``record_events``), one for each transition.

    The items are ``Row`` objects with ``source`` and ``sink`` (key bases of stocks; None is the outside),
    ``subject_id`` (the row's primary key, as text), ``at``, ``facets`` and ``args`` (dicts, typed), ``id`` and ``xact``
    (what has one number happened together). They are read from where the flow keeps them now.

    What the flow did not keep is a gap: before it was declared as it is, while its capture was not whole, and what
    ``kck prune`` has deleted. A stream of a flow with parameters is split by these.

    Args:
        flow: The flow's class, or its key base.
        name: What the stream is called in commands; ``"events:"`` and the key base where not given.
        watermark: As of ``ModelStream``.

    Raises:
        DeclarationError: when it is first read: there is no such flow, or it keeps no events.
    """

    def __init__(self, flow: type[Flow] | str, *, name: str | None = None, watermark: Any = "now") -> None:
        base = flow if isinstance(flow, str) else next(iter(names_of(flow)), "")
        if not base:
            raise DeclarationError(f"An EventStream is of a flow, its class or its key base, not {flow!r}.")
        self.base = base
        super().__init__(
            "kck_flow.Event",
            "at",
            name=name or stream_name(base),
            filter=Q(key_base=base),
            fields=FIELDS,
            watermark=watermark,
        )

    def _look(self) -> None:
        """Nothing yet: the flow may not have been declared."""

    @cached_property
    def flow(self) -> Flow:
        """The flow whose events these are."""
        found = registry.primers.get(self.base)
        if not isinstance(found, Flow):
            raise self._mistake(f"no flow is named {self.base!r}")
        if not found.record_events:
            raise self._mistake(f"the flow {self.base!r} keeps no events; it would with record_events = True")
        return found

    @cached_property
    def model(self) -> type[models.Model]:
        kept = self.flow.record_events
        return recorded.event_model(kept) if kept is not True else super().model

    @property
    def database(self) -> str:
        return spread.alias_of(self.flow)

    @property
    def origin(self) -> tuple[str, str]:
        return origin_of(self.base)

    @cached_property
    def _facets(self) -> dict[str, Any]:
        shape = flows.shape_of(self.flow, self.database)
        return {name: _typing(shape, place) for place, name in enumerate(shape.names, 1)}

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        return {one.name: one for one in self.flow.own_parameters}

    def _item(self, row: dict[str, Any], at: datetime) -> Row:
        subject = row["subject_id"]
        row["subject_id"] = str(subject) if subject is not None else None
        row["facets"] = {
            name: self._facets[name](value) if name in self._facets else value
            for name, value in row["facets"].items()
        }
        row["args"] = {
            name: self._parameters[name].clean(value)
            if value is not None and name in self._parameters
            else value
            for name, value in row["args"].items()
        }
        return Row({**row, "at": at})

    def narrowed(self, params: Mapping[str, Any]) -> Self:
        if not params:
            return self
        conditions = Q()
        for name, value in params.items():
            parameter = self._parameters.get(name)
            if parameter is None:
                own = ", ".join(self._parameters) or "it has none"
                raise self._mistake(
                    f"the flow {self.base!r} has no parameter {name!r} to split it by ({own})"
                )
            kept = KT(f"args__{name}")
            if value is None:
                conditions &= Q(IsNull(kept, True))
            else:
                conditions &= Q(Exact(kept, Value(parameter.to_text(parameter.clean(value)))))
        return self._where(conditions)

    def gaps(self, start: datetime, end: datetime) -> Sequence[tuple[datetime, datetime]]:
        flow, session = self.flow, caller(self.database)
        definition, _ = flows.definition_of(flow, self.database)
        known = events.kept_since(session, definition.generation) if definition is not None else None
        if definition is None or known is None:
            return ((start, end),)
        flows.looked(flow, self.database)  # or a gap that nobody has seen yet would be none
        found = [(start, max(since, start)) for since in (known, *self._deleted(session)) if since > start]
        for one in gaps.known(session, [definition.generation]):
            begin = datetime.fromtimestamp(one.start, UTC)
            found.append((begin, datetime.fromtimestamp(one.end, UTC) if one.end is not None else end))
        inside = [(max(begin, start), min(until, end)) for begin, until in found]
        return cursors.joined([(begin, until) for begin, until in inside if begin < until])

    def _deleted(self, session: Any) -> list[datetime]:
        told = cursors.listed(session, f"stream:{stream_name(self.base)}")
        return [one.since for one in told if one.since is not None]

    def _deletable(self, start: datetime | None, cutoff: datetime) -> QuerySet[Any]:
        query = super()._deletable(start, cutoff)
        # Whose callables have not been called is needed for that.
        return query.exclude(callback_state__in=["due", "failed"]) if self.flow.event_callables else query


def stream_name(key_base: str) -> str:
    """Return the name of the stream of a flow's events: under it is kept what of them was deleted."""
    return f"events:{key_base}"


def origin_of(key_base: str) -> tuple[str, str]:
    """Return what tells the events of a flow from other data."""
    return "events", key_base


def _typing(shape: Any, place: int) -> Any:
    return lambda value: shape.typed(place, value)
