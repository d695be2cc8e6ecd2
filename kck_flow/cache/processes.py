"""A read of a process: what each stock held, what came in and went out, what it holds; in one statement, one snapshot.

What flows counted stands in windows, so a period begins and ends where windows do. What a stock held at such an instant
is what it holds now less what has come in since, as long as its flows account for all of it; where they do not, it is
not told: a gap is not a zero.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import clock, counting, spread
from ..changes import books as linking
from ..definition import Definition, FlowDefinition
from ..entry import Entry
from ..errors import DeclarationError, NotPrimed
from ..key import Key
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import books, events, generations
from ..store.books import Link, Told
from ..store.events import Stay
from ..store.refreshes import instant
from ..store.session import Session, caller
from ..windows import Window
from . import counted, flows, frame, reach
from .context import OPEN, context_of
from .flows import ALWAYS, NEVER

BEFORE, WITHIN, AFTER = -1, 0, 1
IN, OUT = 1, -1
MOST_STEPS = 10_000


class Member(NamedTuple):
    """A stock of a process, and how its flows' counts reach it."""

    stock: Stock
    found: Definition
    links: list[Link]


class Plan(NamedTuple):
    """What a process is made of, worked out once."""

    version: tuple[int, int]
    members: list[Member]
    flows: list[tuple[Flow, FlowDefinition]]


_plans: dict[tuple[str, str], Plan] = {}


def plan_of(process: Process, alias: str) -> Plan:
    """Return what a process is made of.

    Raises:
        NotPrimed: it is declared wrongly, or not all of it is captured.
    """
    version = (id(process), registry.generation)
    plan = _plans.get((alias, process.name))
    if plan is None or plan.version != version:
        try:
            stocks, moved_by = registry.parts(process)
        except DeclarationError as error:
            raise NotPrimed(f"{process.name!r}: {str(error).rstrip('.')}.") from None
        members, moving = [], []
        for flow in moved_by:
            known, why = flows.definition_of(flow, alias)
            if not isinstance(known, FlowDefinition):
                why = why or "it is told by a ModelTracker"
                raise NotPrimed(f"{process.name!r} has the flow {flow.name!r}, which is not captured: {why}.")
            moving.append((flow, known))
        for stock in stocks:
            found = counted.definition_of(stock, alias)
            if found is None:
                why = counted.why_not(stock, alias)
                raise NotPrimed(
                    f"{process.name!r} has the stock {stock.name!r}, which is not captured: {why}."
                )
            if found.timed:
                raise NotPrimed(
                    f"{process.name!r} has the stock {stock.name!r}, whose rows come and go with time alone: no flow "
                    "sees that."
                )
            linked = linking.links(stock, found, linking.movers(stock, found, moved_by))
            members.append(Member(stock, found, linked))
        plan = _plans[alias, process.name] = Plan(version, members, moving)
    return plan


def entry(key: Key, process: Process) -> Entry:
    """Return a process since its books were opened.

    Raises:
        NotPrimed: not all of it is captured.
    """
    at, value = _picture(key, process, None, None, None, None)
    return Entry(str(key), value, 0, at, None, None, "fresh", timedelta(0))


def picture(
    key: Key,
    process: Process,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    by: str | timedelta | None = None,
    facet: str | None = None,
) -> dict[str, Any]:
    """Return a process over a period; see ``Cache.picture``."""
    return _picture(key, process, start, end, by, facet)[1]


def stays(key: Key, process: Process, start: datetime, end: datetime) -> dict[str, Stay]:
    """Return how long rows were in the stocks that they left in ``[start, end)``, by stock: of those alone whose flows
    all keep their transitions as events, in one table.
    """
    alias = spread.alias_of(process)
    plan = plan_of(process, alias)
    keeping = {known.generation for flow, known in plan.flows if flow.record_events}
    told = [
        one.stock.name
        for one in plan.members
        if {1, -1} <= {link.side for link in one.links} and {link.flow for link in one.links} <= keeping
    ]
    if not told:
        return {}
    session = caller(alias)
    args = {name: key.params[name] for name, _ in plan.members[0].found.args}
    names = [flow.name for flow, _ in plan.flows]
    found: dict[str, list[Stay]] = defaultdict(list)
    for place in events.places(session):
        for one in events.stays(session, place, told, names, args, start, end):
            found[one.stock].append(one)
    return {name: rows[0] for name, rows in found.items() if len(rows) == 1 and rows[0].known}


