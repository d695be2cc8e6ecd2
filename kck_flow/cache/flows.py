"""A read of a flow: what it counted in a window, in all, or step by step; levels and deltas in one statement."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.db import Error as DatabaseErrors

from .. import clock, counting, spread
from ..changes import gaps
from ..definition import FlowDefinition, NotCaptured, flow_definition, model_of
from ..entry import Change, Entry, Point, Row
from ..errors import DeclarationError, NotPrimed
from ..key import Key
from ..registry import registry
from ..stock import EVENT_FIELDS, Flow, Stock
from ..store import events, levels, private
from ..store.refreshes import instant
from ..store.session import Session, caller
from ..tracked import State, TrackedDefinition, tracked_definition, tracked_model
from ..windows import Window
from . import frame, reach
from .context import OPEN, TEST, context_of
from .pool import pool

# How often a process that reads a flow has somebody look whether it is captured whole.
LOOK_SECONDS = 60.0
ALWAYS = datetime(1, 1, 2, tzinfo=UTC)
NEVER = datetime(9999, 12, 30, tzinfo=UTC)


class _Known(NamedTuple):
    version: tuple[int, int]
    definition: FlowDefinition | TrackedDefinition | None
    shape: counting.Shape | None
    why_not: str = ""


_definitions: dict[tuple[str, str], _Known] = {}
_looked: dict[tuple[str, int], float] = {}
_lock = threading.Lock()


def definition_of(flow: Flow, alias: str) -> tuple[FlowDefinition | TrackedDefinition | None, str]:
    """Return (definition, ""), or (None, why there is none)."""
    known = _known(flow, alias)
    return known.definition, known.why_not


def _known(flow: Flow, alias: str) -> _Known:
    known = _definitions.get((alias, flow.name))
    # What is inside follows from the other flows, too.
    version = (id(flow), registry.generation)
    if known is None or known.version != version:
        try:
            known = _Known(version, *_compiled(flow, alias))
        except NotCaptured as error:
            known = _Known(version, None, None, str(error))
        except DeclarationError as error:
            raise DeclarationError(f"{flow.name!r}: {error}") from None
        _definitions[alias, flow.name] = known
    return known


def _compiled(flow: Flow, alias: str) -> tuple[FlowDefinition | TrackedDefinition, counting.Shape]:
    found: FlowDefinition | TrackedDefinition
    if flow.capture == "signals":
        found = tracked_definition(flow, alias)
        assert flow.tracker is not None
        model = tracked_model(flow.tracker.model)
    else:
        sources, sinks, inside = registry.ends(flow)
        found = flow_definition(flow, alias, sources, sinks, inside)
        model = model_of(inside[0])
    return found, counting.shape_of_flow(flow, model, found.facets)


def counted(key: Key) -> Flow | None:
    """Return the flow whose counts a key shows; None where it is no flow's, or a window that the flow's own ``augment``
    makes, which is a product like any other.
    """
    flow = registry.primers.get(key.key_base)
    if not isinstance(flow, Flow) or (flow.is_own and key.params["window"] is not None):
        return None
    return flow


def _events_of(flow: Flow, key: Key) -> list[Change]:
    """Return the events of one of a flow's windows, as changes. Raises NotPrimed: fewer are left than were counted."""
    alias = spread.alias_of(flow)
    start = key.params["window"]
    end = flow.windows.after(start)
    session = caller(alias)
    args: Mapping[str, Any] = {name: value for name, value in key.params.items() if name != "window"}
    found = events.of_window(session, flow.name, args, start, end)
    told = _ask(session, key, flow, alias, start, end, facet=0)
    moved = sum(n for _, _, n, _ in told.rows) if told is not None else 0
    if len(found) < moved:
        raise NotPrimed(
            f"{str(key)!r}: {moved} transitions were counted, and {len(found)} events of them are left "
            "(kck prune --events): what their augment made of them cannot be made again."
        )
    label = "kck_flow.Event"
    names = EVENT_FIELDS
    changes = []
    for event in found:
        at = datetime.fromisoformat(event["at"])
        row = Row({"id": event["id"], **{name: event[name] for name in names}, "at": at})
        changes.append(Change(f"event:{event['id']}", label, None, None, row, at))
    return changes


Flow.events_of = staticmethod(_events_of)


def shape_of(flow: Flow, alias: str) -> counting.Shape:
    """Return how the value of a captured flow looks."""
    shape = _known(flow, alias).shape
    assert shape is not None  # what was read has a definition
    return shape


