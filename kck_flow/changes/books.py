"""Books of stocks: which flows account for which stock, and how; and the opening of a book.

A flow tells what came into a stock, and what left it, in total and by those facets that both have. Of a flow with
several sources (or sinks), only how much each of them lost (or won) is known, and by no facet.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import NamedTuple, TypeAlias

from django.db import Error as DatabaseErrors

from ..definition import Definition, FlowDefinition, NotCaptured, definition, flow_definition, is_partial
from ..errors import DeclarationError
from ..registry import registry
from ..spread import alias_of
from ..stock import Flow, Stock
from ..store import books, generations, private
from ..store.books import Link
from ..store.session import Session, caller

logger = logging.getLogger("kck_flow")


class Mover(NamedTuple):
    """A flow with its definition."""

    flow: Flow
    found: FlowDefinition


_Plan: TypeAlias = tuple[Definition, list[Mover], list[Link]]
_plans: dict[tuple[str, str], tuple[tuple[int, int], _Plan | None]] = {}


def movers(stock: Stock, found: Definition, among: Iterable[Flow] | None = None) -> list[Mover]:
    """Return the captured flows that move a stock and have its parameters; of all flows, or of some."""
    moving = []
    for flow in among if among is not None else registry.unique():
        if not isinstance(flow, Flow) or flow.capture != "triggers":
            continue
        try:
            sources, sinks, inside = registry.ends(flow)
            if stock not in sources and stock not in sinks:
                continue
            one = flow_definition(flow, alias_of(flow), sources, sinks, inside)
        except (NotCaptured, DeclarationError):
            continue  # told by the checks
        if one.args == found.args:
            moving.append(Mover(flow, one))
    return moving


def links(stock: Stock, found: Definition, moving: Sequence[Mover]) -> list[Link]:
    """Return how the counts of some flows reach a stock."""
    made = []
    for _, one in moving:
        for side, end, ends in ((1, "sink", one.sinks), (-1, "source", one.sources)):
            if stock.name not in [name for name, _ in ends]:
                continue
            if len(ends) > 1:
                place = one.facets.index(end) + 1
                made.append(Link(one.generation, side, place, 0, json.dumps(stock.name)))
                continue
            made.append(Link(one.generation, side, 0, 0, None))
            for ours, split in enumerate(found.splits, 1):
                for theirs, other in enumerate(one.splits, 1):
                    if split.parts == other.parts:
                        made.append(Link(one.generation, side, theirs, ours, None))
                        break
    return made


def told_facets(found: Definition, linked: Sequence[Link]) -> list[int]:
    """Return the facets of a stock (1 is the first) by which each of its flows tells what it moved."""
    totals = {(link.flow, link.side) for link in linked if link.ours == 0}
    return [
        ours
        for ours in range(1, len(found.splits) + 1)
        if {(link.flow, link.side) for link in linked if link.ours == ours} == totals
    ]


def doubled(moving: Sequence[Mover]) -> tuple[str, str, str, str] | None:
    """Return (flow, flow, source, sink) of a transition that two flows count; None where each is counted once. The
    outside is spelled so.
    """
    seen: dict[tuple[str, str], str] = {}
    for flow, one in moving:
        for source, _ in one.sources:
            for sink, _ in one.sinks:
                if source == sink:
                    continue
                other = seen.setdefault((source, sink), flow.name)
                if other != flow.name:
                    return other, flow.name, source or "the outside", sink or "the outside"
    return None


def partial(stock: Stock, found: Definition, moving: Sequence[Mover]) -> bool:
    """Whether a stock counts fewer rows than its flows move."""
    return any(
        name == stock.name and is_partial(found, sql)
        for _, one in moving
        for name, sql in (*one.sources, *one.sinks)
    )


def _plan(stock: Stock, alias: str) -> _Plan | None:
    """Return what a stock's book is opened from; None where nothing accounts for it. Remembered: each count asks."""
    version = (id(stock), registry.generation)
    known = _plans.get((alias, stock.name))
    if known is None or known[0] != version:
        known = _plans[alias, stock.name] = version, _made(stock, alias)
    return known[1]


def _made(stock: Stock, alias: str) -> _Plan | None:
    if stock.capture != "triggers":
        return None
    try:
        found = definition(stock, alias)
    except (NotCaptured, DeclarationError):
        return None
    moving = movers(stock, found)
    linked = links(stock, found, moving)
    return (found, moving, linked) if linked and not partial(stock, found, moving) else None


def open_book(stock: Stock, alias: str, session: Session | None = None) -> bool:
    """Open a stock's book where it is counted, its flows are captured, and there is none that knows them; returns
    whether it did. Where a recount is under way, that one does.

    Args:
        session: On which; the cache's own connection where not given.
    """
    plan = _plan(stock, alias)
    if plan is None:
        return False
    found, moving, linked = plan
    if session is None and private.in_test_case():
        session = caller(alias)
    with (
        private.session(alias) if session is None else nullcontext(session) as writing,
        writing.transaction(),
    ):
        known = books.known(writing, found.generation)
        if known is not None and {one.generation for _, one in moving} <= known:
            return False
        opened = all(
            generations.captured_by(writing, one.relation, one.generation, flow=True) for _, one in moving
        ) and books.begin(writing, found.generation, stock.name, linked)
    if opened:
        logger.info("book.opened stock=%s flows=%s", stock.name, ",".join(flow.name for flow, _ in moving))
    return opened


def try_to_open(stock: Stock, alias: str, session: Session | None = None) -> None:
    """Open a stock's book, or leave it to the next count."""
    try:
        open_book(stock, alias, session)
    except (private.Busy, DatabaseErrors) as error:
        logger.warning("book.not_opened stock=%s error=%s", stock.name, str(error).strip().partition("\n")[0])


def open_books(session: Session) -> None:
    """Open the books of all stocks in a database that are counted, where they are not open: a flow may be new."""
    alias = session.alias
    for stock in registry.unique():
        if isinstance(stock, Stock) and alias_of(stock) == alias:
            try_to_open(stock, alias, session)