def is_open(process: Process) -> bool:
    """Whether the books of all its stocks are open."""
    alias = spread.alias_of(process)
    return all(
        books.known(caller(alias), one.found.generation) is not None
        for one in plan_of(process, alias).members
    )


def told(key: Key, process: Process) -> dict[str, Any]:
    """Return what ``explain`` tells of a process: it has no stored value, and hence no expiry."""
    try:
        found: Any = entry(key, process).value
    except NotPrimed as error:
        return {"state": "empty", "cause": str(error), "value": None}
    return {"state": "fresh", "cause": "read from its stocks and flows, as they are now", "value": found}


def refresh(key: Key, process: Process) -> Entry:
    """Count each stock of a process anew, which opens its book, and return the process."""
    alias = spread.alias_of(process)
    for stock, found, _ in plan_of(process, alias).members:
        own = stock.build_key(**{name: key.params[name] for name, _ in found.args})
        counted.refresh(own, stock, found, alias)
    return entry(key, process)


def _picture(
    key: Key,
    process: Process,
    start: datetime | None,
    end: datetime | None,
    by: str | timedelta | None,
    facet: str | None,
) -> tuple[datetime | None, dict[str, Any]]:
    alias = spread.alias_of(process)
    here = frame.current()
    if here is not None:
        here.refuse(key)
    plan = plan_of(process, alias)
    step = _steps(plan, process, start, end, by)
    split = _split(plan, process, facet)
    asked = _Asked(plan, key, alias, start, end, step, split)
    seen = asked.read()
    unready = [one for one in plan.members if not seen.is_ready(one, alias)]
    live: dict[str, int] = {}
    if unready:
        for stock, found, _ in unready:
            own = stock.build_key(**{name: key.params[name] for name, _ in found.args})
            counted.entry(own, stock, found, alias)  # counts the family for good, where that takes a moment
        seen = asked.read()
        for one in unready:
            if not seen.is_ready(one, alias):
                own = one.stock.build_key(**{name: key.params[name] for name, _ in one.found.args})
                live[one.stock.name] = counting.members(one.stock, own, {}).count()
    if here is not None:
        _note(asked, copy.deepcopy(seen.facts()))
    stocks = {
        one.stock.name: _stock(one, seen, start, end, split, live.get(one.stock.name)) for one in plan.members
    }
    value: dict[str, Any] = {
        "start": start,
        "end": end,
        "stocks": stocks,
        "flows": _flows(plan, seen, start, end, stocks, split, alias),
    }
    rests = [one["uncounted"] for one in stocks.values()]
    value["balanced"] = None if None in rests else not any(rests)
    if step is not None:
        assert start is not None
        value["steps"] = _by_step(plan, seen, stocks, step, start, min(end or NEVER, seen.now))
    return seen.now, value


def _note(asked: _Asked, facts: Any) -> None:
    """Remember that the product being computed here has read the stocks and flows of a process: they are told of."""

    def moved(_: Session) -> bool:
        return bool(asked.read().facts() != facts)

    args = {name: asked.key.params[name] for name, _ in asked.plan.members[0].found.args}
    for part in (*(one.stock for one in asked.plan.members), *(flow for flow, _ in asked.plan.flows)):
        frame.note_counted(part.build_key(**args), moved)


@dataclass
class _Asked:
    """One question about a process, that may be asked again."""

    plan: Plan
    key: Key
    alias: str
    start: datetime | None
    end: datetime | None
    step: Window | None
    split: _Split

    def read(self) -> _Seen:
        split = self.split

        def ask() -> list[Told]:
            linked: list[tuple[int, Link]] = []
            for stock, found, own in self.plan.members:
                chosen = split.stocks.get(stock.name, -1)
                linked += [(found.generation, link) for link in own if link.ours in (0, chosen)]
            for flow, known in self.plan.flows:
                linked.append((0, Link(known.generation, 0, 0, 0, None)))
                if flow.name in split.flows:
                    linked.append((0, Link(known.generation, 0, split.flows[flow.name], 1, None)))
            return books.picture(
                caller(self.alias),
                {name: self.key.params[name] for name, _ in self.plan.members[0].found.args},
                {one.found.generation: split.stocks.get(one.stock.name, -1) for one in self.plan.members},
                linked,
                self.start or ALWAYS,
                self.end or NEVER,
                step=self.step.sql("c.start_at") if self.step is not None else "NULL::timestamptz",
            )

        return _Seen(reach.once_more(self.alias, context_of(self.alias) == OPEN, str(self.key), ask))