def entry(key: Key, flow: Flow) -> Entry:
    """Return what a flow counted in the window that a key names, or in all.

    Raises:
        NotPrimed: nothing captures it.
    """
    alias = spread.alias_of(flow)
    here = frame.current()
    if here is not None:
        here.refuse(key)
    window = key.params["window"]
    start, end = (window, flow.windows.after(window)) if window is not None else (ALWAYS, NEVER)
    told = _read(key, flow, alias, start, end)
    value = shape_of(flow, alias).display(told.rows)
    if here is not None:
        seen = copy.deepcopy(value)

        def moved(session: Session) -> bool:
            now = _ask(session, key, flow, alias, start, end)
            return now is None or shape_of(flow, alias).display(now.rows) != seen

        frame.note_counted(key, moved)
    return Entry(
        str(key), value, 0, instant(told.now), None, None, "fresh", timedelta(0), gaps=_instants(told.gaps)
    )


def _instants(found: Sequence[tuple[float, float | None]]) -> tuple[tuple[datetime, datetime | None], ...]:
    return tuple((datetime.fromtimestamp(begin, UTC), instant(end)) for begin, end in found)


def _span(gap: tuple[datetime, datetime | None]) -> str:
    begin, end = gap
    if end is None:
        return f"since {begin:%Y-%m-%d %H:%M:%S} UTC"
    if end - begin < timedelta(seconds=1):
        return f"at {begin:%Y-%m-%d %H:%M:%S} UTC"
    return f"from {begin:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC"


def missed_text(found: Sequence[tuple[Any, Any]]) -> str:
    """Return a sentence that says when transitions were missed, the last time first; empty where none was."""
    if not found:
        return ""
    more = f", and {len(found) - 1} times before" if len(found) > 2 else ", and once before"
    return f"what moved {_span(found[-1])} was missed, for good{more if len(found) > 1 else ''}"


def told(key: Key, flow: Flow) -> dict[str, Any]:
    """Return what ``explain`` tells of a flow: it has no stored value, and hence no expiry."""
    alias = spread.alias_of(flow)
    found, why = definition_of(flow, alias)
    counted: dict[str, Any] = {}
    lost = looked(flow, alias) is False
    try:
        held = _read(key, flow, alias, ALWAYS, NEVER)
        value = shape_of(flow, alias).display(held.rows)
        since = datetime.fromtimestamp(held.made_at, UTC)
        state, cause = "fresh", _seeing(flow, f"since {since:%Y-%m-%d %H:%M} UTC")
        if flow.from_history:
            cause += "; what was before is from history"
        untold = sum(n for n, _ in held.untold)
        if untold:
            cause += f"; of {untold} changes the states could not be told (tracker.failed in the log)"
        missed = _instants(held.gaps)
        counted = {"waiting": held.waiting, "untold": untold, "gaps": missed}
        if missed:
            cause += f"; {missed_text(missed)}"
        if lost:
            cause = "not captured whole: what is written now is missed, for good. Run: manage.py migrate"
            if missed:
                cause += f" ({missed_text(missed)})"
    except NotPrimed as error:
        value, state, cause = None, "empty", str(error)
    if found is not None:
        counted |= {
            "table": found.relation,
            "sources": list(_names(found, "sources")),
            "sinks": list(_names(found, "sinks")),
            "columns": list(found.columns),
            "generation": found.generation,
        }
    return {
        "state": state,
        "cause": cause if not why else f"not captured, because {why}",
        "value": value,
        "counted": counted,
    }


def looked(flow: Flow, alias: str) -> bool | None:
    """Look whether a flow is captured whole, and note what was missed; None where nobody could look."""
    found, _ = definition_of(flow, alias)
    if not isinstance(found, FlowDefinition):
        return None
    if context_of(alias) == TEST:
        return not gaps.look(caller(alias), [found.generation])
    try:
        with private.session(alias) as session:
            return not gaps.look(session, [found.generation])
    except (private.Busy, DatabaseErrors):
        return None


def _look_soon(alias: str, generation: int) -> None:
    """Have a thread of this process look, once a minute: where no worker lives, nobody else does."""
    now = time.monotonic()
    with _lock:
        if now - _looked.get((alias, generation), -LOOK_SECONDS) < LOOK_SECONDS:
            return
        _looked[alias, generation] = now

    def work() -> None:
        with suppress(private.Busy, DatabaseErrors), private.session(alias) as session:
            gaps.look(session, [generation])

    pool().submit(work)


