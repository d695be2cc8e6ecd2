"""What a stock held at an instant that nobody recorded: what it holds now, less what came in since, and what went out
more.

Its flows tell that, where they count all that moves it. Whether they do is proved, and not believed: its process says
that a row is in one of its stocks at most; its book must balance to the last row; and that is a proof only where what
no flow counts could go one way, in or out, or where nothing is left uncounted. All of it is read in one snapshot. By
facet values it cannot be told: a row that changes its plan and stays where it is is no transition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .. import spread
from ..changes import books as linking
from ..changes.books import Mover
from ..definition import Definition
from ..errors import DeclarationError
from ..key import Key
from ..process import Process
from ..registry import registry
from ..stock import Flow, Stock
from ..store import books, generations
from ..store.books import Link, Within
from ..store.session import caller
from . import counted, reach
from .context import OPEN, context_of


class Untold(NamedTuple):
    """That a value cannot be told, and why; empty where nothing moves the stock that could tell."""

    why: str


class _Plan(NamedTuple):
    """What tells the past of a stock.

    Attributes:
        alone: Whether that is proved by the book alone, and hence from its opening on.
    """

    found: Definition
    moving: list[Mover]
    links: list[Link]
    alone: bool


_plans: dict[tuple[str, str], tuple[tuple[int, int], _Plan | Untold]] = {}


class _Asked(NamedTuple):
    key: Key
    stock: Stock
    plan: _Plan
    instants: Sequence[datetime]
    within: list[Within]


def values(key: Key, stock: Stock, instants: Sequence[datetime]) -> list[int | Untold]:
    """Return how many rows a key of a stock had at some instants (aware, rising), or why that cannot be told: as it was
    before anything that moved at the very instant, by the instants that its flows count by.
    """
    return values_many([(key, stock, instants)])[0]


def values_many(asked: Sequence[tuple[Key, Stock, Sequence[datetime]]]) -> list[list[int | Untold]]:
    """Return ``values`` of several keys, in the order asked: one statement for each database."""
    found: list[list[int | Untold]] = [[] for _ in asked]
    by_alias: dict[str, dict[int, _Asked]] = {}
    for number, (key, stock, instants) in enumerate(asked):
        alias = spread.alias_of(stock)
        plan = _known_plan(stock, alias)
        if isinstance(plan, Untold):
            found[number] = [plan] * len(instants)
            continue
        within = [one for place, at in enumerate(instants) for one in _within(plan, place, at)]
        by_alias.setdefault(alias, {})[number] = _Asked(key, stock, plan, instants, within)
    for alias, those in by_alias.items():
        seen = dict(zip(those, _read(list(those.values()), alias), strict=True))
        ready = _ready(seen, those, alias)
        late = {number: one for number, one in those.items() if number not in ready}
        if late:
            for one in late.values():  # counts the family for good, where that takes a moment
                counted.entry(one.key, one.stock, one.plan.found, alias)
            seen |= zip(late, _read(list(late.values()), alias), strict=True)
            ready |= _ready(seen, late, alias)
        for number, one in those.items():
            told = seen[number]
            if told is None or number not in ready:
                why = Untold(f"it is not counted now (manage.py kck refresh {one.key})")
                found[number] = [why] * len(one.instants)
                continue
            found[number] = [
                _value(one.plan, told, place, at, one.within) for place, at in enumerate(one.instants)
            ]
    return found


def _known_plan(stock: Stock, alias: str) -> _Plan | Untold:
    version = (id(stock), registry.generation)
    known = _plans.get((alias, stock.name))
    if known is None or known[0] != version:
        known = _plans[alias, stock.name] = version, _plan(stock, alias)
    return known[1]


def _plan(stock: Stock, alias: str) -> _Plan | Untold:
    found = counted.definition_of(stock, alias)
    moving = linking.movers(stock, found) if found is not None and stock.capture == "triggers" else []
    if found is None or not moving:
        return Untold("")
    if found.timed:
        return Untold("its rows come and go with time alone")
    if found.amount is not None or linking.partial(stock, found, moving):
        return Untold("it measures something else than the rows that they move")
    twice = linking.doubled(moving)
    if twice is not None:
        return Untold(f"{twice[0]!r} and {twice[1]!r} both count {twice[2]} → {twice[3]}")
    _, _, inside = registry.ends(moving[0].flow)
    names = {one.name for one in inside}
    process = _process_of(names, [one.flow for one in moving])
    if process is None:
        listed = ", ".join(sorted(names))
        return Untold(
            f"no Process has all of {listed} among its stocks, and says that a row is in one at most"
        )
    pairs = {
        (source, sink)
        for _, one in moving
        for source, _ in one.sources
        for sink, _ in one.sinks
        if source != sink
    }
    others = [*sorted(names - {stock.name}), ""]
    came = [other for other in others if (other, stock.name) not in pairs]
    went = [other for other in others if (stock.name, other) not in pairs]
    if came and went and not process.complete:
        return Untold(
            f"no flow counts what comes into it from {came[0] or 'the outside'}, nor what goes to "
            f"{went[0] or 'the outside'}, and {process.name!r} does not say that it is complete"
        )
    alone = bool(came or went) and not process.complete
    return _Plan(found, moving, linking.links(stock, found, moving), alone)


def _process_of(names: set[str], flows: Sequence[Flow]) -> Process | None:
    """Return the process that has some stocks, each row in one of them; one that is complete and has the flows, before
    others.
    """
    fitting = []
    for process in registry.unique():
        if isinstance(process, Process) and not process.overlapping:
            try:
                stocks, own = registry.parts(process)
            except DeclarationError:
                continue  # told by the checks
            if names <= {one.name for one in stocks}:
                if process.complete and set(flows) <= set(own):
                    return process
                if not process.complete:
                    fitting.append(process)
    return fitting[0] if fitting else None


def _within(plan: _Plan, place: int, at: datetime) -> list[Within]:
    """Return the windows of its flows that an instant lies within, not at their beginning."""
    found = []
    for flow, one in plan.moving:
        begin = flow.windows.start_of(at)
        if begin != at:
            found.append(Within(place, one.generation, flow.name, at, begin, flow.windows.after(begin)))
    return found


def _read(asked: Sequence[_Asked], alias: str) -> list[books.Traced | None]:
    wanted = [
        books.Trace(
            one.plan.found.generation,
            one.stock.name,
            {name: one.key.params[name] for name, _ in one.plan.found.args},
            one.plan.links,
            one.instants,
            one.within,
        )
        for one in asked
    ]
    what = str(asked[0].key) if len(asked) == 1 else f"{len(asked)} stocks"
    return reach.once_more(
        alias, context_of(alias) == OPEN, what, lambda: books.traced(caller(alias), wanted)
    )


def _ready(seen: Mapping[int, books.Traced | None], asked: Mapping[int, _Asked], alias: str) -> set[int]:
    """Return which of those that were asked can be told, by number."""
    plans = [one.plan.found for one in asked.values()]
    prints = counted.captured_many(plans, alias, context_of(alias))
    return {
        number
        for number, one in asked.items()
        if _is_ready(seen[number], one.plan, alias, prints[one.plan.found.generation])
    }


def _is_ready(seen: books.Traced | None, plan: _Plan, alias: str, now: str) -> bool:
    if seen is None or not seen.primed or seen.void:
        return False
    if seen.captured != now:  # what is known of it may be a second old, and a migrate between
        now = generations.captured_by(caller(alias), plan.found.relation, plan.found.generation)
    return bool(now) and seen.captured == now


def _value(
    plan: _Plan, seen: books.Traced, place: int, at: datetime, within: Sequence[Within]
) -> int | Untold:
    when = at.timestamp()
    if when > seen.now:
        return Untold("it is yet to come")
    if seen.opened_at is None or not {link.flow for link in plan.links} <= seen.flows:
        return Untold("its book is not open yet")
    if seen.rest:
        return Untold(f"{abs(seen.rest):,} rows came or went that no flow has counted")
    if seen.corrected_at is not None and seen.corrected_at >= when:
        return Untold(f"a count of {_text(seen.corrected_at)} found what no trigger had told")
    if plan.alone and when < seen.opened_at:
        return Untold(f"its book was opened at {_text(seen.opened_at)}")
    for flow, one in plan.moving:
        since, missed = seen.flows_since.get(one.generation, (None, None))
        if since is None or when < since:
            began = f" since {_text(since)}" if since is not None else " not at all"
            return Untold(f"{flow.name!r} counts{began}")
        if missed is not None and missed > when:
            return Untold(
                f"transitions of {flow.name!r} were missed since (manage.py kck explain {flow.name})"
            )
    late = 0
    for one_within in within:
        if one_within.place == place:
            counted_in, kept, net = seen.within[place, one_within.flow]
            if counted_in != kept:
                return Untold(_between(plan, at, one_within.key_base))
            late += net
    return seen.held - late - sum(n for since, n in seen.moved if since > place)


def _between(plan: _Plan, at: datetime, name: str) -> str:
    """Return the text that says which instants can be told."""
    begin, changed = at, True
    while changed:
        changed = False
        for flow, _ in plan.moving:
            earlier = flow.windows.start_of(begin)
            changed = changed or earlier != begin
            begin = earlier
    return (
        f"it lies within a window of {name!r}, whose transitions are not all kept as events (record_events). "
        f"What can be told is {begin.isoformat()}, where windows of them all begin"
    )


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