class _Seen:
    """What one statement told, put in order."""

    def __init__(self, rows: Iterable[Told]) -> None:
        self.held: dict[tuple[int, bool], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.marks: dict[tuple[int, int, int, bool], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.moved: dict[tuple[int, int, int, bool], dict[int, dict[str, int]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(int))
        )
        self.steps: dict[tuple[int, int, int], dict[float, int]] = defaultdict(lambda: defaultdict(int))
        self.books: dict[int, tuple[frozenset[int], float]] = {}
        self.corrected: dict[int, float] = {}
        self.families: dict[int, tuple[float | None, str, bool]] = {}
        self.values: dict[str, Any] = {}
        # Flows that have missed transitions within the period.
        self.missing: set[int] = set()
        for one in rows:
            spelled = repr(one.value)
            self.values[spelled] = one.value
            match one.what:
                case "held":
                    self.held[one.stock, one.split][spelled] += one.n
                case "mark":
                    self.marks[one.stock, one.flow, one.side, one.split][spelled] += one.n
                case "flow":
                    self.moved[one.stock, one.flow, one.side, one.split][one.place][spelled] += one.n
                    if one.at is not None and not one.split:
                        self.steps[one.stock, one.flow, one.side][one.at] += one.n
                case "book":
                    assert one.at is not None
                    self.books[one.stock] = frozenset(one.value), one.at
                case "corrected":
                    assert one.at is not None
                    self.corrected[one.stock] = one.at
                case "family":
                    self.families[one.stock] = one.at, one.value[0], one.value[1]
                    if one.value[2]:
                        self.missing.add(one.stock)
                case "now":
                    at = instant(one.at)
                    assert at is not None
                    self.now: datetime = at

    def facts(self) -> Any:
        """All that was told but the instant, to be compared with another time."""
        return self.held, self.marks, self.moved, self.steps, self.books, self.corrected

    def is_ready(self, one: Member, alias: str) -> bool:
        """Whether a stock is counted, and captured as it was then."""
        primed_at, captured, void = self.families.get(one.found.generation, (None, "", False))
        if primed_at is None or void:
            return False
        now = counted.captured_now(one.found, alias, context_of(alias))
        if captured != now:  # what is known of it may be a second old, and a migrate between
            now = generations.captured_by(caller(alias), one.found.relation, one.found.generation)
        return bool(now) and captured == now

    def accounts(self, one: Member, end: datetime | None) -> bool:
        """Whether the flows account for a stock up to an instant: its book was open by then."""
        return self.knows(one) and (end is None or self.books[one.found.generation][1] <= end.timestamp())

    def counts(self, one: Member, side: int) -> bool:
        """Whether all flows into or out of a stock are counted, from some instant on."""
        moving = {link.flow for link in one.links if link.side == side}
        return all(self.families.get(number, (None,))[0] is not None for number in moving)

    def moves(self, one: Member, side: int, split: bool, *places: int) -> dict[str, int]:
        """Return what flows moved into or out of a stock, by facet value (or in all), at some places."""
        found: dict[str, int] = defaultdict(int)
        for flow in {link.flow for link in one.links if link.side == side}:
            for place in places:
                for value, n in self.moved[one.found.generation, flow, side, split][place].items():
                    found[value] += n
        return found

    def marked(self, one: Member, side: int, split: bool) -> dict[str, int]:
        """Return what flows had moved into or out of a stock at its opening."""
        found: dict[str, int] = defaultdict(int)
        for flow in {link.flow for link in one.links if link.side == side}:
            for value, n in self.marks[one.found.generation, flow, side, split].items():
                found[value] += n
        return found

    def knows(self, one: Member) -> bool:
        """Whether a stock's book is open, and knows its flows."""
        book = self.books.get(one.found.generation)
        return book is not None and {link.flow for link in one.links} <= book[0]


class _Split(NamedTuple):
    """By which of its facets (1 is the first) each stock and flow is split."""

    name: str | None
    stocks: dict[str, int]
    flows: dict[str, int]


def _split(plan: Plan, process: Process, facet: str | None) -> _Split:
    if facet is None:
        return _Split(None, {}, {})
    stocks = {
        one.stock.name: place
        for one in plan.members
        for place, split in enumerate(one.found.splits, 1)
        if split.name == facet
    }
    by_flow = {
        flow.name: place
        for flow, found in plan.flows
        for place, name in enumerate(found.facets, 1)
        if name == facet
    }
    if not stocks and not by_flow:
        known = sorted(
            {split.name for one in plan.members for split in one.found.splits}
            | {name for _, found in plan.flows for name in found.facets}
        )
        raise ValueError(
            f"Nothing in {process.name!r} has a facet {facet!r}. Its facets are: {', '.join(known) or 'none'}."
        )
    return _Split(facet, stocks, by_flow)


def _steps(
    plan: Plan, process: Process, start: datetime | None, end: datetime | None, by: str | timedelta | None
) -> Window | None:
    step = Window(by, None) if by is not None else None
    if step is not None and start is None:
        raise ValueError(f"{process.name!r} by {by!r}: say from when on.")
    for at in (start, end):
        if at is None:
            continue
        if at.tzinfo is None:
            raise ValueError(f"{at.isoformat()} has no offset: give an aware instant.")
        for flow, _ in plan.flows:
            begin = flow.windows.start_of(at)
            if begin != at:
                raise ValueError(
                    f"{at.isoformat()} is within a window of {flow.name!r}, which begins {begin.isoformat()}: a period "
                    "begins and ends where windows do."
                )
        if at is start and at > clock.now():
            raise ValueError(f"{at.isoformat()} is yet to come: a period begins in the past.")
        if step is not None and at is start and step.start_of(at) != at:
            raise ValueError(f"{at.isoformat()} is not where a step of {by!r} begins, in {step.zone}.")
    if start is not None and end is not None and start >= end:
        raise ValueError(f"The period begins at {start.isoformat()}, and does not end after that.")
    if step is not None and start is not None:
        after = step.after(start)
        for flow, _ in plan.flows:
            if flow.windows.start_of(after) != after:
                raise ValueError(
                    f"Steps of {by!r} begin within windows of {flow.name!r}, {flow.window!r} long."
                )
    return step


def _stock(
    one: Member, seen: _Seen, start: datetime | None, end: datetime | None, split: _Split, live: int | None
) -> dict[str, Any]:
    """Return what is told of one stock: rows, or None for what is not known."""
    generation = one.found.generation
    total: dict[str, Any] = dict.fromkeys(("opening", "in", "out", "corrected", "uncounted", "count"))
    ins, outs = (sum(seen.moves(one, side, False, WITHIN).values()) for side in (IN, OUT))
    opened = seen.books[generation][1] if generation in seen.books else None
    knows = seen.accounts(one, end) and live is None
    total["since"] = instant(opened)
    if start is not None:  # of no period, in and out are known from the opening on
        total |= {
            name: moved if seen.counts(one, side) else None
            for name, side, moved in (("in", IN, ins), ("out", OUT, outs))
        }
    if live is not None:
        return total | {"count": live if end is None else None}
    held = sum(seen.held[generation, False].values())
    marked = {side: sum(seen.marked(one, side, False).values()) for side in (IN, OUT)}
    opening = sum(seen.marks[generation, 0, 0, False].values())
    corrected = sum(seen.marks[generation, 0, 2, False].values())
    everything = (BEFORE, WITHIN, AFTER)
    moved = {
        side: sum(seen.moves(one, side, False, *everything).values()) - marked[side] for side in (IN, OUT)
    }
    rest = held - opening - moved[IN] + moved[OUT] - corrected
    later = sum(seen.moves(one, IN, False, AFTER).values()) - sum(seen.moves(one, OUT, False, AFTER).values())
    corrected_at = instant(seen.corrected.get(generation))

    def sure(since: datetime) -> bool:
        # From here on the flows account for all that the stock won and lost.
        return knows and rest == 0 and (corrected_at is None or corrected_at < since)

    count = held if end is None else held - later if sure(end) else None
    total["count"] = count
    if start is None:
        if knows:
            total |= {"opening": opening, "in": ins - marked[IN], "out": outs - marked[OUT]}
            if end is None or count is not None:
                total |= {"corrected": corrected, "uncounted": rest if end is None else 0}
    elif sure(start) and opened is not None and start.timestamp() >= opened and count is not None:
        total |= {"opening": count - ins + outs, "corrected": 0, "uncounted": 0}
    if split.name is not None:
        total["facets"] = _values(one, seen, start, end, split, knows)
    return total


def _values(
    one: Member, seen: _Seen, start: datetime | None, end: datetime | None, split: _Split, knows: bool
) -> dict[Any, dict[str, Any]] | None:
    place = split.stocks.get(one.stock.name)
    if place is None:
        return None
    generation = one.found.generation
    told = place in linking.told_facets(one.found, one.links)
    told = told and seen.counts(one, IN) and seen.counts(one, OUT)
    sides = {side: seen.moves(one, side, True, WITHIN) for side in (IN, OUT)}
    marked = {side: seen.marked(one, side, True) for side in (IN, OUT)}
    opening, corrected = (seen.marks[generation, 0, side, True] for side in (0, 2))
    held = seen.held[generation, True]
    found = {}
    for spelled in {*held, *opening, *sides[IN], *sides[OUT]}:
        row: dict[str, Any] = dict.fromkeys(("opening", "in", "out", "corrected", "moved", "count"))
        if end is None:
            row["count"] = held.get(spelled, 0)
        if told:
            row |= {"in": sides[IN].get(spelled, 0), "out": sides[OUT].get(spelled, 0)}
        if start is None and end is None and knows:
            row |= {"opening": opening.get(spelled, 0), "corrected": corrected.get(spelled, 0)}
            if told:
                row["in"] -= marked[IN].get(spelled, 0)
                row["out"] -= marked[OUT].get(spelled, 0)
                row["moved"] = row["count"] - row["opening"] - row["in"] + row["out"] - row["corrected"]
        found[one.stock.shape.typed(place, seen.values[spelled])] = row
    return dict(sorted(found.items(), key=lambda pair: (pair[0] is None, str(pair[0]))))


def _flows(
    plan: Plan,
    seen: _Seen,
    start: datetime | None,
    end: datetime | None,
    stocks: Mapping[str, Any],
    split: _Split,
    alias: str,
) -> dict[str, Any]:
    members = {one.stock.name: one for one in plan.members}
    told = {}
    for flow, found in plan.flows:
        made_at = instant(seen.families.get(found.generation, (None,))[0])
        row: dict[str, Any] = {
            "sources": [name or None for name, _ in found.sources],
            "sinks": [name or None for name, _ in found.sinks],
            "count": sum(seen.moved[0, found.generation, 0, False][WITHIN].values()),
            "since": made_at,
            "complete": found.generation not in seen.missing,
        }
        if made_at is None:
            row |= {"count": None, "complete": False}  # no trigger counts it yet: that is no zero
        elif not row["count"] and end is not None and end <= made_at:
            row["count"] = None  # nothing was counted then
        counted_by: tuple[int, list[Member]] | None = None
        if start is None:
            # As its stocks, since their opening, where one side of it is wholly among them.
            for side, ends in ((OUT, found.sources), (IN, found.sinks)):
                own = [members.get(name) for name, _ in ends]
                known = [one for one in own if one is not None and seen.accounts(one, end)]
                if len(known) == len(own):
                    row["count"] = sum(_by(seen, found, one, side, start) for one in known)
                    row["since"] = max(stocks[name]["since"] for name, _ in ends)
                    counted_by = side, known
                    break
        left = [members[name] for name, _ in found.sources if name in members]
        out = sum(_by(seen, found, one, OUT, start) for one in left)
        own_stocks = [stocks[one.stock.name] for one in left]
        row |= shares(out, own_stocks)
        if split.name is not None:
            row["facets"] = _flow_values(flow, found, seen, split, alias, counted_by)
        told[flow.name] = row
    return told


def shares(out: int, sources: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return a flow's ``rate`` (what left its sources by it, as a share of what they held at the beginning) and its
    ``conversion`` (as a share of what came into them meanwhile); None where that is not known, or nothing.
    """

    def share(name: str) -> float | None:
        parts = [one[name] for one in sources]
        whole = sum(parts) if parts and None not in parts else 0
        return out / whole if whole else None

    return {"rate": share("opening"), "conversion": share("in")}


def _by(seen: _Seen, found: FlowDefinition, one: Member, side: int, start: datetime | None) -> int:
    """Return what one flow moved into or out of one stock; of no period, since its opening."""
    moved = sum(seen.moved[one.found.generation, found.generation, side, False][WITHIN].values())
    if start is not None:
        return moved
    return moved - sum(seen.marks[one.found.generation, found.generation, side, False].values())


def _flow_values(
    flow: Flow,
    found: FlowDefinition,
    seen: _Seen,
    split: _Split,
    alias: str,
    counted_by: tuple[int, list[Member]] | None,
) -> dict[Any, int] | None:
    """Return a flow's count by facet value, as of the same instant as its count; None where that cannot be told."""
    place = split.flows.get(flow.name)
    if place is None:
        return None
    shape = flows.shape_of(flow, alias)
    spelled: Mapping[str, int] = seen.moved[0, found.generation, 0, True][WITHIN]
    if counted_by is not None:
        side, members = counted_by
        since: dict[str, int] = defaultdict(int)
        for one in members:
            chosen = split.stocks.get(one.stock.name)
            if not any(
                (link.flow, link.side, link.ours) == (found.generation, side, chosen) for link in one.links
            ):
                return None  # by these values, the book of this stock does not know what the flow had counted
            places = one.found.generation, found.generation, side, True
            for value, n in seen.moved[places][WITHIN].items():
                since[value] += n
            for value, n in seen.marks[places].items():
                since[value] -= n
        spelled = {value: n for value, n in since.items() if n}
    counts = {shape.typed(place, seen.values[value]): n for value, n in spelled.items()}
    return dict(sorted(counts.items(), key=lambda pair: (pair[0] is None, str(pair[0]))))


def _by_step(
    plan: Plan,
    seen: _Seen,
    stocks: Mapping[str, Mapping[str, Any]],
    step: Window,
    start: datetime,
    end: datetime,
) -> list[dict[str, Any]]:
    """Return the period step by step: each with its stocks and flows."""
    held = {name: one["opening"] for name, one in stocks.items()}
    # Since when each flow counts: before, nothing was counted, and that is no zero.
    since = {
        known.generation: float("inf") if at is None else at
        for _, known in plan.flows
        for at in [seen.families.get(known.generation, (None,))[0]]
    }
    members = {one.stock.name: one for one in plan.members}
    names = {known.generation: flow.name for flow, known in plan.flows}
    found = []
    while start < end:
        at, after = start.timestamp(), step.after(start)
        row: dict[str, Any] = {"start": start, "end": after, "stocks": {}, "flows": {}}
        for name, one in members.items():
            sides: list[int | None] = []
            by_flow: dict[str, int | None] = {}
            for side in (IN, OUT):
                moving = {link.flow for link in one.links if link.side == side}
                counting = {number: since.get(number, 0.0) < after.timestamp() for number in moving}
                counts = {
                    number: seen.steps[one.found.generation, number, side].get(at, 0) for number in moving
                }
                moved = sum(counts.values())
                sides.append(moved if moved or all(counting.values()) else None)
                for number, n in counts.items():
                    before = by_flow.get(names[number], 0)
                    told = before is not None and (n or counting[number])
                    by_flow[names[number]] = (before or 0) + side * n if told else None
            ins, outs = sides
            net = None if ins is None or outs is None else ins - outs
            opening = held[name]
            held[name] = None if opening is None or net is None else opening + net
            row["stocks"][name] = {
                "opening": opening, "in": ins, "out": outs, "net": net, "count": held[name], "by_flow": by_flow,
            }  # fmt: skip
        for flow, known in plan.flows:
            left = [members[name] for name, _ in known.sources if name in members]
            out = sum(seen.steps[one.found.generation, known.generation, OUT].get(at, 0) for one in left)
            began = since[known.generation]
            count: int | None = seen.steps[0, known.generation, 0].get(at, 0)
            if not count and began >= after.timestamp():
                count = None
            row["flows"][flow.name] = {
                "count": count,
                **shares(out, [row["stocks"][one.stock.name] for one in left]),
            }
        found.append(row)
        if len(found) > MOST_STEPS:
            raise ValueError(
                f"That is more than {MOST_STEPS:,} steps: ask for longer ones, or for a shorter period."
            )
        start = after
    return found