def _seeing(flow: Flow, since: str) -> str:
    if flow.capture == "signals":
        return f"counted {since}: it sees what this application saves, one row at a time"
    return f"captured {since}: each transition is in it at its commit"


def _names(found: FlowDefinition | TrackedDefinition, which: str) -> tuple[State, ...]:
    if isinstance(found, TrackedDefinition):
        return found.sources if which == "sources" else found.sinks
    return tuple(name or None for name, _ in (found.sources if which == "sources" else found.sinks))


def around(stock: Stock) -> list[dict[str, Any]]:
    """Return the flows into and out of a stock, with what each moved in the windows of the last day (None where a key
    has to be said).
    """
    found = []
    for flow in registry.unique():
        if not isinstance(flow, Flow):
            continue
        try:
            sources, sinks = _ends(flow)
            for direction, name, ends in (("in", "sink", sinks), ("out", "source", sources)):
                if stock.name in ends:
                    moved = _moved(flow, stock, name, len(ends) > 1)
                    found.append({"flow": flow.name, "direction": direction, "count": moved})
        except DeclarationError:
            continue  # told by the checks
    return found


def _ends(flow: Flow) -> tuple[Sequence[State], Sequence[State]]:
    if flow.capture == "signals":
        found, _ = definition_of(flow, spread.alias_of(flow))
        return (_names(found, "sources"), _names(found, "sinks")) if found is not None else ((), ())
    sources, sinks, _ = registry.ends(flow)
    return [one.name if one else None for one in sources], [one.name if one else None for one in sinks]


def _moved(flow: Flow, stock: Stock, end: str, several: bool) -> int | None:
    if not all(parameter.has_default for parameter in flow.parameters):
        return None
    key, now = flow.build_key(), clock.now()
    try:
        told = _read(key, flow, spread.alias_of(flow), flow.windows.start_of(now - timedelta(days=1)), NEVER)
    except NotPrimed:
        return None
    definition, _ = definition_of(flow, spread.alias_of(flow))
    assert definition is not None
    facet = definition.facets.index(end) + 1 if several else 0
    return sum(
        n for number, value, n, _ in told.rows if number == facet and (not several or value == stock.name)
    )


def series(
    key: Key, flow: Flow, start: datetime, end: datetime, by: str | timedelta | None, facet: str | None
) -> list[Point]:
    """Return what a flow counted step by step over ``[start, end)``; see ``Cache.series``.

    Raises:
        ValueError: a step does not begin where a window does, or there is no such facet.
    """
    alias = spread.alias_of(flow)
    found, why = definition_of(flow, alias)
    if found is None:
        raise NotPrimed(f"{flow.name!r} is not captured: {why}.")
    number = 0
    if facet is not None:
        if facet not in found.facets:
            raise ValueError(
                f"{flow.name!r} has no facet {facet!r}. Its facets are: {', '.join(found.facets) or 'none'}."
            )
        number = found.facets.index(facet) + 1
    step, begin, last = _stepped(flow, start, end, by)
    steps = step.sql("start_at")
    told = _read(key, flow, alias, begin, last, step=steps, facet=number)
    if frame.current() is not None:
        seen = sorted(map(repr, told.rows))

        def moved(session: Session) -> bool:
            now = _ask(session, key, flow, alias, begin, last, steps, number)
            return now is None or sorted(map(repr, now.rows)) != seen

        own = {name: value for name, value in key.params.items() if name != "window"}
        frame.note_counted(flow.build_key(**own), moved)
    return _points(flow, alias, told, step, begin, end, facet)


def series_many(
    asked: Sequence[tuple[Key, Flow]], start: datetime, end: datetime, by: str | timedelta | None
) -> dict[Key, list[Point] | Exception]:
    """Return what several flows counted step by step, in all: one statement for those whose steps begin alike, in each
    database. What ``series`` would raise of one stands in its place.
    """
    found: dict[Key, list[Point] | Exception] = {}
    groups: dict[tuple[str, str], list[tuple[Key, Flow, int, Window, datetime, datetime]]] = {}
    for key, flow in asked:
        alias = spread.alias_of(flow)
        try:
            definition, why = definition_of(flow, alias)
            if definition is None:
                raise NotPrimed(f"{flow.name!r} is not captured: {why}.")
            step, begin, last = _stepped(flow, start, end, by)
        except (ValueError, NotPrimed, DeclarationError) as error:
            found[key] = error
            continue
        groups.setdefault((alias, step.sql("start_at")), []).append(
            (key, flow, definition.generation, step, begin, last)
        )
    for (alias, steps), own in groups.items():
        pairs = [
            (generation, {name: value for name, value in key.params.items() if name != "window"})
            for key, _, generation, *_ in own
        ]
        first, last = min(one[4] for one in own), max(one[5] for one in own)

        def ask(
            alias: str = alias, steps: str = steps, pairs: Any = pairs, first: Any = first, last: Any = last
        ) -> Any:
            return levels.flowed_many(caller(alias), pairs, first, last, step=steps)

        told = reach.once_more(alias, context_of(alias) == OPEN, f"{len(own)} flows", ask)
        for (key, flow, _, step, begin, _), one in zip(own, told, strict=True):
            if one is None:
                found[key] = NotPrimed(
                    f"{flow.name!r} is not captured in this database. Run: manage.py migrate"
                )
            else:
                found[key] = _points(flow, alias, one, step, begin, end, None)
    return found


def _stepped(
    flow: Flow, start: datetime, end: datetime, by: str | timedelta | None
) -> tuple[Window, datetime, datetime]:
    """Return the steps that ``[start, end)`` touches: their window, the beginning of the first, the end of the last.

    Raises:
        ValueError: one begins within a window of the flow.
    """
    step = flow.windows if by is None else Window(by, flow.tz if by != "hour" else None)
    begin = step.start_of(start)
    if flow.windows.start_of(begin) != begin:
        raise ValueError(
            f"Steps of {by!r} in {step.zone} begin within a window of {flow.name!r}, which is {flow.window!r} long. "
            "Give the flow a shorter window, or ask for steps that its windows divide."
        )
    return step, begin, step.after(step.start_of(end - timedelta(microseconds=1)))


def _points(
    flow: Flow,
    alias: str,
    told: levels.Flowed,
    step: Window,
    begin: datetime,
    end: datetime,
    facet: str | None,
) -> list[Point]:
    counts: dict[float, dict[Any, int]] = {}
    typed = shape_of(flow, alias).typed
    untold = {float(at) for _, at in told.untold}
    for place, found_value, n, at in told.rows:
        counts.setdefault(float(at), {})[typed(place, found_value) if place else None] = n
    points = []
    now = instant(told.now)
    made = instant(told.since)
    assert now is not None
    assert made is not None
    while begin < end:
        after = step.after(begin)
        held = counts.get(begin.timestamp(), {})
        known = after > made
        value: Any = held if facet is not None else held.get(None, 0)
        # Before it was declared nothing was counted: that is no zero.
        whole = (
            begin >= made
            and after <= now
            and begin.timestamp() not in untold
            and not told.missed(begin.timestamp(), after.timestamp())
        )
        points.append(Point(begin, after, value if known or held else None, whole))
        begin = after
    return points


def _read(
    key: Key,
    flow: Flow,
    alias: str,
    start: datetime,
    end: datetime,
    *,
    step: str = "NULL::timestamptz",
    facet: int | None = None,
) -> levels.Flowed:
    def ask() -> levels.Flowed | None:
        return _ask(caller(alias), key, flow, alias, start, end, step, facet)

    context = context_of(alias)
    told = reach.once_more(alias, context == OPEN, str(key), ask)
    if told is None:
        raise NotPrimed(f"{flow.name!r} is not captured in this database. Run: manage.py migrate")
    found, _ = definition_of(flow, alias)
    if context != TEST and isinstance(found, FlowDefinition):
        _look_soon(alias, found.generation)
    return told


def _ask(
    session: Session,
    key: Key,
    flow: Flow,
    alias: str,
    start: datetime,
    end: datetime,
    step: str = "NULL::timestamptz",
    facet: int | None = None,
) -> levels.Flowed | None:
    found, why = definition_of(flow, alias)
    if found is None:
        raise NotPrimed(f"{flow.name!r} is not captured: {why}.")
    args: Mapping[str, Any] = {name: value for name, value in key.params.items() if name != "window"}
    return levels.flowed(session, found.generation, args, start, end, step=step, facet=facet)


def forget() -> None:
    """Forget what this process looked at (between tests)."""
    with _lock:
        _looked.clear()
